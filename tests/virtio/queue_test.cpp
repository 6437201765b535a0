// What a driver may do with a queue, and what it may not.
#include "driver.hpp"
#include "echo_device.hpp"

#include <numeric>

namespace slat::vmm::virtio {
namespace {

class QueueTest : public testing::Test {
 protected:
  void expect_broken(const char* text) {
    rig_.transport().drain();
    const auto broken = rig_.broken();
    ASSERT_EQ(broken.size(), 1u);
    EXPECT_NE(broken.front().find(text), std::string::npos) << broken.front();
    EXPECT_NE(rig_.read(0x70) & 64, 0u) << "DEVICE_NEEDS_RESET";
    EXPECT_NE(rig_.read(0x60) & 2, 0u) << "a change of configuration is told";
    // Nothing is served until a reset; then everything.
    driver_.start(1);
    rig_.store<std::uint32_t>(0x100000, 77);
    driver_.submit(0, {{0x100000, 4, false}, {0x101000, 4, true}});
    EXPECT_EQ(rig_.load<std::uint32_t>(0x101000), 77u);
    EXPECT_EQ(rig_.broken().size(), 1u);
  }

  void bad(std::initializer_list<Descriptor> descriptors, const char* text) {
    driver_.start(1);
    unsigned index = 0;
    for (const Descriptor& value : descriptors) driver_.descriptor(0, index++, value);
    driver_.offer(0, 0);
    driver_.notify(0);
    expect_broken(text);
  }

  EchoDevice device_;
  Rig rig_{device_};
  Driver driver_{rig_};
};

TEST_F(QueueTest, ABufferComesBackWithWhatTheDeviceWrote) {
  driver_.start(1);
  rig_.store<std::uint64_t>(0x100ffc, 0x0102030405060708); // over a page's end
  driver_.submit(0, {{0x100ffc, 8, false}, {0x103000, 3, true}, {0x105000, 64, true}}, 4);
  EXPECT_EQ(driver_.used(0), (std::vector<Used>{{4, 8}}));
  EXPECT_EQ(rig_.load<std::uint16_t>(0x103000), 0x0708);
  EXPECT_EQ(rig_.load<std::uint32_t>(0x105000), 0x02030405u);
  EXPECT_TRUE(rig_.broken().empty());
}

TEST_F(QueueTest, IndicesWrapAround) {
  driver_.start(1);
  for (std::uint32_t i = 0; i < 70'000; i += 7) { // past 65,536 in sevens
    for (std::uint32_t j = 0; j < 7; ++j) driver_.add(0, {{0x100000, 4, false}}, j);
    driver_.notify(0);
    rig_.transport().drain();
    ASSERT_EQ(driver_.used(0).size(), 7u) << i;
  }
}

TEST_F(QueueTest, AnIndirectTableIsAChain) {
  driver_.start(1);
  const Descriptor table[] = {
      {0x100000, 4, next_flag, 2}, {0, 0, 0, 0}, {0x101000, 4, write_flag, 0}};
  rig_.store(0x110000, table);
  rig_.store<std::uint32_t>(0x100000, 1234);
  driver_.descriptor(0, 3, {0x110000, sizeof table, indirect_flag, 0});
  driver_.offer(0, 3);
  driver_.notify(0);
  rig_.transport().drain();
  EXPECT_EQ(driver_.used(0), (std::vector<Used>{{3, 4}}));
  EXPECT_EQ(rig_.load<std::uint32_t>(0x101000), 1234u);
}

TEST_F(QueueTest, NoInterruptWhereTheDriverWantsNone) {
  driver_.start(1);
  driver_.submit(0, {{0x100000, 4, false}});
  EXPECT_EQ(rig_.interrupts(), 1u);
  rig_.store<std::uint16_t>(Driver::available(0), 1);
  driver_.submit(0, {{0x100000, 4, false}});
  EXPECT_EQ(rig_.interrupts(), 1u);
  EXPECT_EQ(driver_.used(0).size(), 2u);
}

TEST_F(QueueTest, NotificationsAreWantedWhenNothingIsLeft) {
  driver_.start(1);
  driver_.submit(0, {{0x100000, 4, false}});
  EXPECT_EQ(rig_.load<std::uint16_t>(Driver::used_ring(0)), 0);
}

// The driver was told that it need not notify, and did not.
TEST_F(QueueTest, ABufferThatCameUnnotifiedIsSeenWhenNotificationsAreWantedAgain) {
  driver_.negotiate(0);
  driver_.set_up(0);
  auto queue = Queue::create(rig_.ram(), {Driver::queue_entries, Driver::descriptors(0),
                                          Driver::available(0), Driver::used_ring(0)});
  ASSERT_TRUE(queue);
  Chain chain;
  ASSERT_TRUE(queue->disable_notifications());
  EXPECT_EQ(rig_.load<std::uint16_t>(Driver::used_ring(0)), 1);
  EXPECT_FALSE(queue->pop(chain).value());
  driver_.add(0, {{0x100000, 4, false}});
  EXPECT_TRUE(queue->enable_notifications().value());
  EXPECT_EQ(rig_.load<std::uint16_t>(Driver::used_ring(0)), 0);
  EXPECT_TRUE(queue->pop(chain).value());
  EXPECT_FALSE(queue->enable_notifications().value());
}

TEST_F(QueueTest, ADescriptorPastTheTable) {
  driver_.start(1);
  driver_.offer(0, Driver::queue_entries);
  driver_.notify(0);
  expect_broken("descriptor 16 of 16");
}

TEST_F(QueueTest, MoreBuffersThanEntries) {
  driver_.start(1);
  rig_.store<std::uint16_t>(Driver::available(0) + 2, Driver::queue_entries + 1);
  driver_.notify(0);
  expect_broken("17 buffers available in a queue of 16");
}

TEST_F(QueueTest, AChainThatDoesNotEnd) {
  bad({{0x100000, 4, next_flag, 1}, {0x100000, 4, next_flag, 0}}, "does not end");
}

TEST_F(QueueTest, ANextPastTheTable) {
  bad({{0x100000, 4, next_flag, 99}}, "descriptor 99 of 16");
}

TEST_F(QueueTest, ABufferOutsideRam) {
  bad({{4 * mib - 4, 8, 0, 0}}, "not in RAM");
}

TEST_F(QueueTest, ABufferWhoseEndWraps) {
  bad({{UINT64_MAX - 3, 8, 0, 0}}, "not in RAM");
}

TEST_F(QueueTest, AReadableBufferAfterAWritableOne) {
  bad({{0x100000, 4, next_flag | write_flag, 1}, {0x101000, 4, 0, 0}}, "after a writable one");
}

TEST_F(QueueTest, AnIndirectTableWithinAChain) {
  bad({{0x100000, 16, indirect_flag | next_flag, 1}, {0x101000, 4, 0, 0}}, "indirect table within");
}

TEST_F(QueueTest, AnIndirectTableWithinATable) {
  rig_.store<Descriptor>(0x100000, {0x100000, 16, indirect_flag, 0});
  bad({{0x100000, 16, indirect_flag, 0}}, "indirect table within");
}

TEST_F(QueueTest, IndirectTablesOfOddSizes) {
  bad({{0x100000, 24, indirect_flag, 0}}, "an indirect table of 24 bytes");
}

TEST_F(QueueTest, AnEmptyIndirectTable) {
  bad({{0x100000, 0, indirect_flag, 0}}, "an indirect table of 0 bytes");
}

TEST_F(QueueTest, AnIndirectTableThatIsTooLong) {
  bad({{0x100000, 16 * (Queue::chain_limit + 1), indirect_flag, 0}}, "an indirect table of 16400");
}

TEST_F(QueueTest, AnIndirectTableOutsideRam) {
  bad({{4 * mib - 8, 16, indirect_flag, 0}}, "an indirect table of 16 bytes");
}

TEST_F(QueueTest, ALayoutThatBreaksARuleBreaksTheDevice) {
  const struct {
    QueueLayout layout;
    const char* text;
  } cases[] = {
      {{0, 0x1000, 0x2000, 0x3000}, "0 entries"},
      {{3, 0x1000, 0x2000, 0x3000}, "3 entries"},
      {{512, 0x1000, 0x2000, 0x3000}, "512 entries"},
      {{16, 0x1008, 0x2000, 0x3000}, "descriptor table"},
      {{16, 0x1000, 0x2001, 0x3000}, "available ring"},
      {{16, 0x1000, 0x2000, 0x3002}, "used ring"},
      {{16, 4 * mib - 16, 0x2000, 0x3000}, "descriptor table"},
      {{16, 0x1000, UINT64_MAX - 1, 0x3000}, "available ring"},
      {{16, 0x1000, 0x2000, 4 * mib}, "used ring"},
  };

  for (const auto& [layout, text] : cases) {
    auto queue = Queue::create(rig_.ram(), layout);
    ASSERT_FALSE(queue);
    EXPECT_EQ(queue.error().code, Errc::bad_queue);
    EXPECT_NE(queue.error().message.find(text), std::string::npos) << queue.error().message;
  }
}

} // namespace
} // namespace slat::vmm::virtio
