#include "mmu/shared_copy.hpp"

#include "support.hpp"

#include <algorithm>
#include <array>
#include <random>

namespace slat::mmu {
namespace {

TEST(SharedCopy, every_alignment_and_length_copies_these_bytes_and_no_others) {
  alignas(8) std::array<std::byte, 64> shared{};
  std::array<std::byte, 64> mine{};
  std::mt19937 random(1);
  for (std::size_t start = 0; start < 16; ++start)
    for (std::size_t length = 0; length <= 40; ++length) {
      for (auto& byte : shared) byte = std::byte(random());
      mine.fill(std::byte{0});
      copy_from_shared(std::span(mine).first(length), shared.data() + start);
      EXPECT_TRUE(std::equal(mine.begin(), mine.begin() + std::ptrdiff_t(length),
                             shared.begin() + std::ptrdiff_t(start)));
      EXPECT_EQ(mine[length], std::byte{0});

      auto expected = shared;
      for (auto& byte : mine) byte = std::byte(random());
      std::copy_n(mine.begin(), length, expected.begin() + std::ptrdiff_t(start));
      copy_to_shared(shared.data() + start, std::span(mine).first(length));
      EXPECT_EQ(shared, expected) << start << ' ' << length;
    }
}

// Under TSan a plain copy is a data race.
TEST(SharedCopy, words_are_never_torn) {
  alignas(8) std::array<std::byte, 32> shared{};
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    std::array<std::byte, 24> words{};
    for (unsigned value = 0; !stop; ++value) {
      words.fill(std::byte(value));
      copy_to_shared(shared.data(), words);
    }
  });
  for (int i = 0; i < 20000; ++i) {
    std::array<std::byte, 24> words{};
    copy_from_shared(words, shared.data());
    for (std::size_t at = 0; at < words.size(); at += 8)
      ASSERT_TRUE(std::all_of(words.begin() + std::ptrdiff_t(at),
                              words.begin() + std::ptrdiff_t(at + 8),
                              [&](std::byte byte) { return byte == words[at]; }));
  }
  stop = true;
  writer.join();
}

} // namespace
} // namespace slat::mmu
