// TranslationCache::read() and write(): the host's own copies, page by page through pins.
#include "mmu/translation_cache.hpp"

#include "support.hpp"

#include <cstring>

namespace slat::mmu {
namespace {

using testing::pattern_of;
using testing::World;

std::vector<std::byte> bytes_of(std::size_t count, int seed) {
  std::vector<std::byte> bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = std::byte((i * 7 + std::size_t(seed)) % 251);
  return bytes;
}

struct HostCopy : ::testing::Test {
  World world{8};
  testing::Translations cache{world.mm};
  std::uintptr_t at = world.map(0, 8);

  TranslationCache::Copied read_bytes(std::uintptr_t from, std::span<std::byte> into) {
    return cache->read(from, into);
  }

  TranslationCache::Copied write_bytes(std::uintptr_t to, std::span<const std::byte> bytes) {
    return cache->write(to, bytes);
  }

  static Errc code(const TranslationCache::Copied& copied) { return copied.result.error().code; }
};

TEST_F(HostCopy, what_is_written_is_read_across_pages) {
  const auto written = bytes_of(2 * page_size + 100, 3);
  const TranslationCache::Copied write = write_bytes(at + page_size - 50, written);
  EXPECT_TRUE(write.result);
  EXPECT_EQ(write.bytes, written.size());
  std::vector<std::byte> read(written.size());
  const TranslationCache::Copied got = read_bytes(at + page_size - 50, read);
  EXPECT_TRUE(got.result);
  EXPECT_EQ(got.bytes, read.size());
  EXPECT_EQ(read, written);
  EXPECT_EQ(std::memcmp(reinterpret_cast<void*>(at + page_size - 50), written.data(), 100), 0)
      << "the guest sees it";
  EXPECT_EQ(*world.backing->host_view(0), pattern_of(0)) << "filled before it was written";
}

TEST_F(HostCopy, pages_are_filled_but_not_installed) {
  std::byte byte{};
  ASSERT_TRUE(read_bytes(at + 2 * page_size, {&byte, 1}).result);
  EXPECT_EQ(byte, pattern_of(2));
  EXPECT_TRUE(world.mmu.calls().empty());
  const PageBits read = world.backing->word(2).read();
  EXPECT_TRUE(read.has(PageBits::accessed));
  EXPECT_FALSE(read.has(PageBits::dirty)) << "only read";
  ASSERT_TRUE(write_bytes(at + 3 * page_size, {&byte, 1}).result);
  EXPECT_TRUE(world.backing->word(3).read().has(PageBits::dirty));
  for (std::uint64_t page = 0; page < 8; ++page)
    EXPECT_FALSE(world.backing->word(page).read().owned());
}

TEST_F(HostCopy, copy_ends_before_the_first_page_that_cannot_be_had) {
  ASSERT_TRUE(world.mm.unmap(at + 2 * page_size, page_size));
  auto bytes = bytes_of(4 * page_size, 1);
  TranslationCache::Copied access = write_bytes(at + page_size / 2, bytes);
  EXPECT_EQ(code(access), Errc::not_mapped);
  EXPECT_EQ(access.bytes, 2 * page_size - page_size / 2);
  world.source->before = [](Backing&, PageRun run) {
    return run.first <= 5 && 5 < run.first + run.count ? FillResult::failed : FillResult::filled;
  };
  access = read_bytes(at + 4 * page_size, bytes);
  EXPECT_EQ(code(access), Errc::poisoned);
  EXPECT_EQ(access.bytes, page_size);
}

TEST_F(HostCopy, access_is_checked_against_the_vma) {
  World other(2);
  const testing::Translations others(other.mm);
  const std::uintptr_t read_only = other.map(0, 1, 0, vm_read);
  std::byte byte{};
  for (int i = 0; i < 2; ++i) { // looked up, and from the cache
    EXPECT_EQ(code(others->write(read_only, {&byte, 1})), Errc::access_denied);
    EXPECT_TRUE(others->read(read_only, {&byte, 1}).result);
    EXPECT_EQ(byte, pattern_of(0)) << "nothing was written";
    byte = {};
  }
}

TEST_F(HostCopy, nothing_to_copy_is_done) {
  EXPECT_TRUE(read_bytes(0, {}).result);
  EXPECT_EQ(write_bytes(0, {}).bytes, 0u);
}

TEST_F(HostCopy, I38_data_survives_zaps_and_only_zaps) {
  const auto written = bytes_of(page_size, 9);
  ASSERT_TRUE(write_bytes(at, written).result);
  ASSERT_TRUE(world.mm.advise(at, page_size, Advice::dontneed));
  std::vector<std::byte> read(page_size);
  ASSERT_TRUE(read_bytes(at, read).result);
  EXPECT_EQ(read, written);
  ASSERT_TRUE(world.mm.advise(at, page_size, Advice::remove));
  ASSERT_TRUE(read_bytes(at, read).result);
  EXPECT_EQ(read, std::vector<std::byte>(page_size, pattern_of(0)));
}

TEST_F(HostCopy, I39_copies_race_with_removal_and_never_see_half_of_it) {
  // A page reads as its pattern or as what was written last, never as the zeroes of a hole.
  std::atomic<bool> stop{false};
  std::thread remover([&] {
    while (!stop) EXPECT_TRUE(world.mm.advise(at, 2 * page_size, Advice::remove));
  });
  std::vector<std::byte> read(page_size);
  const std::vector<std::byte> ones(page_size, std::byte(1));
  for (int i = 0; i < 500; ++i) {
    ASSERT_TRUE(read_bytes(at, read).result);
    ASSERT_EQ(read, std::vector<std::byte>(page_size, read[0])) << "half of one, half of another";
    ASSERT_TRUE(read[0] == pattern_of(0) || read[0] == std::byte(1)) << int(read[0]);
    ASSERT_TRUE(write_bytes(at, ones).result);
  }
  stop = true;
  remover.join();
}

} // namespace
} // namespace slat::mmu
