// Neighbours that are filled and installed along with the page asked for.
#include "mmu/fault.hpp"

#include "support.hpp"

namespace slat::mmu {
namespace {

using testing::FakeMmu;
using testing::page_word;
using testing::raw;
using testing::World;

struct FaultAroundTest : ::testing::Test {
  World world{16};
  std::uintptr_t base = world.map(0, 16);

  [[nodiscard]] std::uintptr_t at(std::uint64_t page) const { return base + (page << page_shift); }

  FaultOutcome around(std::uint64_t page, std::uint64_t first, std::uint64_t end) {
    return handle_mm_fault(world.mm, {.address = at(page) + 5,
                                      .mmu = &world.mmu,
                                      .around_start = at(first),
                                      .around_end = at(end)});
  }

  void set_state(std::uint64_t page, std::uint64_t bits) {
    raw<std::uint64_t>(page_word(*world.backing, page)).store(bits);
  }

  void expect_installed(std::vector<FakeMmu::Call> calls) { EXPECT_EQ(world.mmu.calls(), calls); }

  void expect_nothing_owned() {
    for (std::uint64_t page = 0; page < 16; ++page)
      EXPECT_FALSE(world.backing->word(page).read().owned()) << page;
  }
};

TEST_F(FaultAroundTest, whole_window_is_filled_and_installed_at_once) {
  const FaultOutcome outcome = around(5, 4, 8);
  EXPECT_EQ(outcome.result, FaultResult::done);
  EXPECT_EQ(outcome.installed_start, at(4));
  EXPECT_EQ(outcome.installed_end, at(8));
  expect_installed({{at(4), 4, true}});
  EXPECT_EQ(world.source->runs().size(), 1u) << "one call for the run";
  EXPECT_EQ(world.count(Counter::filled_pages), 4u);
  EXPECT_EQ(world.count(Counter::fault_around_pages), 3u);
  for (std::uint64_t page = 4; page < 8; ++page) {
    const PageBits bits = world.backing->word(page).read();
    EXPECT_TRUE(bits.has(PageBits::installed));
    EXPECT_EQ(bits.has(PageBits::accessed), page == 5) << "a guess is no access";
    EXPECT_EQ(testing::byte_at(*world.backing, page), testing::pattern_of(page));
  }
  EXPECT_EQ(world.backing->word(3).read().raw(), 0u);
  EXPECT_EQ(world.backing->word(8).read().raw(), 0u);
  expect_nothing_owned();
}

TEST_F(FaultAroundTest, window_is_clipped_to_the_vma) {
  ASSERT_TRUE(world.mm.unmap(at(0), 3 * page_size));
  ASSERT_TRUE(world.mm.unmap(at(8), 8 * page_size));
  EXPECT_EQ(around(5, 0, 16).result, FaultResult::done);
  expect_installed({{at(3), 5, true}});
  EXPECT_EQ(world.source->fills_of(2) + world.source->fills_of(8), 0u);
}

TEST_F(FaultAroundTest, window_of_the_whole_address_space_is_clipped_too) {
  const FaultOutcome outcome =
      handle_mm_fault(world.mm, {.address = at(5),
                                 .mmu = &world.mmu,
                                 .around_start = 0,
                                 .around_end = ~std::uintptr_t(0) & ~(page_size - 1)});
  EXPECT_EQ(outcome.result, FaultResult::done);
  expect_installed({{at(0), 16, true}});
}

TEST_F(FaultAroundTest, window_beside_the_page_is_ignored) {
  EXPECT_EQ(around(5, 6, 9).result, FaultResult::done);
  EXPECT_EQ(around(7, 3, 7).result, FaultResult::done);
  expect_installed({{at(5), 1, true}, {at(7), 1, true}});
}

TEST_F(FaultAroundTest, run_stops_at_pages_that_somebody_else_owns) {
  set_state(3, PageBits::locked | std::uint64_t(PageState::present)); // another thread's
  set_state(8, std::uint64_t(PageState::filling));
  EXPECT_EQ(around(5, 0, 16).result, FaultResult::done);
  expect_installed({{at(4), 4, true}});
  set_state(3, 0);
  set_state(8, 0);
}

TEST_F(FaultAroundTest, run_stops_at_poisoned_and_reclaimed_pages) {
  set_state(3, std::uint64_t(PageState::poisoned));
  set_state(7, (std::uint64_t(9) << PageBits::slot_shift) | std::uint64_t(PageState::reclaimed));
  EXPECT_EQ(around(5, 0, 16).result, FaultResult::done);
  expect_installed({{at(4), 3, true}});
  EXPECT_EQ(world.backing->word(3).read().state(), PageState::poisoned);
  EXPECT_EQ(world.backing->word(7).read().state(), PageState::reclaimed);
  EXPECT_EQ(world.backing->word(7).read().slot(), 9u);
}

TEST_F(FaultAroundTest, run_stops_at_pages_that_are_installed_already) {
  ASSERT_EQ(world.fault(at(4)).result, FaultResult::done);
  ASSERT_EQ(world.fault(at(7)).result, FaultResult::done);
  EXPECT_EQ(around(5, 0, 16).result, FaultResult::done);
  expect_installed({{at(4), 1, true}, {at(7), 1, true}, {at(5), 2, true}});
}

TEST_F(FaultAroundTest, present_neighbours_are_installed_without_being_filled) {
  ASSERT_EQ(handle_mm_fault(world.mm, {.address = at(6)}).result, FaultResult::done);
  *world.backing->host_view(6) = std::byte('w');
  EXPECT_EQ(around(5, 5, 8).result, FaultResult::done);
  // The empty run ends at the present page; installed is what is present by then.
  expect_installed({{at(5), 2, true}});
  EXPECT_EQ(world.source->fills_of(6), 1u);
  EXPECT_EQ(testing::byte_at(*world.backing, 6), std::byte('w'));
}

TEST_F(FaultAroundTest, I41_trouble_of_a_neighbour_is_not_the_page_s) {
  for (const FillResult trouble : {FillResult::failed, FillResult::no_memory}) {
    const std::uint64_t page = trouble == FillResult::failed ? 5 : 10;
    world.source->before = [&](Backing&, PageRun run) {
      return run.count > 1 ? trouble : FillResult::filled;
    };
    EXPECT_EQ(around(page, page - 1, page + 3).result, FaultResult::done);
    EXPECT_EQ(world.backing->word(page - 1).read().raw(), 0u) << "put back, not poisoned";
    EXPECT_EQ(world.backing->word(page + 1).read().raw(), 0u);
    EXPECT_EQ(world.backing->word(page).read().state(), PageState::present);
  }
  EXPECT_EQ(world.count(Counter::poisoned_pages), 0u);
  expect_nothing_owned();
}

TEST_F(FaultAroundTest, partial_install_that_holds_the_page_is_enough) {
  world.mmu.decide = [](const FakeMmu::Call&) { return InstallResult{InstallStatus::partial, 3}; };
  const FaultOutcome outcome = around(5, 4, 8);
  EXPECT_EQ(outcome.result, FaultResult::done);
  EXPECT_EQ(outcome.installed_start, at(4));
  EXPECT_EQ(outcome.installed_end, at(7));
  EXPECT_TRUE(world.backing->word(6).read().has(PageBits::installed));
  EXPECT_FALSE(world.backing->word(7).read().has(PageBits::installed));
  EXPECT_EQ(world.count(Counter::installed_pages), 3u);
  expect_nothing_owned();
}

TEST_F(FaultAroundTest, neighbours_in_the_way_are_left_out_of_the_next_attempt) {
  for (const InstallStatus status :
       {InstallStatus::partial, InstallStatus::already_installed, InstallStatus::no_memory,
        InstallStatus::failed, InstallStatus::retry}) {
    World fresh(16);
    const std::uintptr_t start = fresh.map(0, 16);
    fresh.mmu.decide = [&](const FakeMmu::Call& call) {
      return call.pages > 1 ? InstallResult{status, 1} : InstallResult{InstallStatus::installed, 1};
    };
    // The first page of the run goes in or is in the way; the page asked for is its third.
    const FaultOutcome outcome = handle_mm_fault(fresh.mm, {.address = start + 4 * page_size,
                                                            .mmu = &fresh.mmu,
                                                            .around_start = start + 2 * page_size,
                                                            .around_end = start + 8 * page_size});
    EXPECT_EQ(outcome.result, FaultResult::done) << int(status);
    const auto calls = fresh.mmu.calls();
    ASSERT_EQ(calls.size(), 2u) << int(status);
    EXPECT_EQ(calls[1], (FakeMmu::Call{start + 4 * page_size, 1, true}));
    for (std::uint64_t page = 0; page < 16; ++page)
      EXPECT_FALSE(fresh.backing->word(page).read().owned());
  }
}

TEST_F(FaultAroundTest, I20_range_over_a_neighbour_shrinks_the_install_to_the_page) {
  auto scope =
      world.mm.notifiers().invalidate_range_start({at(7), at(9), InvalidateEvent::reclaim});
  ASSERT_TRUE(scope);
  EXPECT_EQ(around(5, 4, 8).result, FaultResult::done);
  expect_installed({{at(5), 1, true}});
  expect_nothing_owned();
}

TEST_F(FaultAroundTest, sleeping_source_fills_the_run_and_the_retry_installs_it) {
  World sleepy(8, /*source_sleeps=*/true);
  const std::uintptr_t start = sleepy.map(0, 8);
  const FaultOutcome outcome = handle_mm_fault(sleepy.mm, {.address = start + page_size,
                                                           .mmu = &sleepy.mmu,
                                                           .around_start = start,
                                                           .around_end = start + 4 * page_size});
  EXPECT_EQ(outcome.result, FaultResult::done);
  EXPECT_EQ(sleepy.source->runs().size(), 1u);
  EXPECT_EQ(sleepy.mmu.calls(), (std::vector<FakeMmu::Call>{{start, 4, true}}));
}

} // namespace
} // namespace slat::mmu
