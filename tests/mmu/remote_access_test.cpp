#include "mmu/fault.hpp"

#include "support.hpp"

#include <cstring>

namespace slat::mmu {
namespace {

using testing::eventually;
using testing::pattern_of;
using testing::World;

std::vector<std::byte> bytes_of(std::size_t count, int seed) {
  std::vector<std::byte> bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = std::byte((i * 7 + std::size_t(seed)) % 251);
  return bytes;
}

struct RemoteTest : ::testing::Test {
  World world{8};
  std::uintptr_t at = world.map(0, 8);
};

TEST_F(RemoteTest, what_is_written_is_read_across_pages) {
  const auto written = bytes_of(2 * page_size + 100, 3);
  const RemoteAccess write = write_remote(world.mm, at + page_size - 50, written);
  EXPECT_EQ(write.result, FaultResult::done);
  EXPECT_EQ(write.bytes, written.size());
  std::vector<std::byte> read(written.size());
  const RemoteAccess got = read_remote(world.mm, at + page_size - 50, read);
  EXPECT_EQ(got.result, FaultResult::done);
  EXPECT_EQ(got.bytes, read.size());
  EXPECT_EQ(read, written);
  EXPECT_EQ(std::memcmp(reinterpret_cast<void*>(at + page_size - 50), written.data(), 100), 0)
      << "the guest sees it";
  EXPECT_EQ(*world.backing->host_view(0), pattern_of(0)) << "filled before it was written";
}

TEST_F(RemoteTest, pages_are_filled_but_not_installed) {
  std::byte byte{};
  ASSERT_EQ(read_remote(world.mm, at + 2 * page_size, {&byte, 1}).result, FaultResult::done);
  EXPECT_EQ(byte, pattern_of(2));
  EXPECT_TRUE(world.mmu.calls().empty());
  const PageBits read = world.backing->word(2).read();
  EXPECT_TRUE(read.has(PageBits::accessed));
  EXPECT_FALSE(read.has(PageBits::dirty)) << "only read";
  ASSERT_EQ(write_remote(world.mm, at + 3 * page_size, {&byte, 1}).result, FaultResult::done);
  EXPECT_TRUE(world.backing->word(3).read().has(PageBits::dirty));
  for (std::uint64_t page = 0; page < 8; ++page)
    EXPECT_FALSE(world.backing->word(page).read().owned());
}

TEST_F(RemoteTest, copy_ends_before_the_first_page_that_cannot_be_had) {
  ASSERT_TRUE(world.mm.unmap(at + 2 * page_size, page_size));
  auto bytes = bytes_of(4 * page_size, 1);
  RemoteAccess access = write_remote(world.mm, at + page_size / 2, bytes);
  EXPECT_EQ(access.result, FaultResult::no_vma);
  EXPECT_EQ(access.bytes, 2 * page_size - page_size / 2);
  world.source->before = [](Backing&, PageRun run) {
    return run.first == 5 ? FillResult::failed : FillResult::filled;
  };
  access = read_remote(world.mm, at + 4 * page_size, bytes);
  EXPECT_EQ(access.result, FaultResult::poisoned);
  EXPECT_EQ(access.bytes, page_size);
}

TEST_F(RemoteTest, access_is_checked_against_the_vma) {
  World other(2);
  const std::uintptr_t read_only = other.map(0, 1, 0, vm_read);
  std::byte byte{};
  EXPECT_EQ(write_remote(other.mm, read_only, {&byte, 1}).result, FaultResult::denied);
  EXPECT_EQ(read_remote(other.mm, read_only, {&byte, 1}).result, FaultResult::done);
  EXPECT_EQ(byte, pattern_of(0)) << "nothing was written";
}

TEST_F(RemoteTest, nothing_to_copy_is_done) {
  EXPECT_EQ(read_remote(world.mm, 0, {}).result, FaultResult::done);
  EXPECT_EQ(write_remote(world.mm, 0, {}).bytes, 0u);
}

TEST_F(RemoteTest, I38_data_survives_zaps_and_only_zaps) {
  const auto written = bytes_of(page_size, 9);
  ASSERT_EQ(write_remote(world.mm, at, written).result, FaultResult::done);
  ASSERT_TRUE(world.mm.advise(at, page_size, Advice::dontneed));
  std::vector<std::byte> read(page_size);
  ASSERT_EQ(read_remote(world.mm, at, read).result, FaultResult::done);
  EXPECT_EQ(read, written);
  ASSERT_TRUE(world.mm.advise(at, page_size, Advice::remove));
  ASSERT_EQ(read_remote(world.mm, at, read).result, FaultResult::done);
  EXPECT_EQ(read, std::vector<std::byte>(page_size, pattern_of(0)));
}

TEST_F(RemoteTest, write_waits_for_whoever_locks_the_page) {
  std::byte byte{1};
  ASSERT_EQ(write_remote(world.mm, at, {&byte, 1}).result, FaultResult::done);
  PageWord& word = world.backing->word(0);
  word.lock();
  std::atomic<bool> done{false};
  std::thread writer([&] {
    const std::byte two{2};
    EXPECT_EQ(write_remote(world.mm, at, {&two, 1}).result, FaultResult::done);
    done = true;
  });
  EXPECT_TRUE(eventually([&] { return word.read().has(PageBits::waiters); }));
  EXPECT_FALSE(done);
  EXPECT_EQ(*world.backing->host_view(0), std::byte(1));
  word.unlock();
  writer.join();
  EXPECT_EQ(*world.backing->host_view(0), std::byte(2));
}

TEST_F(RemoteTest, I39_copies_race_with_removal_and_never_see_half_of_it) {
  // A page reads as its pattern or as what was written last, never as the zeroes of a hole.
  std::atomic<bool> stop{false};
  std::thread remover([&] {
    while (!stop) EXPECT_TRUE(world.mm.advise(at, 2 * page_size, Advice::remove));
  });
  std::vector<std::byte> read(page_size);
  const std::vector<std::byte> ones(page_size, std::byte(1));
  for (int i = 0; i < 500; ++i) {
    ASSERT_EQ(read_remote(world.mm, at, read).result, FaultResult::done);
    ASSERT_EQ(read, std::vector<std::byte>(page_size, read[0])) << "half of one, half of another";
    ASSERT_TRUE(read[0] == pattern_of(0) || read[0] == std::byte(1)) << int(read[0]);
    ASSERT_EQ(write_remote(world.mm, at, ones).result, FaultResult::done);
  }
  stop = true;
  remover.join();
}

} // namespace
} // namespace slat::mmu
