// GuestRam without a guest: what is written is read, and nothing else is touched.
#include "vmm/guest_ram.hpp"

#include "vmm/layout.hpp"

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>
#include <random>
#include <thread>
#include <vector>

namespace slat::vmm {
namespace {

class GuestRamTest : public testing::Test {
 protected:
  GuestRam& ram(std::uint64_t size, std::uint64_t region_bytes = 0) {
    auto made = GuestRam::create(size, {}, counters_, region_bytes);
    EXPECT_TRUE(made) << (made ? "" : made.error().message);
    ram_ = std::move(made.value());
    return *ram_;
  }

  mmu::Counters counters_;
  std::unique_ptr<GuestRam> ram_;
};

std::vector<std::byte> random_bytes(std::mt19937_64& random, std::size_t count) {
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = std::byte(random());
  return bytes;
}

TEST_F(GuestRamTest, FreshMemoryIsZeroAndSparse) {
  GuestRam& memory = ram(64 * gib);
  std::vector<std::byte> found(8192, std::byte{0xff});
  ASSERT_TRUE(memory.read(63 * gib + 123, found));
  EXPECT_EQ(std::count(found.begin(), found.end(), std::byte{0}), 8192);
  EXPECT_LE(counters_.sum(mmu::Counter::filled_pages), 3u);
}

TEST_F(GuestRamTest, RandomWritesAreReadBackAndTouchNothingElse) {
  constexpr std::uint64_t size = 4 * mib;
  GuestRam& memory = ram(size);
  std::vector<std::byte> model(size, std::byte{0});
  std::mt19937_64 random(5);
  for (int i = 0; i < 400; ++i) {
    const std::size_t count = random() % 20'000;
    const Gpa address = random() % (size - count);
    const auto bytes = random_bytes(random, count);
    ASSERT_TRUE(memory.write(address, bytes));
    std::copy(bytes.begin(), bytes.end(), model.begin() + std::ptrdiff_t(address));
    // Taken out of the guest view, it must stay; what is read comes by the host view.
    if (i % 16 == 0) {
      ASSERT_TRUE(
          memory.mm().advise(memory.regions().front().guest_view, size, mmu::Advice::dontneed));
    }
  }
  std::vector<std::byte> found(size);
  ASSERT_TRUE(memory.read(0, found));
  EXPECT_TRUE(found == model);
}

TEST_F(GuestRamTest, BothSidesOfTheDeviceHoleAreRamAndTheHoleIsNot) {
  GuestRam& memory = ram(4 * gib); // [0, 3 GiB) and [4 GiB, 5 GiB)
  ASSERT_EQ(memory.regions().size(), 2u);
  const std::uint64_t low = 0x1122334455667788;
  const std::uint64_t high = 0x99aabbccddeeff00;
  const auto bytes = [](const std::uint64_t& word) { return std::as_bytes(std::span(&word, 1)); };
  ASSERT_TRUE(memory.write(3 * gib - 8, bytes(low)));
  ASSERT_TRUE(memory.write(4 * gib, bytes(high)));
  std::uint64_t found = 0;
  ASSERT_TRUE(memory.read(3 * gib - 8, std::as_writable_bytes(std::span(&found, 1))));
  EXPECT_EQ(found, low);
  ASSERT_TRUE(memory.read(4 * gib, std::as_writable_bytes(std::span(&found, 1))));
  EXPECT_EQ(found, high);
  ASSERT_TRUE(memory.write(5 * gib - 8, bytes(low))) << "the last word";

  for (const Gpa outside : {3 * gib - 7, 3 * gib, 3 * gib + 4096, 4 * gib - 8, 4 * gib - 1,
                            5 * gib - 7, 5 * gib, Gpa(UINT64_MAX), Gpa(UINT64_MAX - 7)}) {
    std::uint64_t untouched = 42;
    const auto read = memory.read(outside, std::as_writable_bytes(std::span(&untouched, 1)));
    ASSERT_FALSE(read) << std::hex << outside;
    EXPECT_EQ(read.error().code, Errc::out_of_guest_memory);
    EXPECT_EQ(untouched, 42u) << "nothing is copied";
    EXPECT_FALSE(memory.write(outside, bytes(high))) << std::hex << outside;
    EXPECT_EQ(memory.guest_view_of(outside).has_value(),
              outside == 3 * gib - 7 || outside == 5 * gib - 7);
  }
  ASSERT_TRUE(memory.read(3 * gib - 8, std::as_writable_bytes(std::span(&found, 1))));
  EXPECT_EQ(found, low) << "a refused write wrote nothing, not even the part that is RAM";
}

TEST_F(GuestRamTest, AllOfASmallRamInOneCall) {
  GuestRam& memory = ram(min_ram_size);
  std::mt19937_64 random(9);
  const auto bytes = random_bytes(random, min_ram_size);
  ASSERT_TRUE(memory.write(0, bytes));
  std::vector<std::byte> found(min_ram_size);
  ASSERT_TRUE(memory.read(0, found));
  EXPECT_TRUE(found == bytes);
  EXPECT_FALSE(memory.write(1, bytes));
  EXPECT_TRUE(memory.read(0, {})) << "nothing is always there";
}

TEST_F(GuestRamTest, ViewsAreAlignedForHugePages) {
  for (const GuestRam::Region& region : ram(5 * gib).regions())
    EXPECT_EQ(region.guest_view % (2 * mib), 0u);
}

TEST_F(GuestRamTest, WritersOfDifferentWordsAndARemoverOfOtherPagesDoNotDisturbEachOther) {
  GuestRam& memory = ram(8 * mib);
  const std::uintptr_t view = memory.regions().front().guest_view;
  std::atomic<bool> done{false};
  std::thread remover([&] {
    while (!done.load(std::memory_order_relaxed)) // only a wish
      EXPECT_TRUE(memory.mm().advise(view + 4 * mib, 4 * mib, mmu::Advice::remove));
  });
  std::vector<std::thread> writers;
  for (unsigned who = 0; who < 3; ++who)
    writers.emplace_back([&memory, who] {
      for (std::uint64_t i = 0; i < 2000; ++i) {
        const Gpa address = (i % 1024) * 4096 + who * 8;
        const std::uint64_t value = i << 8 | who;
        std::uint64_t found = 0;
        EXPECT_TRUE(memory.write(address, std::as_bytes(std::span(&value, 1))));
        EXPECT_TRUE(memory.read(address, std::as_writable_bytes(std::span(&found, 1))));
        EXPECT_EQ(found, value);
        EXPECT_TRUE(memory.write(address + 4 * mib, std::as_bytes(std::span(&value, 1))));
      }
    });
  for (std::thread& writer : writers) writer.join();
  done.store(true, std::memory_order_relaxed); // see above
  remover.join();
}

TEST_F(GuestRamTest, RegionsAreNoLargerThanAskedFor) {
  GuestRam& memory = ram(9 * mib, 4 * mib);
  ASSERT_EQ(memory.regions().size(), 3u);
  EXPECT_EQ(memory.regions()[2].gpa.start, 8 * mib);
  EXPECT_EQ(memory.regions()[2].gpa.size, mib);
  std::vector<std::byte> bytes(mib, std::byte{0x5a});
  std::vector<std::byte> found(mib);
  ASSERT_TRUE(memory.write(4 * mib - 4096, bytes)) << "across two of them";
  ASSERT_TRUE(memory.read(4 * mib - 4096, found));
  EXPECT_EQ(bytes, found);
}

TEST_F(GuestRamTest, I38_HostAccessesFindARegionWhereverItsViewHasGone) {
  GuestRam& memory = ram(8 * mib, 2 * mib);
  std::atomic<bool> done{false};
  std::vector<std::thread> writers;
  for (unsigned who = 0; who < 2; ++who)
    writers.emplace_back([&, who] {
      std::uint64_t expected[4] = {};
      for (std::uint64_t i = 1; !done.load(std::memory_order_relaxed); ++i) { // only a wish
        const unsigned region = unsigned(i % 4);
        const Gpa address = region * 2 * mib + who * 8;
        std::uint64_t found = 0;
        EXPECT_TRUE(memory.read(address, std::as_writable_bytes(std::span(&found, 1))));
        EXPECT_EQ(found, expected[region]) << "of another region, or lost";
        expected[region] = i << 8 | region << 1 | who;
        EXPECT_TRUE(memory.write(address, std::as_bytes(std::span(&expected[region], 1))));
      }
    });
  for (unsigned i = 0; i < 400; ++i) {
    const std::uintptr_t before = memory.regions()[i % 4].guest_view;
    ASSERT_TRUE(memory.move_view(i % 4));
    EXPECT_NE(memory.regions()[i % 4].guest_view, before);
    EXPECT_EQ(memory.regions()[i % 4].guest_view % (2 * mib), 0u);
  }
  done.store(true, std::memory_order_relaxed); // see above
  for (std::thread& writer : writers) writer.join();
}

TEST_F(GuestRamTest, WriteWaitsForTheRightToWriteThatIsGivenBack) {
  GuestRam& memory = ram(8 * mib);
  const std::uint64_t value = 7;
  const auto bytes = std::as_bytes(std::span(&value, 1));
  ASSERT_TRUE(memory.set_read_only({mib, mib}, true));
  std::atomic<bool> written{false};
  std::thread writer([&] {
    EXPECT_TRUE(memory.write(mib, bytes));
    written = true;
  });
  std::uint64_t found = 1;
  EXPECT_TRUE(memory.read(mib, std::as_writable_bytes(std::span(&found, 1)))) << "reads go on";
  EXPECT_EQ(found, 0u);
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_FALSE(written);
  ASSERT_TRUE(memory.set_read_only({mib, mib}, false));
  writer.join();

  ASSERT_TRUE(memory.mm().protect(memory.regions().front().guest_view, mib, mmu::vm_read));
  const auto refused = memory.write(0, bytes);
  ASSERT_FALSE(refused) << "nobody has promised to give that back";
  EXPECT_EQ(refused.error().code, Errc::read_only);
}

TEST_F(GuestRamTest, AnUnmappedPartIsAnErrorThatNamesTheAddress) {
  GuestRam& memory = ram(8 * mib);
  ASSERT_TRUE(memory.mm().unmap(memory.regions().front().guest_view + 4 * mib, mib));
  std::vector<std::byte> bytes(8192);
  const auto read = memory.read(4 * mib - 4096, bytes);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Errc::host_failed);
  EXPECT_NE(read.error().message.find("0x400000"), std::string::npos) << read.error().message;
  EXPECT_TRUE(memory.read(5 * mib, bytes));
}

} // namespace
} // namespace slat::vmm
