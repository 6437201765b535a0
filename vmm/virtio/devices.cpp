#include "vmm/virtio/devices.hpp"

#include "vmm/layout.hpp"
#include "vmm/virtio/block.hpp"
#include "vmm/virtio/entropy.hpp"

#include <array>
#include <fmt/format.h>

namespace slat::vmm::virtio {

namespace {

constexpr Gpa first_register = 0xd0000000; // in the device hole
constexpr std::uint64_t stride = guest_page_size;
static_assert(MmioTransport::register_bytes <= stride && first_register >= device_hole_start);

// Pins of the I/O APIC that no device of a PC has: those past the old ones first.
constexpr std::array<unsigned, 14> lines = {16, 17, 18, 19, 20, 21, 22, 23, 5, 6, 7, 10, 11, 12};

Result<std::unique_ptr<Device>> make_disk(const DiskConfig& config, std::size_t number) {
  if (config.queues < 1 || config.queues > Block::max_queues)
    return fail(
        Errc::invalid_argument, 0,
        fmt::format("a disk with {} queues: give 1 to {}", config.queues, Block::max_queues));
  auto image = BlockImage::open(config.path, config.read_only);
  if (!image) return forward(image);
  return std::make_unique<Block>(std::move(*image), config.queues, fmt::format("slat-{}", number));
}

} // namespace

Result<std::unique_ptr<Devices>> Devices::create(const DevicesConfig& config, GuestRam& ram,
                                                 Interrupt interrupt, Notice notice,
                                                 SeccompMode seccomp) {
  std::unique_ptr<Devices> all(new Devices);
  for (const DiskConfig& disk : config.disks) {
    auto device = make_disk(disk, all->devices_.size());
    if (!device) return forward(device);
    all->devices_.push_back(std::move(*device));
  }
  if (config.entropy) all->devices_.push_back(std::make_unique<Entropy>());
  if (config.console) {
    auto console = std::make_unique<VirtioConsole>(config.console);
    all->console_ = console.get();
    all->devices_.push_back(std::move(console));
  }
  if (config.balloon) {
    if (config.balloon->target > ram.size())
      return fail(Errc::invalid_argument, 0,
                  fmt::format("a balloon of {} and a guest of {}; give the balloon less",
                              format_size(config.balloon->target), format_size(ram.size())));
    auto balloon = std::make_unique<Balloon>(*config.balloon, ram.size());
    all->balloon_ = balloon.get();
    all->devices_.push_back(std::move(balloon));
  }
  if (all->devices_.size() > lines.size())
    return fail(
        Errc::invalid_argument, 0,
        fmt::format("{} virtio devices, and there are {} interrupt lines for them; use fewer",
                    all->devices_.size(), lines.size()));
  for (std::size_t i = 0; i < all->devices_.size(); ++i) {
    const unsigned gsi = lines[i];
    auto transport = MmioTransport::create(
        *all->devices_[i], ram, [interrupt, gsi] { interrupt(gsi); }, notice, seccomp);
    if (!transport) return forward(transport);
    all->transports_.push_back(std::move(*transport));
    all->places_.push_back({first_register + i * stride, MmioTransport::register_bytes, gsi});
  }
  return all;
}

Result<void> Devices::attach(MmioBus& bus) {
  for (std::size_t i = 0; i < transports_.size(); ++i)
    if (auto ok =
            bus.attach({places_[i].base, places_[i].size}, *transports_[i], devices_[i]->name());
        !ok)
      return ok;
  return {};
}

} // namespace slat::vmm::virtio
