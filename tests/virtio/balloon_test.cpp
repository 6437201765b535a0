// The balloon: what the guest gives up goes back to the host and reads as zero (I39).
#include "driver.hpp"
#include "vmm/virtio/balloon.hpp"

#include "../vmm/matchers.hpp"

#include <chrono>
#include <sys/stat.h>
#include <thread>

namespace slat::vmm::virtio {
namespace {

constexpr std::uint64_t memory = 16 * mib;
constexpr std::uint64_t statistics = 1 << 1;
constexpr std::uint64_t reporting = 1 << 5;
constexpr Gpa list = 0x100000;
constexpr std::uint64_t rings = 64 * kib; // at the most, and what else the device filled

class BalloonTest : public testing::Test {
 protected:
  /// Waits until the host has no more than that: freeing waits for readers, and then for a thread.
  void expect_resident_at_most(std::uint64_t bytes) {
    for (int i = 0; i < 10'000 && resident() > bytes; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_LE(resident(), bytes);
  }

  std::uint64_t resident() {
    struct stat info{};
    EXPECT_EQ(fstat(rig_.ram().regions().front().backing->fd(), &info), 0);
    return static_cast<std::uint64_t>(info.st_blocks) * 512;
  }

  void fill(Gpa start, std::uint64_t bytes) {
    for (Gpa at = start; at < start + bytes; at += guest_page_size) rig_.store(at, at | 1);
  }

  void inflate(const std::vector<std::uint32_t>& pages) {
    ASSERT_TRUE(rig_.ram().write(list, std::as_bytes(std::span(pages))));
    driver_.submit(0, {{list, static_cast<std::uint32_t>(pages.size() * 4), false}});
  }

  Balloon device_{{}, memory};
  Rig rig_{device_, memory};
  Driver driver_{rig_};
};

TEST_F(BalloonTest, I39_WhatIsInflatedLeavesTheHostAndReadsAsZero) {
  driver_.start(2);
  fill(4 * mib, 8 * mib);
  const std::uint64_t before = resident();
  std::vector<std::uint32_t> pages;
  for (std::uint32_t page = 2047; page >= 1024; --page)
    pages.push_back(page); // 4 to 8 MiB, downwards
  inflate(pages);
  EXPECT_EQ(driver_.used(0).size(), 1u);
  expect_resident_at_most(before - 4 * mib + rings);
  EXPECT_EQ(rig_.load<Gpa>(4 * mib), 0u);
  EXPECT_EQ(rig_.load<Gpa>(8 * mib - guest_page_size), 0u);
  EXPECT_EQ(rig_.load<Gpa>(8 * mib), 8 * mib | 1) << "what it did not give up stays";
  EXPECT_EQ(device_.state().inflated_bytes, 4 * mib);
}

TEST_F(BalloonTest, NeighboursAreOneInvalidation) {
  driver_.start(2);
  const auto invalidations = [&] {
    return rig_.ram().mm().counters().sum(mmu::Counter::invalidate_count);
  };
  const std::uint64_t before = invalidations();
  inflate({1030, 1025, 1026, 1024, 1027, 1029});
  EXPECT_EQ(invalidations() - before, 2u);
}

TEST_F(BalloonTest, TheSamePageTwiceIsNoHarm) {
  driver_.start(2);
  inflate({1024, 1024, 1025, 1025});
  EXPECT_TRUE(rig_.broken().empty());
}

TEST_F(BalloonTest, APageThatIsNotRamBreaksIt) {
  driver_.start(2);
  inflate({1024, memory / guest_page_size});
  ASSERT_EQ(rig_.broken().size(), 1u);
  EXPECT_NE(rig_.broken().front().find("not all guest RAM"), std::string::npos);
}

TEST_F(BalloonTest, APieceOfAPageNumberBreaksIt) {
  driver_.start(2);
  driver_.submit(0, {{list, 6, false}});
  ASSERT_EQ(rig_.broken().size(), 1u);
  EXPECT_NE(rig_.broken().front().find("piece of a page number"), std::string::npos);
}

TEST_F(BalloonTest, DeflatedPagesAreThereWhenTouched) {
  driver_.start(2);
  inflate({1024});
  driver_.submit(1, {{list, 4, false}});
  EXPECT_EQ(driver_.used(1).size(), 1u);
  fill(4 * mib, guest_page_size);
  EXPECT_EQ(rig_.load<Gpa>(4 * mib), 4 * mib | 1);
}

TEST_F(BalloonTest, I39_ReportedPagesReadAsZeroAndTheirNeighboursStay) {
  // Queues follow each other without gaps: without statistics the third is the one for reports.
  for (const std::uint64_t features : {reporting, reporting | statistics}) {
    const unsigned queue = (features & statistics) != 0 ? 3 : 2;
    driver_.start(queue + 1, features);
    fill(4 * mib, 8 * mib);
    const std::uint64_t before = resident();
    driver_.submit(queue, {{4 * mib, 2 * mib, true}, {8 * mib + 100, 3 * guest_page_size, true}});
    EXPECT_EQ(driver_.used(queue).size(), 1u);
    EXPECT_EQ(rig_.load<Gpa>(4 * mib), 0u);
    EXPECT_EQ(rig_.load<Gpa>(6 * mib), 6 * mib | 1);
    EXPECT_EQ(rig_.load<Gpa>(8 * mib), 8 * mib | 1) << "a page that is not all free";
    EXPECT_EQ(rig_.load<Gpa>(8 * mib + guest_page_size), 0u);
    EXPECT_EQ(rig_.load<Gpa>(8 * mib + 3 * guest_page_size), (8 * mib + 3 * guest_page_size) | 1);
    expect_resident_at_most(before - 2 * mib + rings);
  }
  EXPECT_EQ(device_.state().reported_bytes, 2 * (2 * mib + 2 * guest_page_size));
}

TEST_F(BalloonTest, TheTargetIsToldAndTheAnswerKept) {
  driver_.start(2);
  ASSERT_TRUE(device_.set_target(3 * mib));
  EXPECT_EQ(rig_.read(0x60), 2u);
  EXPECT_EQ(rig_.read(0x100), 768u);
  rig_.write(0x104, 700);
  EXPECT_EQ(rig_.read(0x104), 700u);
  EXPECT_EQ(device_.state().target_bytes, 3 * mib);
  EXPECT_EQ(device_.state().actual_bytes, 700 * guest_page_size);
  rig_.write(0x100, 1);
  EXPECT_EQ(rig_.read(0x100), 768u) << "the target is the host's";
}

TEST_F(BalloonTest, TargetsThatMakeNoSense) {
  EXPECT_THAT(device_.set_target(memory + guest_page_size),
              FailsWith(Errc::invalid_argument, "16M"));
  EXPECT_THAT(device_.set_target(1000), FailsWith(Errc::invalid_argument, "1000"));
}

TEST_F(BalloonTest, StatisticsComeWithTheGuestsBufferWhichAsksForMore) {
  driver_.start(4, statistics | reporting);
  EXPECT_TRUE(device_.statistics().empty());
  const auto tell = [&](std::uint64_t free) {
    struct [[gnu::packed]] Statistic {
      std::uint16_t tag;
      std::uint64_t value;
    };
    const Statistic told[] = {{4, free}, {99, 1}, {5, 1000}};
    rig_.store(0x180000, told);
    driver_.submit(2, {{0x180000, sizeof told, false}});
  };
  tell(500);
  const BalloonControl::Statistics expected{{"free_memory", 500}, {"total_memory", 1000}};
  EXPECT_TRUE(driver_.used(2).empty()) << "kept until somebody asks";
  driver_.notify(2);
  rig_.transport().drain();
  EXPECT_TRUE(driver_.used(2).empty()) << "who asked before there was a buffer has been answered";
  EXPECT_EQ(device_.statistics(), expected);
  rig_.transport().drain();
  EXPECT_EQ(driver_.used(2).size(), 1u);
  tell(400);
  EXPECT_EQ(device_.statistics().front().second, 400u);
}

} // namespace
} // namespace slat::vmm::virtio
