// Says what is wrong with a page that failed check_page: the slow path, run once per run.
#pragma once

#include "guests/abi.hpp"
#include "guests/page_pattern.hpp"

#include <cstddef>
#include <cstdint>

namespace slat::guest {

struct PageVerdict {
  Kind kind = Kind::none;
  std::size_t word = words_per_page; // the first wrong word, which expected and found are about
  std::uint64_t expected = 0;
  std::uint64_t found = 0;
  PageId found_id{0, 0}; // what the found word was written for, or zeroes
};

namespace verdict_detail {

enum class WordClass { current, other_generation, zero, foreign, garbage };

struct Word {
  WordClass cls;
  PageId id;
};

/// A random word decodes to a random page and generation; of 2^64, these bounds let pass some 2^46.
inline bool plausible(PageId id, std::uint32_t page_limit) {
  return id.page != 0 && id.page < page_limit && id.generation >= 1 && id.generation < 1u << 24;
}

inline PageId decode_any(const Pattern& pattern, PageId expected, PageId tag, std::size_t i,
                         std::uint64_t value) {
  if (i == 0) return Pattern::from_tag(value);
  if (i >= first_pattern_word) return pattern.decode(i, value);
  // A checksum cannot be decoded: try what the tag says, then this page's recent generations.
  if (value == pattern.checksum(tag)) return tag;
  for (std::uint32_t back = 0; back < 64 && back < expected.generation; ++back) {
    const PageId id{expected.page, expected.generation - back};
    if (value == pattern.checksum(id)) return id;
  }
  return {0, 0};
}

inline Word classify_word(const Pattern& pattern, PageId expected, PageId tag, std::size_t i,
                          std::uint64_t value, std::uint32_t page_limit) {
  if (value == pattern.word(expected, i)) return {WordClass::current, expected};
  if (value == 0) return {WordClass::zero, {0, 0}};
  const PageId id = decode_any(pattern, expected, tag, i, value);
  if (!plausible(id, page_limit)) return {WordClass::garbage, {0, 0}};
  return {id.page == expected.page ? WordClass::other_generation : WordClass::foreign, id};
}

} // namespace verdict_detail

/// What is wrong with `page`, a private copy of 512 words. `page_limit` is one past the highest
/// page number that may exist. Kind::none if nothing is.
inline PageVerdict classify_page(const std::uint64_t* page, const Pattern& pattern, PageId expected,
                                 std::uint32_t page_limit) {
  using verdict_detail::WordClass;
  PageVerdict verdict;
  std::size_t current = 0, zero = 0, foreign = 0, garbage = 0, zero_in_line = 0, zero_lines = 0;
  PageId other{0, 0}; // the other generation, and whether there is more than one
  bool several = false;
  const PageId tag = Pattern::from_tag(page[0]);
  for (std::size_t i = 0; i < words_per_page; ++i) {
    const auto [cls, id] =
        verdict_detail::classify_word(pattern, expected, tag, i, page[i], page_limit);
    if (i % 8 == 0) zero_in_line = 0;
    switch (cls) {
    case WordClass::current:
      ++current;
      break;
    case WordClass::zero:
      ++zero;
      if (++zero_in_line == 8) ++zero_lines;
      break;
    case WordClass::foreign:
      ++foreign;
      break;
    case WordClass::garbage:
      ++garbage;
      break;
    case WordClass::other_generation:
      several = several || (other.generation != 0 && !(other == id));
      other = id;
      break;
    }
    if (cls != WordClass::current && verdict.word == words_per_page) {
      verdict.word = i;
      verdict.expected = pattern.word(expected, i);
      verdict.found = page[i];
      verdict.found_id = id;
    }
  }
  if (current == words_per_page) return verdict;
  if (garbage != 0 || zero != zero_lines * 8) {
    verdict.kind = Kind::corrupt; // single zero words are nobody's zapped page
  } else if (foreign != 0) {
    verdict.kind = Kind::foreign;
  } else if (zero != 0) {
    verdict.kind = Kind::zeroed;
  } else if (current == 0 && !several && other.generation < expected.generation) {
    verdict.kind = Kind::stale;
  } else {
    verdict.kind = Kind::lost;
  }
  return verdict;
}

/// The same where the one wrong word is all the evidence: it was gone when the page was read again,
/// or only this word was looked at.
inline PageVerdict classify_single(const PageCheck& check, const Pattern& pattern, PageId expected,
                                   std::uint32_t page_limit) {
  using verdict_detail::WordClass;
  const auto [cls, id] = verdict_detail::classify_word(pattern, expected, expected, check.bad_word,
                                                       check.found, page_limit);
  Kind kind = Kind::corrupt;
  if (cls == WordClass::zero) kind = Kind::zeroed;
  if (cls == WordClass::foreign) kind = Kind::foreign;
  if (cls == WordClass::other_generation) {
    kind = id.generation < expected.generation ? Kind::stale : Kind::lost;
  }
  return {kind, check.bad_word, pattern.word(expected, check.bad_word), check.found, id};
}

} // namespace slat::guest
