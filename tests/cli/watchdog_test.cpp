// The watchdog of slat boot, on a made-up clock and made-up vCPUs.
#include "slat/watchdog.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slat::tool {
namespace {

using namespace std::chrono_literals;
using Notice = Watchdog::Notice;

constexpr std::uint64_t interrupts_on = 0x202;
constexpr std::uint64_t interrupts_off = 0x002;

vmm::VcpuSample sample(std::uint64_t rip, std::uint64_t rax, std::uint64_t rflags = interrupts_off,
                       std::uint64_t exits = 0) {
  vmm::CrashRegisters registers{};
  registers.rip = rip;
  registers.rax = rax;
  registers.rflags = rflags;
  return {.exits = exits, .registers = registers};
}

class WatchdogTest : public testing::Test {
 protected:
  using Vcpus = std::vector<vmm::VcpuSample>;

  /// Looks once a second, `seconds` times, at what `vcpus(second)` gives; the notices that came.
  template <class Vcpus> std::vector<Notice> watch(int seconds, std::uint64_t bytes, Vcpus vcpus) {
    std::vector<Notice> notices;
    for (int i = 0; i < seconds; ++i) {
      now_ += 1s;
      const auto seen = vcpus(second_++);
      if (const Notice notice = watchdog_.look(now_, bytes, seen); notice != Notice::none)
        notices.push_back(notice);
    }
    return notices;
  }

  Watchdog::Clock::time_point now_{};
  int second_ = 0;
  Watchdog watchdog_{now_, 30s};
};

TEST_F(WatchdogTest, SaysOnceThatNotAByteHasCome) {
  const auto busy = [](int second) { return Vcpus{sample(0x1000, unsigned(second))}; };
  EXPECT_THAT(watch(29, 0, busy), testing::IsEmpty());
  EXPECT_THAT(watch(100, 0, busy), testing::ElementsAre(Notice::silent));
}

TEST_F(WatchdogTest, NoticesALoopThatGoesRoundOnTheSpot) {
  const auto loop = [](int second) { return Vcpus{sample(0x1000 + unsigned(second) % 3, 7)}; };
  EXPECT_THAT(watch(30, 1, loop), testing::IsEmpty());
  EXPECT_THAT(watch(100, 1, loop), testing::ElementsAre(Notice::stuck)) << "once";
}

TEST_F(WatchdogTest, SaysItAgainAfterProgress) {
  const auto loop = [](int) { return Vcpus{sample(0x1000, 7)}; };
  EXPECT_THAT(watch(40, 1, loop), testing::ElementsAre(Notice::stuck));
  EXPECT_THAT(watch(40, 2, loop), testing::ElementsAre(Notice::stuck)) << "a byte came in between";
}

TEST_F(WatchdogTest, LeavesAGuestAloneThatWaitsForInterrupts) {
  const auto idle = [](int) { return Vcpus{sample(0x1000, 7, interrupts_on)}; };
  EXPECT_THAT(watch(1000, 1, idle), testing::IsEmpty());
}

TEST_F(WatchdogTest, LeavesAGuestAloneThatComputes) {
  const auto counts = [](int second) {
    return Vcpus{sample(0x1000 + unsigned(second) % 3, unsigned(second))};
  };
  EXPECT_THAT(watch(1000, 1, counts), testing::IsEmpty());
  const auto wanders = [](int second) { return Vcpus{sample(0x1000 + unsigned(second) * 4, 7)}; };
  EXPECT_THAT(watch(1000, 1, wanders), testing::IsEmpty());
}

TEST_F(WatchdogTest, LeavesAGuestAloneThatPollsADevice) {
  const auto polls = [](int second) {
    return Vcpus{sample(0x1000, 7, interrupts_off, unsigned(second))};
  };
  EXPECT_THAT(watch(1000, 1, polls), testing::IsEmpty());
}

TEST_F(WatchdogTest, WantsAllVcpusToStandStill) {
  const auto one_works = [](int second) {
    return Vcpus{sample(0x1000, 7), sample(0x2000, unsigned(second))};
  };
  EXPECT_THAT(watch(1000, 1, one_works), testing::IsEmpty());
  const auto none_works = [](int) { return Vcpus{sample(0x1000, 7), sample(0x2000, 1)}; };
  EXPECT_THAT(watch(100, 1, none_works), testing::ElementsAre(Notice::stuck));
}

TEST_F(WatchdogTest, NoticesVcpusThatDoNotComeOutOfTheGuest) {
  const auto lost = [](int) { return Vcpus{vmm::VcpuSample{}}; };
  EXPECT_THAT(watch(100, 1, lost), testing::ElementsAre(Notice::stuck));
}

TEST_F(WatchdogTest, RemembersWhereAVcpuWasAsLongAsTheSignLasts) {
  const auto answers_once = [](int second) {
    return second == 0 ? Vcpus{sample(0x1000, 7)} : Vcpus{vmm::VcpuSample{}};
  };
  EXPECT_THAT(watch(30, 1, answers_once), testing::IsEmpty());
  ASSERT_TRUE(watchdog_.seen());
  EXPECT_EQ(watchdog_.seen()->registers->rip, 0x1000U);
  EXPECT_THAT(watch(1, 1, answers_once), testing::ElementsAre(Notice::stuck));
  EXPECT_FALSE(watchdog_.seen()) << "that was before";
}

TEST_F(WatchdogTest, SaysNothingWhereNoVcpuRuns) {
  EXPECT_THAT(watch(100, 1, [](int) { return Vcpus{}; }), testing::IsEmpty());
}

} // namespace
} // namespace slat::tool
