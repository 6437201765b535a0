// A stage-2 table behind a real address space: faults, unmaps, aging, through the interfaces that the
// fault path and the notifier chain know.
#include "mmu/stage2/stage2_mmu.hpp"

#include "stage2_support.hpp"
#include "support.hpp"

namespace slat::mmu::stage2::testing {
namespace {

using mmu::testing::World;

struct Stage2MmuTest : ::testing::Test {
  static constexpr std::uint64_t guest = 3 * gib; // where the slot lies for the guest
  static constexpr std::uint64_t pages = 1536;

  Stage2MmuTest() {
    hva = world.map(0, pages);
    slots.push_back({guest, hva, hva + pages * page});
    mmu = std::make_unique<Stage2Mmu<EptFormat>>(*table, world.mm.notifiers().sequence(), slots);
    EXPECT_TRUE(world.mm.notifiers().register_notifier(*mmu));
  }

  ~Stage2MmuTest() override {
    world.mm.notifiers().unregister_notifier(*mmu);
    EXPECT_TRUE(check_table(*table));
  }

  FaultOutcome fault(std::uint64_t n, std::uint32_t access = vm_read) {
    return handle_mm_fault(world.mm,
                           {.address = hva + n * page, .access = access, .mmu = mmu.get()});
  }

  /// `count` pages from page `n` of the guest view, somewhere that 2 MiB pages are aligned.
  InstallResult install(std::uint64_t n, std::size_t count) {
    return mmu->install(
        {hva + n * page, reinterpret_cast<std::byte*>(host_base + n * page), count, true});
  }

  [[nodiscard]] std::uint64_t host_view(std::uint64_t n) const {
    return reinterpret_cast<std::uintptr_t>(world.backing->host_view(n));
  }

  [[nodiscard]] std::uint64_t host(std::uint64_t n) const {
    const auto found = table->translate(guest + n * page);
    return found ? found->host : 0;
  }

  World world{pages};
  FakeFlusher flusher;
  std::unique_ptr<Stage2Table<EptFormat>> table =
      std::move(*Stage2Table<EptFormat>::create({.limit = 4 * gib}, flusher));
  std::uintptr_t hva = 0;
  std::vector<Stage2Slot> slots;
  std::unique_ptr<Stage2Mmu<EptFormat>> mmu;
};

TEST_F(Stage2MmuTest, fault_ends_in_the_table) {
  EXPECT_EQ(fault(7, vm_write).result, FaultResult::done);
  EXPECT_EQ(host(7), host_view(7));
  EXPECT_TRUE(table->access(guest + 7 * page, true));
  EXPECT_EQ(fault(7).result, FaultResult::done);
}

TEST_F(Stage2MmuTest, I20_unmap_and_discard_take_the_translation_before_the_page_goes) {
  ASSERT_EQ(fault(7).result, FaultResult::done);
  ASSERT_EQ(fault(8).result, FaultResult::done);
  ASSERT_TRUE(world.mm.advise(hva + 7 * page, page, Advice::dontneed));
  EXPECT_EQ(host(7), 0u);
  EXPECT_TRUE(flusher.covered(guest + 7 * page, guest + 8 * page));
  EXPECT_EQ(host(8), host_view(8));
  ASSERT_TRUE(world.mm.unmap(hva, 1536 * page));
  EXPECT_EQ(host(8), 0u);
  EXPECT_EQ(fault(8).result, FaultResult::no_vma);
}

TEST_F(Stage2MmuTest, run_of_two_mebibytes_becomes_one_leaf) {
  const InstallResult whole = install(0, 512 + 3);
  EXPECT_EQ(whole.status, InstallStatus::installed);
  EXPECT_EQ(whole.pages, 515u);
  EXPECT_EQ(table->translate(guest)->level, 2u);
  EXPECT_EQ(table->translate(guest + 514 * page)->level, 1u);
  EXPECT_EQ(install(5, 1).status, InstallStatus::already_installed);
  // Over a table with small leaves, page by page.
  EXPECT_EQ(install(512, 512).pages, 512u);
  EXPECT_EQ(host(1023), host_base + 1023 * page);
}

TEST_F(Stage2MmuTest, what_lies_in_no_slot_is_gone_and_a_run_ends_with_its_slot) {
  EXPECT_EQ(install(std::uint64_t(0) - 1, 1).status, InstallStatus::gone);
  const InstallResult last = install(pages - 1, 4);
  EXPECT_EQ(last.status, InstallStatus::partial);
  EXPECT_EQ(last.pages, 1u);
}

TEST_F(Stage2MmuTest, tracked_writes_fault_once_and_reads_do_not) {
  for (const std::uint64_t n : {7u, 8u}) ASSERT_EQ(fault(n, vm_write).result, FaultResult::done);
  const auto tracked = world.mm.track_writes(hva + 7 * page, 2 * page);
  ASSERT_TRUE(tracked) << mmu::testing::why(tracked);
  EXPECT_EQ(*tracked, 2u);
  EXPECT_TRUE(flusher.covered(guest + 7 * page, guest + 9 * page));
  EXPECT_TRUE(table->access(guest + 7 * page, false)) << "protected, not taken away";
  EXPECT_FALSE(table->access(guest + 7 * page, true));
  EXPECT_EQ(fault(7).result, FaultResult::done);
  EXPECT_FALSE(table->access(guest + 7 * page, true)) << "a read does not let writes through";
  EXPECT_EQ(fault(7, vm_write).result, FaultResult::done);
  EXPECT_TRUE(table->access(guest + 7 * page, true));
  EXPECT_FALSE(table->access(guest + 8 * page, true));
}

TEST_F(Stage2MmuTest, page_that_migrates_is_mapped_where_it_is_then) {
  for (const std::uint64_t n : {7u, 8u}) ASSERT_EQ(fault(n, vm_write).result, FaultResult::done);
  ASSERT_TRUE(world.mm.unmap(hva + 1000 * page, 4 * page));
  world.source->uniform = true;
  const auto migrated =
      world.mm.migrate({.address = hva + 7 * page, .length = page, .pgoff = 1002});
  ASSERT_TRUE(migrated) << mmu::testing::why(migrated);
  EXPECT_EQ(host(7), 0u);
  EXPECT_TRUE(flusher.covered(guest + 7 * page, guest + 8 * page));
  EXPECT_EQ(host(8), host_view(8));
  EXPECT_EQ(fault(7, vm_write).result, FaultResult::done);
  EXPECT_EQ(host(7), host_view(1002));
}

TEST_F(Stage2MmuTest, non_blockable_range_is_refused_if_it_concerns_a_slot) {
  auto scope = world.mm.notifiers().invalidate_range_start(
      {hva, hva + page, InvalidateEvent::reclaim, false});
  EXPECT_FALSE(scope);
  auto elsewhere = world.mm.notifiers().invalidate_range_start(
      {page, 2 * page, InvalidateEvent::reclaim, false});
  EXPECT_TRUE(elsewhere);
}

TEST_F(Stage2MmuTest, I20_range_in_progress_keeps_the_install_out) {
  auto scope = world.mm.notifiers().invalidate_range({hva, hva + page, InvalidateEvent::reclaim});
  EXPECT_EQ(install(0, 1).status, InstallStatus::retry);
  EXPECT_EQ(install(1, 1).status, InstallStatus::installed);
}

TEST_F(Stage2MmuTest, chain_asks_for_the_age_of_pages) {
  NotifierChain& chain = world.mm.notifiers();
  ASSERT_EQ(fault(7).result, FaultResult::done);
  EXPECT_TRUE(chain.test_young(hva, hva + 64 * page));
  EXPECT_TRUE(chain.clear_young(hva, hva + 64 * page));
  EXPECT_FALSE(chain.test_young(hva, hva + 64 * page));
  ASSERT_TRUE(table->access(guest + 7 * page, false));
  EXPECT_TRUE(chain.clear_flush_young(hva, hva + 64 * page));
  EXPECT_TRUE(flusher.covered(guest + 7 * page, guest + 8 * page));
  EXPECT_FALSE(chain.clear_flush_young(hva, hva + 64 * page));
}

TEST_F(Stage2MmuTest, slot_that_is_removed_takes_its_translations_and_comes_back_elsewhere) {
  ASSERT_EQ(fault(7, vm_write).result, FaultResult::done);
  mmu->remove_slot(0);
  EXPECT_EQ(host(7), 0u);
  EXPECT_TRUE(flusher.covered(guest + 7 * page, guest + 8 * page));
  EXPECT_EQ(fault(7).result, FaultResult::no_vma)
      << "nothing is installed into a slot that is gone";
  EXPECT_EQ(host(7), 0u);

  const auto moved = world.mm.move(
      {.address = hva, .old_length = pages * page, .new_length = pages * page, .elsewhere = true});
  ASSERT_TRUE(moved);
  ASSERT_NE(*moved, hva);
  hva = *moved;
  mmu->set_slot(0, hva);
  EXPECT_EQ(fault(7, vm_write).result, FaultResult::done);
  EXPECT_EQ(host(7), host_view(7)) << "the same page of the host view";
  ASSERT_TRUE(world.mm.advise(hva + 7 * page, page, Advice::dontneed));
  EXPECT_EQ(host(7), 0u) << "ranges find it at its new place";
}

TEST_F(Stage2MmuTest, release_unmaps_everything) {
  ASSERT_EQ(fault(7).result, FaultResult::done);
  mmu->release();
  EXPECT_EQ(host(7), 0u);
  table->drain();
  EXPECT_EQ(table->table_pages(), 1u);
}

} // namespace
} // namespace slat::mmu::stage2::testing
