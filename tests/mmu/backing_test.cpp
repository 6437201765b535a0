#include "mmu/backing.hpp"

#include "mmu/zero_source.hpp"
#include "support.hpp"

#include <gmock/gmock.h>

namespace slat::mmu {
namespace {

using testing::FakeSource;
using ::testing::HasSubstr;
using testing::Latch;
using testing::stays;
using testing::World;

TEST(Backing, is_born_empty) {
  World world(8);
  EXPECT_EQ(world.backing->pages(), 8u);
  EXPECT_EQ(testing::allocated_pages(*world.backing), 0u);
  for (std::uint64_t page = 0; page < 8; ++page)
    EXPECT_EQ(world.backing->word(page).read().raw(), 0u);
}

TEST(Backing, size_must_be_a_positive_multiple_of_the_page_size) {
  for (const std::uint64_t bytes : {std::uint64_t(0), std::uint64_t(1), page_size + 1}) {
    std::atomic<int> released{0};
    const auto created =
        Backing::create("odd", bytes, std::make_unique<FakeSource>(false, &released));
    ASSERT_FALSE(created);
    EXPECT_EQ(created.error().code, Errc::invalid_argument);
    EXPECT_THAT(created.error().message, HasSubstr("odd"));
    EXPECT_EQ(released.load(), 1) << "the source is not lost";
  }
}

TEST(Backing, creation_that_fails_halfway_leaks_nothing) {
  const std::size_t descriptors = testing::open_descriptor_count();
  const std::size_t mappings = testing::host_mapping_count();
  unsigned n = 1;
  for (;; ++n) {
    std::atomic<int> released{0};
    host::fail_call(n, ENOMEM);
    const auto created =
        Backing::create("half", page_size, std::make_unique<FakeSource>(false, &released));
    host::fail_call(0, 0);
    if (created) {
      (*created)->put();
      EXPECT_EQ(released.load(), 1);
      break;
    }
    EXPECT_EQ(created.error().code, Errc::no_memory);
    EXPECT_EQ(released.load(), 1);
    EXPECT_EQ(testing::open_descriptor_count(), descriptors) << n;
    EXPECT_EQ(testing::host_mapping_count(), mappings) << n;
  }
  EXPECT_EQ(n, 4u) << "memfd_create, ftruncate, mmap";
  EXPECT_EQ(testing::open_descriptor_count(), descriptors);
  EXPECT_EQ(testing::host_mapping_count(), mappings);
}

TEST(Backing, I16_last_reference_releases_it_and_only_the_last) {
  World world;
  world.backing->get();
  world.backing->put();
  EXPECT_EQ(world.released.load(), 0);
  world.backing.reset();
  EXPECT_EQ(world.released.load(), 1);
}

TEST(Backing, I16_is_released_once_and_after_the_last_fault) {
  Srcu faults;
  World world;
  Latch inside;
  Latch leave;
  Backing* const backing = world.backing.release();
  std::thread fault([&] {
    const Srcu::ReadGuard section(faults);
    inside.open();
    leave.wait();
    EXPECT_EQ(backing->word(0).read().raw(), 0u);
    EXPECT_EQ(world.released.load(), 0);
  });
  inside.wait();
  backing->get();
  backing->put_after(faults);
  backing->put_after(faults);
  EXPECT_TRUE(stays([&] { return world.released.load() == 0; }));
  leave.open();
  fault.join();
  faults.barrier();
  EXPECT_EQ(world.released.load(), 1);
}

TEST(Backing, zero_source_allocates_zeroed_pages) {
  auto created = Backing::create("zero", 4 * page_size, std::make_unique<ZeroSource>());
  ASSERT_TRUE(created);
  const BackingRef backing(*created);
  EXPECT_FALSE(backing->source().may_sleep());
  EXPECT_EQ(backing->source().fill(*backing, {1, 2}), FillResult::filled);
  EXPECT_EQ(testing::allocated_pages(*backing), 2u);
  EXPECT_EQ(testing::byte_at(*backing, 1), std::byte(0));
  host::fail_call(1, ENOMEM);
  EXPECT_EQ(backing->source().fill(*backing, {0, 1}), FillResult::no_memory);
  EXPECT_EQ(testing::allocated_pages(*backing), 2u);
}

TEST(Backing, zero_source_poisons_nothing_where_the_host_cannot_populate) {
  auto created = Backing::create("zero", 4 * page_size, std::make_unique<ZeroSource>());
  ASSERT_TRUE(created);
  const BackingRef backing(*created);
  std::uint64_t pages = 0;
  for (const int error : {EINVAL, EFAULT}) {
    host::fail_call(1, error);
    EXPECT_EQ(backing->source().fill(*backing, {pages, 1}), FillResult::filled);
    EXPECT_EQ(testing::allocated_pages(*backing), ++pages);
  }
}

TEST(BackingDeathTest, page_beyond_the_end) {
  if (!testing::checked_build) GTEST_SKIP() << "asserted in checked builds only";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  World world(2);
  EXPECT_DEATH((void)world.backing->word(2), "beyond the backing");
}

} // namespace
} // namespace slat::mmu
