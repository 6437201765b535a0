#include "slat/report/text.hpp"

#include <gmock/gmock.h>
#include <limits>

namespace slat::reporting {
namespace {

TEST(ReportText, EscapedTextHasNoMarkup) {
  EXPECT_EQ(escaped(R"(<script src="a" x='b'>&amp;)"),
            "&lt;script src=&quot;a&quot; x=&#39;b&#39;&gt;&amp;amp;");
  EXPECT_EQ(escaped(std::string_view("a\0b\x1b[1m\tc\nd\x7f", 12)), "a b [1m c\nd ");
  EXPECT_EQ(escaped("µs · ✓"), "µs · ✓");
}

TEST(ReportText, JsonInAScriptCannotEndIt) {
  EXPECT_EQ(script_safe(R"({"a":"</script><!--"})"), R"({"a":"\u003c/script>\u003c!--"})");
}

TEST(ReportText, NumbersHaveThreeDigitsAndAPrefix) {
  EXPECT_EQ(short_number(0), "0");
  EXPECT_EQ(short_number(0.25), "0.25");
  EXPECT_EQ(short_number(7), "7");
  EXPECT_EQ(short_number(950), "950");
  EXPECT_EQ(short_number(999.7), "1k");
  EXPECT_EQ(short_number(1234), "1.23k");
  EXPECT_EQ(short_number(12'345), "12.3k");
  EXPECT_EQ(short_number(34e6), "34M");
  EXPECT_EQ(short_number(-1500), "-1.5k");
  EXPECT_EQ(short_number(0.0001), "1.0e-04");
  EXPECT_EQ(short_number(std::numeric_limits<double>::quiet_NaN()), "-");
  EXPECT_EQ(short_number(std::numeric_limits<double>::infinity()), "-");
}

TEST(ReportText, TimesAndBytesHaveTheirUnits) {
  EXPECT_EQ(short_time(850), "850 ns");
  EXPECT_EQ(short_time(6100), "6.1 µs");
  EXPECT_EQ(short_time(12e6), "12 ms");
  EXPECT_EQ(short_time(1.5e9), "1.5 s");
  EXPECT_EQ(short_bytes(0), "0");
  EXPECT_EQ(short_bytes(4096), "4 KiB");
  EXPECT_EQ(short_bytes(1.5 * 1073741824), "1.5 GiB");
}

TEST(ReportText, LargeNumbersAreGrouped) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1234567), "1\u202f234\u202f567");
  EXPECT_EQ(grouped_number(-3), "0");
  EXPECT_EQ(grouped_number(1e30), grouped(18'000'000'000'000'000'000u));
}

} // namespace
} // namespace slat::reporting
