#include "guests/hello_options.hpp"
#include "guests/memstress_options.hpp"

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace slat::guest {
namespace {

std::string str(Text text) {
  return {text.data, text.size};
}

std::vector<std::string> words(Text line) {
  std::vector<std::string> out;
  for (Word word; next_word(line, word);) {
    out.push_back(str(word.name) + (word.has_value ? ":" + str(word.value) : ""));
  }
  return out;
}

TEST(CommandLine, SplitsAtAnyWhiteSpaceAndTheFirstEquals) {
  EXPECT_EQ(words(" a=1\tb  c=d=e\nf=\r "), (std::vector<std::string>{"a:1", "b", "c:d=e", "f:"}));
  EXPECT_TRUE(words("").empty());
  EXPECT_TRUE(words("   ").empty());
}

TEST(CommandLine, DoesNotReadPastTheEndOfItsText) {
  const std::string backing = "abc=12345";
  EXPECT_EQ(words({backing.data(), 6}), (std::vector<std::string>{"abc:12"}));
}

TEST(CommandLine, ReadsNumbersUpToTheirBound) {
  std::uint64_t value = 99;
  EXPECT_TRUE(parse_number("0", 0, value));
  EXPECT_EQ(value, 0u);
  EXPECT_TRUE(parse_number("18446744073709551615", UINT64_MAX, value));
  EXPECT_EQ(value, UINT64_MAX);
  EXPECT_TRUE(parse_number("0xFFFFffffFFFFffff", UINT64_MAX, value));
  EXPECT_EQ(value, UINT64_MAX);
  EXPECT_TRUE(parse_number("255", 255, value));
  EXPECT_TRUE(parse_number("0x1f", 255, value));
  EXPECT_EQ(value, 31u);
}

TEST(CommandLine, RefusesWhatIsNotANumberInRangeAndLeavesTheOutputAlone) {
  std::uint64_t value = 99;
  for (const char* text : {"", "x", "1x", "-1", "+1", " 1", "0x", "0xg", "256", "0x100",
                           "18446744073709551616", "99999999999999999999999"}) {
    EXPECT_FALSE(parse_number(text, 255, value)) << text;
  }
  EXPECT_FALSE(parse_number("18446744073709551616", UINT64_MAX, value));
  EXPECT_FALSE(parse_number("5", 4, value));
  EXPECT_EQ(value, 99u);
}

TEST(MemstressOptions, HaveDefaults) {
  MemstressOptions o;
  EXPECT_EQ(parse_memstress_options("", o).reason, nullptr);
  EXPECT_EQ(o.order, Order::mix);
  EXPECT_EQ(o.write_percent, 50u);
  EXPECT_EQ(o.shared_pages, 16u);
  EXPECT_EQ(o.seconds + o.passes + o.mib, 0u);
}

TEST(MemstressOptions, ReadEveryParameter) {
  MemstressOptions o;
  EXPECT_EQ(parse_memstress_options("mib=64 seconds=5 passes=7 order=stride write=30 stride=3 "
                                    "seed=0xabc shared=2 corrupt=stale discard quiet",
                                    o)
                .reason,
            nullptr);
  EXPECT_EQ(o.mib, 64u);
  EXPECT_EQ(o.seconds, 5u);
  EXPECT_EQ(o.passes, 7u);
  EXPECT_EQ(o.order, Order::stride);
  EXPECT_EQ(o.write_percent, 30u);
  EXPECT_EQ(o.stride, 3u);
  EXPECT_EQ(o.seed, 0xabcu);
  EXPECT_EQ(o.shared_pages, 2u);
  EXPECT_EQ(o.corrupt, Kind::stale);
  EXPECT_TRUE(o.discard);
  EXPECT_TRUE(o.quiet);
  EXPECT_FALSE(o.touch);
}

TEST(MemstressOptions, TouchModeGoesInSequenceUnlessTold) {
  MemstressOptions seq, random;
  EXPECT_EQ(parse_memstress_options("mode=touch", seq).reason, nullptr);
  EXPECT_TRUE(seq.touch);
  EXPECT_FALSE(seq.overlap);
  EXPECT_EQ(seq.order, Order::seq);
  EXPECT_EQ(parse_memstress_options("order=random mode=touch", random).reason, nullptr);
  EXPECT_EQ(random.order, Order::random);
}

TEST(MemstressOptions, OverlapIsForTouchMode) {
  MemstressOptions o;
  EXPECT_EQ(parse_memstress_options("overlap mode=touch", o).reason, nullptr);
  EXPECT_TRUE(o.overlap);
}

TEST(MemstressOptions, CorruptOneMeansAFlippedBit) {
  MemstressOptions one, none;
  EXPECT_EQ(parse_memstress_options("corrupt=1", one).reason, nullptr);
  EXPECT_EQ(one.corrupt, Kind::corrupt);
  EXPECT_EQ(parse_memstress_options("corrupt=1 corrupt=0", none).reason, nullptr);
  EXPECT_EQ(none.corrupt, Kind::none);
}

TEST(MemstressOptions, RefuseBadWordsAndNameThem) {
  for (const char* text :
       {"foo", "foo=1", "mib", "mib=", "mib=0", "seconds=0", "passes=x", "write=101", "write=-1",
        "order=up", "stride=0", "seed=1z", "shared=65537", "corrupt=2", "mode=fast", "quiet=1",
        "discard=1", "overlap=1", "Mib=3"}) {
    MemstressOptions o;
    const std::string line = std::string("seed=3 ") + text + " passes=1";
    const OptionError error = parse_memstress_options(line.c_str(), o);
    ASSERT_NE(error.reason, nullptr) << text;
    EXPECT_EQ(str(error.word), text);
  }
}

TEST(MemstressOptions, RefuseCombinationsThatCannotWork) {
  for (const char* text :
       {"corrupt=counter shared=0", "corrupt=stale mode=touch", "mode=touch corrupt=counter",
        "mode=touch discard", "overlap", "overlap mode=touch corrupt=1"}) {
    MemstressOptions o;
    EXPECT_NE(parse_memstress_options(text, o).reason, nullptr) << text;
  }
  MemstressOptions o;
  EXPECT_EQ(parse_memstress_options("corrupt=1 mode=touch", o).reason, nullptr);
}

TEST(HelloOptions, AreReadAndUnknownWordsLeftAlone) {
  HelloOptions o;
  EXPECT_EQ(parse_hello_options("console=ttyS0 exit=255 what", o).reason, nullptr);
  EXPECT_EQ(o.exit_code, 255u);
  EXPECT_EQ(o.crash, Fault::none);
  EXPECT_FALSE(o.spin);
  EXPECT_EQ(parse_hello_options("spin trap=pf crash=triple", o).reason, nullptr);
  EXPECT_TRUE(o.spin);
  EXPECT_EQ(o.trap, Fault::pf);
  EXPECT_EQ(o.crash, Fault::triple);
}

TEST(HelloOptions, RefuseValuesThatAKnownWordCannotTake) {
  for (const char* text : {"exit=256", "exit=", "exit", "crash=x", "crash", "trap=triple"}) {
    HelloOptions o;
    EXPECT_NE(parse_hello_options(text, o).reason, nullptr) << text;
  }
}

} // namespace
} // namespace slat::guest
