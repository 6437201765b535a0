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
TEST(SharedCopy, aligned_values_of_every_size_are_never_torn) {
  for (const std::size_t size : {2u, 4u, 8u}) {
    alignas(8) std::array<std::byte, 32> shared{};
    std::byte* const at = shared.data() + (8 - size); // aligned for this size, and for none above
    const std::size_t length = 2 * size;
    std::atomic<bool> stop{false};
    std::thread writer([&] {
      std::array<std::byte, 16> values{};
      for (unsigned value = 0; !stop; ++value) {
        values.fill(std::byte(value));
        copy_to_shared(at, std::span(values).first(length));
      }
    });
    bool torn = false;
    for (int i = 0; i < 20000; ++i) {
      std::array<std::byte, 16> values{};
      copy_from_shared(std::span(values).first(length), at);
      for (std::size_t j = 0; j < length; ++j) torn |= values[j] != values[j / size * size];
    }
    stop = true;
    writer.join();
    EXPECT_FALSE(torn) << size;
  }
}

} // namespace
} // namespace slat::mmu
