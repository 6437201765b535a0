#include "vmm/port_bus.hpp"

#include "matchers.hpp"

#include <array>
#include <atomic>
#include <gtest/gtest.h>
#include <mutex>
#include <thread>
#include <vector>

namespace slat::vmm {
namespace {

struct Access {
  std::uint16_t offset;
  unsigned unit;
  std::size_t size;
};

class RecordingDevice final : public PortDevice {
 public:
  void write(std::uint16_t offset, unsigned unit, std::span<const std::byte> data) override {
    const std::lock_guard lock(mutex_);
    accesses_.push_back({offset, unit, data.size()});
  }

  void read(std::uint16_t offset, unsigned unit, std::span<std::byte> data) override {
    const std::lock_guard lock(mutex_);
    accesses_.push_back({offset, unit, data.size()});
    for (auto& byte : data) byte = std::byte{0x42};
  }

  std::vector<Access> accesses() const {
    const std::lock_guard lock(mutex_);
    return accesses_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<Access> accesses_;
};

constexpr std::array<std::byte, 4> four{};

TEST(PortBus, RoutesToTheDeviceWithItsOffset) {
  PortBus bus;
  RecordingDevice low;
  RecordingDevice high;
  ASSERT_TRUE(bus.attach({0x3f8, 0x3ff}, high, "high"));
  ASSERT_TRUE(bus.attach({0x10, 0x10}, low, "low"));
  bus.write(0x10, 1, std::span(four).first(1));
  bus.write(0x3ff, 4, four);
  std::array<std::byte, 2> in{};
  bus.read(0x3f8, 2, in);
  EXPECT_EQ(in[1], std::byte{0x42});
  ASSERT_EQ(low.accesses().size(), 1U);
  EXPECT_EQ(low.accesses()[0].offset, 0U);
  ASSERT_EQ(high.accesses().size(), 2U);
  EXPECT_EQ(high.accesses()[0].offset, 7U);
  EXPECT_EQ(high.accesses()[0].unit, 4U);
  EXPECT_EQ(high.accesses()[1].offset, 0U);
  EXPECT_EQ(bus.unclaimed_writes() + bus.unclaimed_reads(), 0U);
}

TEST(PortBus, PassesAStringAccessWhole) {
  PortBus bus;
  RecordingDevice device;
  ASSERT_TRUE(bus.attach({0, 0}, device, "device"));
  const std::vector<std::byte> data(600);
  bus.write(0, 2, data);
  ASSERT_EQ(device.accesses().size(), 1U);
  EXPECT_EQ(device.accesses()[0].size, 600U);
}

TEST(PortBus, UnclaimedPortsReadOnesAndDropWritesCounted) {
  PortBus bus;
  RecordingDevice device;
  ASSERT_TRUE(bus.attach({0x20, 0x2f}, device, "device"));
  std::array<std::byte, 4> in{};
  for (const std::uint16_t port :
       {std::uint16_t{0x1f}, std::uint16_t{0x30}, std::uint16_t{0xffff}}) {
    in.fill({});
    bus.read(port, 4, in);
    for (const auto byte : in) EXPECT_EQ(byte, std::byte{0xff});
    bus.write(port, 4, four);
  }
  EXPECT_EQ(bus.unclaimed_reads(), 3U);
  EXPECT_EQ(bus.unclaimed_writes(), 3U);
  EXPECT_TRUE(device.accesses().empty());
}

TEST(PortBus, RefusesOverlapsAndNamesBoth) {
  PortBus bus;
  RecordingDevice device;
  ASSERT_TRUE(bus.attach({0x20, 0x2f}, device, "first"));
  for (const PortRange ports : {PortRange{0x2f, 0x30}, PortRange{0x10, 0x20}, PortRange{0x10, 0x40},
                                PortRange{0x25, 0x25}}) {
    EXPECT_THAT(bus.attach(ports, device, "second"), FailsWith(Errc::invalid_argument, "'second'"));
    EXPECT_THAT(bus.attach(ports, device, "second"),
                FailsWith(Errc::invalid_argument, "'first' has 0x20 to 0x2f"));
  }
  EXPECT_TRUE(bus.attach({0x30, 0x30}, device, "after"));
  EXPECT_TRUE(bus.attach({0x1f, 0x1f}, device, "before"));
}

TEST(PortBus, RefusesABackwardsRange) {
  PortBus bus;
  RecordingDevice device;
  EXPECT_THAT(bus.attach({2, 1}, device, "d"), FailsWith(Errc::invalid_argument, "backwards"));
}

TEST(PortBus, IsUsedByManyThreadsAtOnce) {
  constexpr std::size_t rounds = 2000;
  PortBus bus;
  RecordingDevice device;
  ASSERT_TRUE(bus.attach({0x20, 0x20}, device, "device"));
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&bus] {
      for (std::size_t n = 0; n < rounds; ++n) {
        bus.write(0x20, 4, four);
        bus.write(0x21, 4, four);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(device.accesses().size(), 4 * rounds);
  EXPECT_EQ(bus.unclaimed_writes(), 4 * rounds);
}

} // namespace
} // namespace slat::vmm
