#include "mmu/stage2/vcpu_flush.hpp"

#include "support.hpp"

namespace slat::mmu::stage2 {
namespace {

using mmu::testing::eventually;
using mmu::testing::Latch;
using mmu::testing::stays;

struct VcpuFlushTest : ::testing::Test {
  void enter() {
    vcpu.enter([this] { ++drops; });
  }

  void poll() {
    vcpu.poll([this] { ++drops; });
  }

  VcpuFlush vcpu;
  VcpuFlusher flusher{{&vcpu}};
  int drops = 0;
};

TEST_F(VcpuFlushTest, I37_flush_does_not_wait_for_a_vcpu_out_of_guest_mode) {
  flusher.flush_range(0, 1);
  EXPECT_EQ(drops, 0);
  enter();
  EXPECT_EQ(drops, 1) << "before anything is used";
  poll();
  EXPECT_EQ(drops, 1);
  vcpu.leave();
  enter();
  EXPECT_EQ(drops, 1);
}

TEST_F(VcpuFlushTest, I36_flush_waits_until_a_vcpu_in_guest_mode_has_dropped_its_TLB) {
  enter();
  std::atomic<bool> flushed{false};
  std::thread other([&] {
    flusher.flush_range(0, 1);
    flushed = true;
  });
  EXPECT_TRUE(stays([&] { return !flushed.load(); }));
  EXPECT_TRUE(eventually([&] {
    vcpu.poll([&] {
      EXPECT_FALSE(flushed.load()) << "acknowledged before the drop";
      ++drops;
    });
    return flushed.load();
  }));
  EXPECT_EQ(drops, 1);
  other.join();
}

TEST_F(VcpuFlushTest, I37_flush_ends_when_the_vcpu_leaves_into_a_fault) {
  enter();
  std::atomic<bool> flushed{false};
  std::thread other([&] {
    flusher.flush_range(0, 1);
    flushed = true;
  });
  EXPECT_TRUE(stays([&] { return !flushed.load(); }));
  vcpu.leave();
  other.join();
  EXPECT_EQ(drops, 0);
  enter();
  EXPECT_EQ(drops, 1);
}

TEST_F(VcpuFlushTest, flushes_are_answered_by_one_drop) {
  const std::uint64_t first = vcpu.request();
  const std::uint64_t second = vcpu.request();
  enter();
  vcpu.wait(first);
  vcpu.wait(second);
  EXPECT_EQ(drops, 1);
}

TEST(VcpuFlushes, machine_of_more_than_64_vcpus_is_flushed_whole) {
  std::vector<VcpuFlush> vcpus(70);
  std::vector<VcpuFlush*> all;
  for (VcpuFlush& vcpu : vcpus) all.push_back(&vcpu);
  VcpuFlusher(all).flush_range(0, 1);
  int drops = 0;
  for (VcpuFlush& vcpu : vcpus) vcpu.enter([&] { ++drops; });
  EXPECT_EQ(drops, 70);
}

} // namespace
} // namespace slat::mmu::stage2
