// One virtio device (FUZZ_DEVICE) against a driver that does whatever the input says: registers, rings, descriptors. No
// access leaves guest RAM, every loop ends, a reset makes the device as new, and what comes back was given.
//
// The input is a list of steps, each an opcode byte and its operands. Addresses are mostly in a few pages, so that buffers,
// tables and rings meet each other.
#include "driver.hpp"
#include "expect.hpp"
#include "temporary_file.hpp"
#include "vmm/virtio/balloon.hpp"
#include "vmm/virtio/block.hpp"
#include "vmm/virtio/console.hpp"
#include "vmm/virtio/entropy.hpp"

#include <cstdint>
#include <memory>
#include <string_view>

using namespace slat::vmm;
using namespace slat::vmm::virtio;

namespace {

constexpr std::uint64_t memory = 4 * mib;
constexpr unsigned max_steps = 64;
constexpr std::uint64_t disk_bytes = 64 * kib;

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}

  [[nodiscard]] bool empty() const { return left_ == 0; }

  template <class T> T take() {
    T value{};
    const std::size_t count = std::min(sizeof value, left_);
    std::memcpy(&value, data_, count);
    data_ += count;
    left_ -= count;
    return value;
  }

  /// In the rings of queue 0 and 1, in data, at the end of RAM, or anywhere.
  Gpa address() {
    const auto kind = take<std::uint8_t>();
    const auto offset = take<std::uint16_t>();
    switch (kind % 8) {
    case 0:
      return Driver::descriptors(0) + offset % 0x8000;
    case 1:
      return memory - offset % 0x2000;
    case 2:
      return take<std::uint64_t>();
    default:
      return 0x100000 + offset;
    }
  }

 private:
  const std::uint8_t* data_;
  std::size_t left_;
};

struct Setup {
  TemporaryFile file{disk_bytes};
  std::unique_ptr<Device> device = make();
  Rig rig{*device, memory};

  std::unique_ptr<Device> make() {
    constexpr std::string_view kind = FUZZ_DEVICE;
    if (kind == "entropy") return std::make_unique<Entropy>();
    if (kind == "console") return std::make_unique<VirtioConsole>([](std::span<const char>) {});
    if (kind == "balloon") return std::make_unique<Balloon>(BalloonOptions{}, memory);
    auto image = BlockImage::open(file.path(), false);
    expect(bool(image), "the image opens");
    return std::make_unique<Block>(std::move(*image), 2, "fuzz");
  }

  void host_side(std::uint8_t what) {
    if (auto* console = dynamic_cast<VirtioConsole*>(device.get()))
      if (console->has_room()) console->receive(std::string_view("typed", 1 + what % 5));
    if (auto* balloon = dynamic_cast<Balloon*>(device.get())) {
      (void)balloon->set_target(what * guest_page_size);
      (void)balloon->statistics();
    }
  }
};

void step(Input& input, Setup& setup, Driver& driver) {
  Rig& rig = setup.rig;
  const auto op = input.take<std::uint8_t>();
  const unsigned queue = (op >> 4) % setup.device->queues();
  switch (op % 10) {
  case 0:
  case 1: {
    const auto index = input.take<std::uint8_t>();
    const Gpa address = input.address();
    driver.descriptor(queue, index % Driver::queue_entries,
                      {address, input.take<std::uint16_t>(),
                       static_cast<std::uint16_t>(input.take<std::uint8_t>() & 7),
                       static_cast<std::uint16_t>(input.take<std::uint8_t>() % 18)});
    return;
  }
  case 2:
  case 3:
    driver.offer(queue, input.take<std::uint8_t>() % (Driver::queue_entries + 1));
    driver.notify(queue);
    rig.transport().drain();
    return;
  case 4: { // a head of a request, a list of pages, an indirect table
    const Gpa address = input.address();
    const auto value = input.take<std::array<std::byte, 24>>();
    if (contains(rig.ram().ranges(), address, sizeof value)) rig.store(address, value);
    return;
  }
  case 5:
    rig.store(Driver::available(queue) + 2, input.take<std::uint16_t>());
    driver.notify(queue);
    return;
  case 6: {
    const auto offset = std::uint64_t{input.take<std::uint16_t>()} & 0x1fc;
    rig.write(offset, input.take<std::uint32_t>());
    return;
  }
  case 7:
    (void)rig.read(std::uint64_t{input.take<std::uint16_t>()} & 0x1fc);
    return;
  case 8:
    setup.host_side(input.take<std::uint8_t>());
    return;
  default:
    rig.write(0x70, 0);
    driver.start(setup.device->queues(), input.take<std::uint8_t>() & setup.device->features());
  }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Setup setup; // its threads, memfd and image are slow to make
  Rig& rig = setup.rig;
  rig.write(0x70, 0); // what an earlier input left
  expect(bool(rig.ram().discard({0, memory})), "RAM is given back");
  Driver driver(rig);
  driver.start(setup.device->queues(), setup.device->features());
  Input input(data, size);
  for (unsigned i = 0; i < max_steps && !input.empty(); ++i) step(input, setup, driver);
  rig.transport().drain();

  // As new: a buffer that is good comes back.
  rig.write(0x70, 0);
  expect(rig.read(0x70) == 0, "reset");
  driver.start(setup.device->queues(), setup.device->features());
  expect(rig.read(0x70) == 15, "active after a reset");
  rig.store<std::array<std::uint64_t, 2>>(0x100000, {4, 0}); // for a disk: flush
  const bool is_console_input = setup.device->type() == DeviceType::console;
  driver.submit(is_console_input ? 1 : 0, {{0x100000, 16, false}, {0x101000, 1, true}});
  const auto used = driver.used(is_console_input ? 1 : 0);
  expect(used.size() == 1 && used.front().id == 0 && used.front().length <= 1, "a good buffer");
  return 0;
}
