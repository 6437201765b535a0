// All or nothing: every system call and every allocation of every operation fails once, and after each
// failure the VMAs, the host mappings, the page words and the data are what they were.
#include "mmu/address_space.hpp"

#include "mmu/alloc.hpp"
#include "support.hpp"

namespace slat::mmu {
namespace {

using testing::World;

struct State {
  std::vector<std::tuple<std::uintptr_t, std::uintptr_t, std::uint64_t, std::uint32_t>> vmas;
  std::map<std::uintptr_t, testing::HostPage> host;
  std::vector<std::uint64_t> words; // without the `installed` hint, which may be dropped
  std::vector<std::byte> data;
  std::uint64_t allocated = 0;
  std::size_t live_vmas = 0;
  int ranges = 0;
  bool operator==(const State&) const = default;
};

struct FailureTest : ::testing::Test {
  static constexpr std::uint64_t pages = 24;
  World world{pages};
  std::uintptr_t base = testing::free_addresses(pages);
  std::vector<Vma*> drained;

  // Three VMAs, [0,6) [6,12) [14,20), every page faulted in.
  void SetUp() override {
    world.map(0, 6, base);
    world.map(8, 6, at(6));
    world.map(14, 6, at(14));
    for (const std::uint64_t page : {0u, 1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 11u, 14u, 17u, 19u})
      ASSERT_EQ(world.fault(at(page)).result, FaultResult::done);
  }

  void TearDown() override {
    for (Vma* vma : drained) world.cache.put(vma);
  }

  [[nodiscard]] std::uintptr_t at(std::uint64_t page) const { return base + (page << page_shift); }

  /// Takes all free VMAs, so that the next one needs a slab.
  void drain_cache() {
    for (const std::size_t slabs = world.cache.usage().slabs;;) {
      fail_allocation(1);
      Vma* const vma = world.cache.get();
      fail_allocation(0);
      if (vma == nullptr) break;
      EXPECT_EQ(world.cache.usage().slabs, slabs);
      drained.push_back(vma);
    }
  }

  State state() {
    State now;
    for (const auto& vma : world.mm.vmas())
      now.vmas.emplace_back(vma.start, vma.end, vma.pgoff, vma.flags);
    now.host = testing::host_pages(world.name, *world.backing);
    for (std::uint64_t page = 0; page < pages; ++page) {
      now.words.push_back(world.backing->word(page).read().raw() & ~PageBits::installed);
      now.data.push_back(testing::byte_at(*world.backing, page));
    }
    now.allocated = testing::allocated_pages(*world.backing);
    now.live_vmas = world.cache.usage().live;
    now.ranges = int(world.mm.notifiers().sequence().count());
    return now;
  }

  /// Every address still faults as it did, so no lock was left behind either.
  void expect_alive() {
    for (const auto& vma : world.mm.vmas())
      for (std::uintptr_t address = vma.start; address < vma.end; address += page_size)
        if (world.backing->word(vma.pgoff + ((address - vma.start) >> page_shift)).read().state() ==
            PageState::present) {
          EXPECT_EQ(world.fault(address).result, FaultResult::done);
        }
  }

  /// Fails the first, second ... call until the operation succeeds; returns how many there are.
  template <class Operation>
  unsigned sweep(const std::function<void(unsigned)>& arm, Operation operation) {
    const State before = state();
    for (unsigned n = 1; n < 100; ++n) {
      arm(n);
      const auto result = operation();
      arm(0);
      if (result) return n - 1;
      const State after = state();
      EXPECT_TRUE(after == before) << "failure of call " << n << ": " << testing::why(result);
      EXPECT_EQ(after.vmas, before.vmas);
      EXPECT_EQ(after.host, before.host);
      EXPECT_EQ(after.words, before.words);
      expect_alive();
    }
    ADD_FAILURE() << "it never succeeds";
    return 0;
  }

  static void fail_call(unsigned n) { host::fail_call(n, ENOMEM); }
};

TEST_F(FailureTest, map_is_all_or_nothing) {
  for (const std::size_t alignment : {page_size, std::size_t(1) << 21}) {
    const auto map = [&] {
      return world.mm.map({.length = 2 * page_size,
                           .backing = world.backing.get(),
                           .pgoff = alignment == page_size ? 20u : 22u,
                           .alignment = alignment});
    };
    drain_cache();
    // First the allocations, with a host that works; what succeeds is unmapped again.
    const auto map_and_unmap = [&] {
      auto where = map();
      if (where) {
        EXPECT_TRUE(world.mm.unmap(*where, 2 * page_size));
      }
      return where;
    };
    EXPECT_EQ(sweep(fail_allocation, map_and_unmap), 2u) << "a slab and a map";
    EXPECT_EQ(sweep(fail_call, map), 1u) << "one mmap";
  }
}

TEST_F(FailureTest, map_at_a_fixed_address_is_all_or_nothing) {
  drain_cache();
  const auto map = [&] {
    return world.mm.map(
        {.address = at(12), .length = 2 * page_size, .backing = world.backing.get(), .pgoff = 20});
  };
  const auto unmap_after = [&](auto result) {
    if (result) {
      EXPECT_TRUE(world.mm.unmap(at(12), 2 * page_size));
    }
    return result;
  };
  EXPECT_EQ(sweep(fail_allocation, [&] { return unmap_after(map()); }), 2u);
  EXPECT_EQ(sweep(fail_call, map), 1u);
}

TEST_F(FailureTest, unmap_fails_for_want_of_memory_before_anything_is_changed) {
  drain_cache();
  // A hole in the middle: one more VMA than before, whatever is reused.
  EXPECT_EQ(sweep(fail_allocation, [&] { return world.mm.unmap(at(2), 2 * page_size); }), 2u)
      << "a slab and a map";
  EXPECT_EQ(world.mm.vmas().size(), 4u);
  expect_alive();
}

TEST_F(FailureTest, unmap_that_the_host_refuses_is_undone_piece_by_piece) {
  const State before = state();
  // Pieces of three VMAs: the second and third refusal come after others have gone.
  for (unsigned n = 1; n <= 3; ++n) {
    host::fail_call(n, ENOMEM);
    const auto refused = world.mm.unmap(at(3), 13 * page_size);
    host::fail_call(0, 0);
    ASSERT_FALSE(refused) << n;
    EXPECT_EQ(refused.error().code, Errc::no_memory);
    EXPECT_TRUE(state() == before) << n;
    expect_alive();
  }
  ASSERT_TRUE(world.mm.unmap(at(3), 13 * page_size));
  EXPECT_EQ(world.mm.vmas().size(), 2u);
  expect_alive();
}

TEST_F(FailureTest, unmap_whose_memory_the_host_will_not_take_back_is_unmapped_all_the_same) {
  const State before = state();
  host::fail_call(4, EIO); // three munmaps, then the first of three punches
  const auto partly = world.mm.unmap(at(3), 13 * page_size);
  host::fail_call(0, 0);
  ASSERT_FALSE(partly);
  EXPECT_EQ(partly.error().os_error, EIO);
  EXPECT_EQ(world.mm.vmas().size(), 2u);
  EXPECT_EQ(world.fault(at(4)).result, FaultResult::no_vma);
  EXPECT_EQ(world.fault(at(7)).result, FaultResult::no_vma);
  // I38: what was not freed keeps its word with its data, so nobody takes it for an empty page.
  EXPECT_EQ(world.backing->word(4).read().state(), PageState::present);
  EXPECT_EQ(testing::byte_at(*world.backing, 4), before.data[4]);
  EXPECT_EQ(world.backing->word(9).read().raw(), 0u) << "the rest is freed";
  expect_alive();
}

TEST_F(FailureTest, advise_is_all_or_nothing) {
  const State before = state();
  EXPECT_EQ(
      sweep(fail_call, [&] { return world.mm.advise(at(2), 8 * page_size, Advice::dontneed); }), 1u)
      << "one madvise";
  EXPECT_TRUE(state() == before) << "and a zap changes no data";
  EXPECT_EQ(sweep(fail_allocation,
                  [&] { return world.mm.advise(at(2), 8 * page_size, Advice::dontneed); }),
            0u)
      << "nothing that could run out";
}

TEST_F(FailureTest, remove_that_the_host_refuses_keeps_the_data) {
  const State before = state();
  host::fail_call(1, ENOMEM); // the zap
  EXPECT_FALSE(world.mm.advise(at(2), 3 * page_size, Advice::remove));
  EXPECT_TRUE(state() == before);
  host::fail_call(2, EIO); // the punch
  EXPECT_FALSE(world.mm.advise(at(2), 3 * page_size, Advice::remove));
  EXPECT_TRUE(state() == before);
  expect_alive();
  ASSERT_TRUE(world.mm.advise(at(2), 3 * page_size, Advice::remove));
  EXPECT_EQ(testing::allocated_pages(*world.backing), before.allocated - 3);
}

} // namespace
} // namespace slat::mmu
