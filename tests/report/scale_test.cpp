#include "slat/report/scale.hpp"

#include "slat/report/text.hpp"

#include <cmath>
#include <gmock/gmock.h>
#include <limits>

namespace slat::reporting {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;

std::vector<std::string> labels(const std::vector<Tick>& ticks) {
  std::vector<std::string> labels;
  for (const Tick& tick : ticks) labels.push_back(tick.label);
  return labels;
}

TEST(ReportScale, PlacesAreInsideTheChartWhateverComes) {
  const LinearScale linear(10, 20);
  EXPECT_THAT(linear.place(15), DoubleNear(0.5, 1e-12));
  EXPECT_EQ(linear.place(-1), 0);
  EXPECT_EQ(linear.place(1e300), 1);
  EXPECT_EQ(linear.place(std::nan("")), 0);
  const LogScale log(1, 100);
  EXPECT_THAT(log.place(10), DoubleNear(0.5, 1e-12));
  EXPECT_EQ(log.place(0), 0);
  EXPECT_EQ(log.place(-5), 0);
  EXPECT_EQ(log.place(1e9), 1);
}

TEST(ReportScale, ARangeWithoutSizeIsGivenOne) {
  EXPECT_EQ(LinearScale(3, 3).high(), 4);
  EXPECT_EQ(LinearScale(3, std::numeric_limits<double>::infinity()).high(), 4);
  EXPECT_THAT(LogScale(0, 0).place(10), DoubleNear(1, 1e-12));
  EXPECT_EQ(LinearScale::from_zero(0).high(), 1);
}

TEST(ReportScale, FromZeroEndsAtARoundNumberJustAbove) {
  EXPECT_EQ(LinearScale::from_zero(10).high(), 10);
  EXPECT_EQ(LinearScale::from_zero(11).high(), 15);
  EXPECT_EQ(LinearScale::from_zero(38'000).high(), 40'000);
  for (double most = 1e-3; most < 1e12; most *= 1.37) {
    const double high = LinearScale::from_zero(most).high();
    EXPECT_GE(high, most * (1 - 1e-9));
    EXPECT_LE(high, most * 2.01) << most;
  }
}

TEST(ReportScale, TicksAreRoundAndNotTooMany) {
  EXPECT_THAT(labels(LinearScale(0, 10).ticks(6, short_number)),
              ElementsAre("0", "2", "4", "6", "8", "10"));
  EXPECT_THAT(labels(LinearScale(0, 7.2).ticks(5, short_number)), ElementsAre("0", "2", "4", "6"));
  for (double high = 1e-3; high < 1e12; high *= 1.7)
    for (unsigned most = 2; most < 9; ++most) {
      const auto ticks = LinearScale(0, high).ticks(most, short_number);
      EXPECT_LE(ticks.size(), most) << high;
      EXPECT_GE(ticks.size(), 1u) << high;
    }
}

TEST(ReportScale, LogTicksArePowersOfTenWhereThereIsNoRoomForMore) {
  EXPECT_THAT(labels(LogScale(1, 10).ticks(5, short_number)), ElementsAre("1", "2", "5", "10"));
  EXPECT_THAT(labels(LogScale(1, 100).ticks(5, short_number)),
              ElementsAre("1", "3", "10", "30", "100"));
  EXPECT_THAT(labels(LogScale(90, 2e7).ticks(6, short_time)),
              ElementsAre("100 ns", "1 µs", "10 µs", "100 µs", "1 ms", "10 ms"));
  EXPECT_THAT(labels(LogScale(1, 1e9).ticks(4, short_number)), ElementsAre("1", "1k", "1M", "1G"));
}

} // namespace
} // namespace slat::reporting
