#include "vmm/port_bus.hpp"

#include "vmm/printable.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace slat::vmm {

Result<void> PortBus::attach(PortRange ports, PortDevice& device, std::string_view name) {
  if (ports.first > ports.last) {
    return fail(Errc::invalid_argument, 0,
                fmt::format("device '{}' wants ports {:#x} to {:#x}, which is backwards; swap them",
                            printable(name), ports.first, ports.last));
  }
  const auto after = std::find_if(routes_.begin(), routes_.end(),
                                  [&](const Route& r) { return r.ports.last >= ports.first; });
  if (after != routes_.end() && after->ports.first <= ports.last) {
    return fail(
        Errc::invalid_argument, 0,
        fmt::format(
            "device '{}' wants ports {:#x} to {:#x}, but '{}' has {:#x} to {:#x}; move one of them",
            printable(name), ports.first, ports.last, after->name, after->ports.first,
            after->ports.last));
  }
  routes_.insert(after, Route{ports, &device, printable(name)});
  return {};
}

const PortBus::Route* PortBus::find(std::uint16_t port) const {
  const auto route = std::find_if(routes_.begin(), routes_.end(),
                                  [&](const Route& r) { return r.ports.last >= port; });
  return route != routes_.end() && route->ports.first <= port ? &*route : nullptr;
}

void PortBus::write(std::uint16_t port, unsigned unit, std::span<const std::byte> data) {
  const Route* route = find(port);
  if (route == nullptr) {
    unclaimed_writes_.fetch_add(
        1, std::memory_order_relaxed); // a statistic: orders nothing, pairs with nothing
    return;
  }
  route->device->write(static_cast<std::uint16_t>(port - route->ports.first), unit, data);
}

void PortBus::read(std::uint16_t port, unsigned unit, std::span<std::byte> data) {
  const Route* route = find(port);
  if (route == nullptr) {
    unclaimed_reads_.fetch_add(
        1, std::memory_order_relaxed); // a statistic: orders nothing, pairs with nothing
    std::fill(data.begin(), data.end(), std::byte{0xff});
    return;
  }
  route->device->read(static_cast<std::uint16_t>(port - route->ports.first), unit, data);
}

std::uint64_t PortBus::unclaimed_writes() const {
  return unclaimed_writes_.load(
      std::memory_order_relaxed); // a statistic: orders nothing, pairs with nothing
}

std::uint64_t PortBus::unclaimed_reads() const {
  return unclaimed_reads_.load(
      std::memory_order_relaxed); // a statistic: orders nothing, pairs with nothing
}

} // namespace slat::vmm
