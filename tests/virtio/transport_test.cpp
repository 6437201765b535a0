// The registers, and the steps from reset to reset.
#include "driver.hpp"
#include "echo_device.hpp"

#include <thread>

namespace slat::vmm::virtio {
namespace {

class TransportTest : public testing::Test {
 protected:
  EchoDevice device_{2};
  Rig rig_{device_};
  Driver driver_{rig_};
};

TEST_F(TransportTest, SaysWhatItIs) {
  EXPECT_EQ(rig_.read(0x00), 0x74726976u);
  EXPECT_EQ(rig_.read(0x04), 2u);
  EXPECT_EQ(rig_.read(0x08), 4u);
  EXPECT_EQ(rig_.read(0xb0), UINT32_MAX) << "no shared memory";
  rig_.write(0x30, 1);
  EXPECT_EQ(rig_.read(0x34), Queue::max_size);
  rig_.write(0x30, 2);
  EXPECT_EQ(rig_.read(0x34), 0u) << "there is no third queue";
}

TEST_F(TransportTest, OffersItsFeaturesInHalves) {
  rig_.write(0x14, 0);
  EXPECT_EQ(rig_.read(0x10), 5u | 1u << 28);
  rig_.write(0x14, 1);
  EXPECT_EQ(rig_.read(0x10), 1u);
  rig_.write(0x14, 2);
  EXPECT_EQ(rig_.read(0x10), 0u);
}

TEST_F(TransportTest, TakesNoFeatureThatItDoesNotOffer) {
  driver_.negotiate(2);
  EXPECT_EQ(rig_.read(0x70), 3u);
  driver_.negotiate(4);
  EXPECT_EQ(rig_.read(0x70), 11u);
}

TEST_F(TransportTest, TakesNoDriverOfOldVersions) {
  rig_.write(0x70, 3);
  rig_.write(0x70, 11);
  EXPECT_EQ(rig_.read(0x70), 3u);
  rig_.write(0x70, 15);
  EXPECT_EQ(rig_.read(0x70), 3u) << "not active without its features";
  EXPECT_EQ(device_.active(), 0u);
}

TEST_F(TransportTest, IsActiveFromDriverOkToReset) {
  driver_.start(2, 4);
  EXPECT_EQ(rig_.read(0x70), 15u);
  EXPECT_EQ(device_.active(), 4 | version_1);
  rig_.write(0x70, 0);
  EXPECT_EQ(rig_.read(0x70), 0u);
  EXPECT_EQ(device_.active(), 0u);
  EXPECT_EQ(rig_.read(0x44), 0u);
}

TEST_F(TransportTest, ServesNothingBeforeDriverOkAndAllOfItThen) {
  driver_.negotiate(0);
  driver_.set_up(0);
  driver_.submit(0, {{0x100000, 4, false}});
  EXPECT_TRUE(driver_.used(0).empty());
  rig_.write(0x70, 15);
  rig_.transport().drain();
  EXPECT_EQ(driver_.used(0).size(), 1u);
}

TEST_F(TransportTest, ServesNothingAfterAReset) {
  driver_.start(2);
  rig_.write(0x70, 0);
  driver_.submit(0, {{0x100000, 4, false}});
  EXPECT_TRUE(driver_.used(0).empty());
  EXPECT_EQ(rig_.interrupts(), 0u);
}

TEST_F(TransportTest, QueuesDoNotChangeWhileItIsActive) {
  driver_.start(2);
  rig_.write(0x30, 0);
  rig_.write(0x44, 0);
  EXPECT_EQ(rig_.read(0x44), 1u);
  rig_.write(0x80, 0xdead000);
  driver_.submit(0, {{0x100000, 4, false}});
  EXPECT_EQ(driver_.used(0).size(), 1u);
}

TEST_F(TransportTest, AQueueThatIsNotInRamBreaksIt) {
  driver_.negotiate(0);
  rig_.write(0x30, 0);
  rig_.write(0x38, 16);
  rig_.write(0x80, 0xfff00000);
  rig_.write(0x44, 1);
  EXPECT_EQ(rig_.read(0x44), 0u);
  EXPECT_NE(rig_.read(0x70) & 64, 0u);
  ASSERT_EQ(rig_.broken().size(), 1u);
  EXPECT_NE(rig_.broken().front().find("device 'echo'"), std::string::npos);
}

TEST_F(TransportTest, InterruptsAreAcknowledged) {
  driver_.start(2);
  driver_.submit(1, {{0x100000, 4, false}});
  EXPECT_EQ(rig_.read(0x60), 1u);
  const std::uint32_t generation = rig_.read(0xfc);
  device_.host().config_changed();
  EXPECT_EQ(rig_.read(0x60), 3u);
  EXPECT_NE(rig_.read(0xfc), generation);
  rig_.write(0x64, 1);
  EXPECT_EQ(rig_.read(0x60), 2u);
}

TEST_F(TransportTest, ConfigurationIsReadInAnyPieces) {
  std::byte byte{};
  rig_.transport().read(0x101, {&byte, 1});
  EXPECT_EQ(byte, std::byte{0x33});
  EXPECT_EQ(rig_.read(0x100), 0x11223344u);
  EXPECT_EQ(rig_.read(0x1fc), 0u) << "past its end";
}

TEST_F(TransportTest, RegistersAreReadAsAWhole) {
  std::byte byte{0x55};
  rig_.transport().read(0x00, {&byte, 1});
  EXPECT_EQ(byte, std::byte{0});
  std::uint64_t both = UINT64_MAX;
  rig_.transport().read(0x00, std::as_writable_bytes(std::span(&both, 1)));
  EXPECT_EQ(both, 0u);
}

TEST_F(TransportTest, NotificationsOfQueuesThatAreNotThereAreNothing) {
  driver_.start(2);
  rig_.write(0x50, 2);
  rig_.write(0x50, UINT32_MAX);
  rig_.transport().drain();
  EXPECT_TRUE(rig_.broken().empty());
}

TEST_F(TransportTest, AResetReturnsWhenNothingIsUnderWay) {
  std::atomic<bool> entered{false};
  std::atomic<bool> released{false};
  device_.on_buffer = [&] {
    entered.store(true);
    while (!released.load()) std::this_thread::yield();
  };
  driver_.start(2);
  driver_.add(0, {{0x100000, 4, false}, {0x120000, 4, true}});
  driver_.notify(0);
  while (!entered.load()) std::this_thread::yield();
  std::thread release([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    released.store(true);
  });
  rig_.write(0x70, 0);
  EXPECT_TRUE(released.load());
  release.join();
  EXPECT_EQ(rig_.read(0x60), 0u) << "what the last buffer raised is gone";
}

// A reset beside a queue that is being served: when it returns, nothing is at work, and nothing comes later.
TEST_F(TransportTest, AResetWaitsForWhatIsUnderWay) {
  for (int round = 0; round < 300; ++round) {
    driver_.start(2);
    for (unsigned i = 0; i < 8; ++i)
      driver_.add(0, {{0x100000, 2000, false}, {0x120000, 2000, true}}, 2 * i);
    driver_.notify(0);
    if (round % 3 == 0) std::this_thread::yield();
    rig_.write(0x70, 0);
    const auto now = rig_.load<std::uint16_t>(Driver::used_ring(0) + 2);
    const unsigned interrupts = rig_.interrupts();
    rig_.transport().drain();
    ASSERT_EQ(rig_.load<std::uint16_t>(Driver::used_ring(0) + 2), now);
    ASSERT_EQ(rig_.interrupts(), interrupts);
    ASSERT_EQ(rig_.read(0x60), 0u);
  }
  EXPECT_TRUE(rig_.broken().empty());
}

} // namespace
} // namespace slat::vmm::virtio
