#include "guests/page_pattern.hpp"

#include <array>
#include <gtest/gtest.h>
#include <set>

namespace slat::guest {
namespace {

using Page = std::array<std::uint64_t, words_per_page>;

constexpr Pattern pattern(42);
constexpr PageId id{0x12345, 7};

Page make(PageId which, const Pattern& p = pattern) {
  Page page{};
  write_page(page.data(), p, which);
  return page;
}

TEST(PagePattern, WritesEveryWordAsTheDefinitionSays) {
  const Page page = make(id);
  for (std::size_t i = 0; i < words_per_page; ++i) EXPECT_EQ(page[i], pattern.word(id, i)) << i;
}

TEST(PagePattern, AcceptsWhatItWrote) {
  for (const PageId which : {PageId{1, 1}, id, PageId{UINT32_MAX, UINT32_MAX}}) {
    EXPECT_TRUE(check_page(make(which).data(), pattern, which).good());
  }
}

TEST(PagePattern, FindsEverySingleWrongWordAndReportsItsValue) {
  Page page = make(id);
  for (std::size_t i = 0; i < words_per_page; ++i) {
    for (const unsigned bit : {0u, 31u, 63u}) {
      const std::uint64_t good = page[i];
      page[i] ^= std::uint64_t{1} << bit;
      const PageCheck check = check_page(page.data(), pattern, id);
      EXPECT_EQ(check.bad_word, i);
      EXPECT_EQ(check.found, page[i]) << i;
      page[i] = good;
    }
  }
  EXPECT_TRUE(check_page(page.data(), pattern, id).good());
}

TEST(PagePattern, ReportsTheFirstOfSeveralWrongWords) {
  Page page = make(id);
  page[21] = 1;
  page[18] = 2;
  page[400] = 3;
  EXPECT_EQ(check_page(page.data(), pattern, id).bad_word, 18u);
}

TEST(PagePattern, RefusesAnotherPageGenerationAndSeed) {
  const Page page = make(id);
  EXPECT_FALSE(check_page(page.data(), pattern, {id.page + 1, id.generation}).good());
  EXPECT_FALSE(check_page(page.data(), pattern, {id.page, id.generation + 1}).good());
  EXPECT_FALSE(check_page(make(id, Pattern(43)).data(), pattern, id).good());
}

TEST(PagePattern, EveryWordTellsWhichPageAndGenerationItIsOf) {
  for (const PageId which : {PageId{1, 1}, id, PageId{0xffffffff, 0xffffffff}}) {
    for (std::size_t i = first_pattern_word; i < words_per_page; ++i) {
      EXPECT_EQ(pattern.decode(i, pattern.word(which, i)), which) << i;
    }
  }
}

TEST(PagePattern, WordsOfAPageAndOfItsNeighboursAllDiffer) {
  std::set<std::uint64_t> seen;
  for (std::uint32_t page = 256; page < 260; ++page) {
    for (std::uint32_t generation = 1; generation < 5; ++generation) {
      for (const std::uint64_t word : make({page, generation})) {
        EXPECT_TRUE(seen.insert(word).second);
      }
    }
  }
}

TEST(PagePattern, ChecksumIsTheSumThatAReaderWithoutTheSeedCanForm) {
  const Page page = make(id);
  std::uint64_t sum = page[0];
  for (std::size_t i = first_pattern_word; i < words_per_page; ++i) sum += page[i];
  EXPECT_EQ(page[1], sum);
}

TEST(PagePattern, AdvancingGivesTheNextGeneration) {
  Page page = make(id);
  const PageId next{id.page, id.generation + 1};
  advance_page(page.data(), pattern, id, next);
  EXPECT_EQ(page, make(next));
}

TEST(PagePattern, AdvancingKeepsDamageVisibleInEveryWord) {
  const PageId next{id.page, id.generation + 1};
  for (std::size_t i = 0; i < words_per_page; ++i) {
    Page page = make(id);
    page[i] ^= 0x100;
    advance_page(page.data(), pattern, id, next);
    EXPECT_EQ(check_page(page.data(), pattern, next).bad_word, i);
  }
}

} // namespace
} // namespace slat::guest
