#include "vmm/mmio_bus.hpp"

#include "vmm/printable.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace slat::vmm {

Result<void> MmioBus::attach(const GpaRange& range, MmioDevice& device, std::string_view name) {
  if (range.size == 0 || range.start + range.size < range.start)
    return fail(Errc::invalid_argument, 0,
                fmt::format("device '{}' wants [{:#x}, +{:#x}), which is no range; mend its size",
                            printable(name), range.start, range.size));
  const auto other = std::ranges::find_if(routes_, [&](const Route& route) {
    return range.start < route.range.start + route.range.size &&
           route.range.start < range.start + range.size;
  });
  if (other != routes_.end())
    return fail(Errc::invalid_argument, 0,
                fmt::format("device '{}' wants [{:#x}, +{:#x}), but '{}' has [{:#x}, +{:#x}); move "
                            "one of them",
                            printable(name), range.start, range.size, other->name,
                            other->range.start, other->range.size));
  routes_.push_back({range, &device, printable(name)});
  return {};
}

const MmioBus::Route* MmioBus::find(Gpa address, std::size_t size) const {
  const auto route = std::ranges::find_if(routes_, [&](const Route& candidate) {
    return address - candidate.range.start < candidate.range.size;
  });
  if (route == routes_.end()) return nullptr;
  return size <= route->range.size - (address - route->range.start) ? &*route : nullptr;
}

bool MmioBus::write(Gpa address, std::span<const std::byte> data) const {
  const Route* const route = find(address, data.size());
  if (route != nullptr) route->device->write(address - route->range.start, data);
  return route != nullptr;
}

bool MmioBus::read(Gpa address, std::span<std::byte> data) const {
  const Route* const route = find(address, data.size());
  if (route != nullptr) route->device->read(address - route->range.start, data);
  return route != nullptr;
}

} // namespace slat::vmm
