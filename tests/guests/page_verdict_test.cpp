#include "guests/page_verdict.hpp"

#include <array>
#include <gtest/gtest.h>

namespace slat::guest {
namespace {

using Page = std::array<std::uint64_t, words_per_page>;

constexpr Pattern pattern(42);
constexpr std::uint32_t page_limit = 0x4000;
constexpr PageId id{0x1234, 7};
constexpr PageId older{0x1234, 6};
constexpr PageId newer{0x1234, 8};
constexpr PageId other{0x1235, 7};

Page make(PageId which) {
  Page page{};
  write_page(page.data(), pattern, which);
  return page;
}

PageVerdict judge(const Page& page) {
  return classify_page(page.data(), pattern, id, page_limit);
}

// `page` with [begin, end) as in `from`.
Page splice(Page page, const Page& from, std::size_t begin, std::size_t end) {
  for (std::size_t i = begin; i < end; ++i) page[i] = from[i];
  return page;
}

TEST(PageVerdict, SaysNothingOfAGoodPage) {
  const PageVerdict verdict = judge(make(id));
  EXPECT_EQ(verdict.kind, Kind::none);
  EXPECT_EQ(verdict.word, words_per_page);
}

TEST(PageVerdict, AWholePageOfZeroesIsZeroed) {
  const PageVerdict verdict = judge(Page{});
  EXPECT_EQ(verdict.kind, Kind::zeroed);
  EXPECT_EQ(verdict.word, 0u);
  EXPECT_EQ(verdict.expected, Pattern::tag(id));
  EXPECT_EQ(verdict.found, 0u);
}

TEST(PageVerdict, ZeroCacheLinesInAGoodPageAreZeroed) {
  for (std::size_t line = 0; line < words_per_page; line += 8) {
    EXPECT_EQ(judge(splice(make(id), Page{}, line, line + 8)).kind, Kind::zeroed) << line;
  }
}

TEST(PageVerdict, ASingleZeroWordIsCorrupt) {
  for (std::size_t i = 0; i < words_per_page; ++i) {
    EXPECT_EQ(judge(splice(make(id), Page{}, i, i + 1)).kind, Kind::corrupt) << i;
  }
}

TEST(PageVerdict, AWholeOlderGenerationIsStaleAndNamed) {
  for (std::uint32_t generation = 1; generation < id.generation; ++generation) {
    const PageVerdict verdict = judge(make({id.page, generation}));
    EXPECT_EQ(verdict.kind, Kind::stale);
    EXPECT_EQ(verdict.found_id, (PageId{id.page, generation}));
  }
}

TEST(PageVerdict, AnOldGenerationOfLongAgoIsStaleToo) {
  constexpr PageId late{id.page, 100'000};
  const Page page = make(older);
  EXPECT_EQ(classify_page(page.data(), pattern, late, page_limit).kind, Kind::stale);
}

TEST(PageVerdict, ASingleOlderWordAnywhereIsALostWrite) {
  for (std::size_t i = 0; i < words_per_page; ++i) {
    const PageVerdict verdict = judge(splice(make(id), make(older), i, i + 1));
    EXPECT_EQ(verdict.kind, Kind::lost) << i;
    EXPECT_EQ(verdict.word, i);
    EXPECT_EQ(verdict.found_id, older) << i;
    EXPECT_EQ(verdict.expected, pattern.word(id, i));
    EXPECT_EQ(verdict.found, pattern.word(older, i));
  }
}

TEST(PageVerdict, AnyPrefixOfAWriteIsALostWrite) {
  for (std::size_t written = 1; written < words_per_page; ++written) {
    EXPECT_EQ(judge(splice(make(older), make(id), 0, written)).kind, Kind::lost) << written;
  }
}

TEST(PageVerdict, TwoOlderGenerationsInOnePageAreALostWrite) {
  EXPECT_EQ(judge(splice(make(older), make({id.page, 2}), 100, 200)).kind, Kind::lost);
}

TEST(PageVerdict, APageNewerThanExpectedMeansThatTheExpectationLostAWrite) {
  EXPECT_EQ(judge(make(newer)).kind, Kind::lost);
  EXPECT_EQ(judge(make(newer)).found_id, newer);
}

TEST(PageVerdict, AnotherPageIsForeignInWholeAndInPart) {
  EXPECT_EQ(judge(make(other)).kind, Kind::foreign);
  EXPECT_EQ(judge(make(other)).found_id, other);
  const PageVerdict part = judge(splice(make(id), make(other), 64, 128));
  EXPECT_EQ(part.kind, Kind::foreign);
  EXPECT_EQ(part.word, 64u);
  EXPECT_EQ(part.found_id, other);
}

TEST(PageVerdict, AFlippedPatternBitIsCorruptInEveryWord) {
  for (std::size_t i = 1; i < words_per_page; ++i) {
    Page page = make(id);
    page[i] ^= std::uint64_t{1} << (i % 64);
    const PageVerdict verdict = judge(page);
    EXPECT_EQ(verdict.kind, Kind::corrupt) << i;
    EXPECT_EQ(verdict.word, i);
    EXPECT_EQ(verdict.found, page[i]);
    EXPECT_EQ(verdict.found_id, (PageId{0, 0}));
  }
}

TEST(PageVerdict, CorruptionOutranksWhatElseIsWrong) {
  Page page = splice(make(older), make(other), 8, 64);
  page[500] = 0x123456789abcdef;
  EXPECT_EQ(judge(page).kind, Kind::corrupt);
}

TEST(PageVerdict, APageOfAnotherSeedIsCorrupt) {
  Page page{};
  write_page(page.data(), Pattern(43), id);
  EXPECT_EQ(judge(page).kind, Kind::corrupt);
}

TEST(PageVerdict, WordsOfAPageThatCannotExistAreCorruptNotForeign) {
  EXPECT_EQ(judge(make({page_limit, 1})).kind, Kind::corrupt);
  EXPECT_EQ(judge(make({page_limit - 1, 1})).kind, Kind::foreign);
}

TEST(PageVerdict, ASingleWordIsJudgedByItself) {
  const auto judge_word = [](std::size_t i, std::uint64_t found) {
    return classify_single({i, found}, pattern, id, page_limit);
  };
  for (const std::size_t i : {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{511}}) {
    EXPECT_EQ(judge_word(i, 0).kind, Kind::zeroed);
    EXPECT_EQ(judge_word(i, pattern.word(older, i)).kind, Kind::stale);
    EXPECT_EQ(judge_word(i, pattern.word(id, i) ^ std::uint64_t{1} << 63).kind, Kind::corrupt);
    EXPECT_EQ(judge_word(i, 0).expected, pattern.word(id, i));
  }
  EXPECT_EQ(judge_word(0, Pattern::tag(other)).kind, Kind::foreign);
  EXPECT_EQ(judge_word(9, pattern.word(other, 9)).kind, Kind::foreign);
  EXPECT_EQ(judge_word(9, pattern.word(newer, 9)).kind, Kind::lost);
}

} // namespace
} // namespace slat::guest
