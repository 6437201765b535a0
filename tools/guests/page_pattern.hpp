// The content of a tested page, and what can be said of a page that is not as it should be.
// Pure functions, freestanding; the guest and the host's unit tests compile the same header.
//
//   word 0        tag: page number << 32 | generation, in the clear
//   word 1        checksum: tag + the sum of words 2..511, for readers that do not know the seed
//   words 2..511  key + i * step, where key = mix(seed key ^ tag)
//
// mix is a bijection, so each pattern word by itself tells which page and generation it was written
// for: a page that was assembled from pieces of several is taken apart word by word.
#pragma once

#include "guests/abi.hpp"

#include <cstddef>
#include <cstdint>

namespace slat::guest {

inline constexpr std::size_t words_per_page = page_size / sizeof(std::uint64_t);
inline constexpr std::size_t first_pattern_word = 2;

/// Which content: page number (GPA / 4096) and generation, from 1 up; 0 is no content.
struct PageId {
  std::uint32_t page;
  std::uint32_t generation;

  friend constexpr bool operator==(const PageId&, const PageId&) = default;
};

class Pattern {
 public:
  explicit constexpr Pattern(std::uint64_t seed) : seed_key_(mix(seed + step)) {}

  [[nodiscard]] static constexpr std::uint64_t tag(PageId id) {
    return std::uint64_t{id.page} << 32 | id.generation;
  }

  [[nodiscard]] static constexpr PageId from_tag(std::uint64_t tag) {
    return {static_cast<std::uint32_t>(tag >> 32), static_cast<std::uint32_t>(tag)};
  }

  [[nodiscard]] constexpr std::uint64_t key(PageId id) const { return mix(tag(id) ^ seed_key_); }

  /// Word `i` of the page; any i of 0..511.
  [[nodiscard]] constexpr std::uint64_t word(PageId id, std::size_t i) const {
    if (i == 0) return tag(id);
    if (i == 1) return checksum(id);
    return key(id) + i * step;
  }

  [[nodiscard]] constexpr std::uint64_t checksum(PageId id) const {
    constexpr std::uint64_t n = words_per_page - first_pattern_word;
    constexpr std::uint64_t index_sum = n * (first_pattern_word + words_per_page - 1) / 2;
    return tag(id) + n * key(id) + index_sum * step;
  }

  /// What pattern word `i` (from 2) was written for. Any value gives an answer; see plausible() in
  /// classify.
  [[nodiscard]] constexpr PageId decode(std::size_t i, std::uint64_t value) const {
    return from_tag(unmix(value - i * step) ^ seed_key_);
  }

  static constexpr std::uint64_t step = 0x9e3779b97f4a7c15; // odd: no two words of a page are equal

 private:
  static constexpr std::uint64_t m1 = 0xff51afd7ed558ccd,
                                 m2 = 0xc4ceb9fe1a85ec53; // odd: invertible

  static constexpr std::uint64_t inverse(std::uint64_t odd) {
    std::uint64_t x = odd; // right in 3 bits; each Newton step doubles them
    for (int i = 0; i < 5; ++i) x *= 2 - odd * x;
    return x;
  }

  static constexpr std::uint64_t mix(std::uint64_t x) {
    x = (x ^ (x >> 33)) * m1;
    x = (x ^ (x >> 33)) * m2;
    return x ^ (x >> 33);
  }

  static constexpr std::uint64_t unmix(std::uint64_t x) {
    x = (x ^ (x >> 33)) * inverse(m2); // a xor-shift by 33 of 64 is its own inverse
    x = (x ^ (x >> 33)) * inverse(m1);
    return x ^ (x >> 33);
  }

  std::uint64_t seed_key_;
};

/// Writes the whole page.
inline void write_page(std::uint64_t* page, const Pattern& pattern, PageId id) {
  store_relaxed(page[0], Pattern::tag(id));
  store_relaxed(page[1], pattern.checksum(id));
  std::uint64_t next = pattern.word(id, first_pattern_word);
  const auto put = [&](std::size_t i) {
    store_relaxed(page[i], next);
    next += Pattern::step;
  };
  for (std::size_t i = 2; i < 8; ++i) put(i);
  for (std::size_t i = 8; i < words_per_page; i += 8) {
    put(i), put(i + 1), put(i + 2), put(i + 3), put(i + 4), put(i + 5), put(i + 6), put(i + 7);
  }
}

/// The first wrong word, with the very value that the comparison loaded.
struct PageCheck {
  std::size_t bad_word = words_per_page; // words_per_page: none
  std::uint64_t found = 0;

  [[nodiscard]] constexpr bool good() const { return bad_word == words_per_page; }
};

/// Compares the whole page. Each word is loaded exactly once, so that a wrong value that is there
/// for a single load is reported and not read again.
inline PageCheck check_page(const std::uint64_t* page, const Pattern& pattern, PageId id) {
  std::uint64_t next = pattern.word(id, first_pattern_word);
  const auto difference = [&](std::size_t i) {
    const std::uint64_t d = load_relaxed(page[i]) ^ next;
    next += Pattern::step;
    return d;
  };
  for (std::size_t i = 0; i < 8; ++i) {
    const std::uint64_t expected = pattern.word(id, i), found = load_relaxed(page[i]);
    if (found != expected) return {i, found};
    if (i >= first_pattern_word) next += Pattern::step;
  }
  for (std::size_t i = 8; i < words_per_page; i += 8) {
    const std::uint64_t d0 = difference(i), d1 = difference(i + 1), d2 = difference(i + 2),
                        d3 = difference(i + 3), d4 = difference(i + 4), d5 = difference(i + 5),
                        d6 = difference(i + 6), d7 = difference(i + 7);
    if ((d0 | d1 | d2 | d3 | d4 | d5 | d6 | d7) != 0) [[unlikely]] {
      const std::uint64_t all[] = {d0, d1, d2, d3, d4, d5, d6, d7};
      for (std::size_t j = 0; j < 8; ++j) {
        if (all[j] != 0) return {i + j, all[j] ^ pattern.word(id, i + j)};
      }
    }
  }
  return {};
}

/// Turns the page from one generation into the next by reading and modifying every word: damage
/// that was there stays visible afterwards.
inline void advance_page(std::uint64_t* page, const Pattern& pattern, PageId from, PageId to) {
  const std::uint64_t delta = pattern.key(to) - pattern.key(from);
  const auto move = [&](std::size_t i, std::uint64_t by) {
    store_relaxed(page[i], load_relaxed(page[i]) + by);
  };
  move(0, Pattern::tag(to) - Pattern::tag(from));
  move(1, pattern.checksum(to) - pattern.checksum(from));
  for (std::size_t i = 2; i < 8; ++i) move(i, delta);
  for (std::size_t i = 8; i < words_per_page; i += 8) {
    for (std::size_t j = 0; j < 8; ++j) move(i + j, delta);
  }
}

} // namespace slat::guest
