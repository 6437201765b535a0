#include "slat/thinned.hpp"

#include <gmock/gmock.h>

namespace slat::tool {
namespace {

using std::chrono::milliseconds;

TEST(Thinned, IsDueOnceInAnInterval) {
  Thinned<int> samples(milliseconds(100), 4);
  EXPECT_TRUE(samples.is_due(milliseconds(0)));
  samples.add(milliseconds(0), 1);
  EXPECT_FALSE(samples.is_due(milliseconds(99)));
  EXPECT_TRUE(samples.is_due(milliseconds(100)));
}

TEST(Thinned, RestsLongerAfterWhatTookLong) {
  Thinned<int> samples(milliseconds(100), 4);
  samples.add(milliseconds(0), 1, milliseconds(250));
  EXPECT_FALSE(samples.is_due(milliseconds(249)));
  EXPECT_TRUE(samples.is_due(milliseconds(250)));
}

TEST(Thinned, KeepsEveryOtherOneWhenItIsFull) {
  Thinned<std::string> samples(milliseconds(1), 4);
  for (int i = 0; i < 5; ++i) samples.add(milliseconds(i), std::to_string(i));
  ASSERT_EQ(samples.samples().size(), 3u);
  EXPECT_EQ(samples.samples()[0].value, "0");
  EXPECT_EQ(samples.samples()[1].value, "2");
  EXPECT_EQ(samples.samples()[2].value, "4");
  EXPECT_EQ(samples.interval(), milliseconds(2));
}

TEST(Thinned, CoversAllOfALongRunEvenlyInBoundedMemory) {
  Thinned<int> samples(milliseconds(1), 64);
  for (int i = 0; i < 100'000; ++i)
    if (samples.is_due(milliseconds(i))) samples.add(milliseconds(i), i);
  ASSERT_LE(samples.samples().size(), 64u);
  ASSERT_GE(samples.samples().size(), 32u);
  for (std::size_t i = 1; i < samples.samples().size(); ++i)
    EXPECT_EQ(samples.samples()[i].at - samples.samples()[i - 1].at, samples.interval()) << i;
  EXPECT_EQ(samples.samples().front().value, 0);
}

} // namespace
} // namespace slat::tool
