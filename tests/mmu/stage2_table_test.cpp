// Faults, accesses, zaps, dirtiness and age of a stage-2 table, for both formats of entries.
#include "stage2_support.hpp"
#include "support.hpp"

namespace slat::mmu::stage2::testing {
namespace {

template <class F> struct Stage2TableTest : ::testing::Test {
  using Under = TableUnderTest<F>;
};

TYPED_TEST_SUITE(Stage2TableTest, Formats, FormatNames);

TYPED_TEST(Stage2TableTest, fault_maps_the_page_and_nothing_else) {
  typename TestFixture::Under t;
  EXPECT_EQ(t.map(5 * page + 17), MapOutcome::installed);
  EXPECT_EQ(t.host(5 * page + 17), host_base + 5 * page + 17);
  EXPECT_EQ(t.host(4 * page), 0u);
  EXPECT_EQ(t.host(6 * page), 0u);
  EXPECT_EQ(t.map(5 * page), MapOutcome::present);
  const TableCounts counts = t.check();
  EXPECT_EQ(counts.tables, 4u);
  EXPECT_EQ(counts.leaves[1], 1u);
}

TYPED_TEST(Stage2TableTest, largest_leaf_that_both_addresses_fit_is_taken) {
  typename TestFixture::Under t;
  EXPECT_EQ(t.map(gib + 5 * page, false, 3), MapOutcome::installed);
  EXPECT_EQ(t.level(gib), 3u);
  EXPECT_EQ(t.host(2 * gib - 1), host_base + 2 * gib - 1);
  EXPECT_EQ(t.map(2 * mib + page, false, 2), MapOutcome::installed);
  EXPECT_EQ(t.level(2 * mib), 2u);
  auto fault = t.fault(8 * mib, false, 3);
  fault.host += page; // not alike modulo 2 MiB
  EXPECT_EQ(t.table.map(fault, t.seq, t.seq.snapshot()), MapOutcome::installed);
  EXPECT_EQ(t.level(8 * mib), 1u);
}

TYPED_TEST(Stage2TableTest, leaf_reaches_neither_beyond_the_limit_nor_over_smaller_ones) {
  typename TestFixture::Under t({.limit = 3 * mib});
  EXPECT_EQ(t.map(2 * mib, false, 2), MapOutcome::installed);
  EXPECT_EQ(t.level(2 * mib), 1u);
  EXPECT_EQ(t.map(3 * mib), MapOutcome::out_of_range);
  EXPECT_EQ(t.map(page), MapOutcome::installed);
  EXPECT_EQ(t.map(0, false, 2), MapOutcome::installed) << "a table is there: a page of it";
  EXPECT_EQ(t.level(0), 1u);
}

TYPED_TEST(Stage2TableTest, permissions_are_those_of_the_mapping) {
  typename TestFixture::Under t;
  EXPECT_EQ(t.map(0, true, 1, ro), MapOutcome::denied);
  EXPECT_EQ(t.map(0, false, 1, ro), MapOutcome::installed);
  EXPECT_FALSE(t.table.access(0, true));
  EXPECT_TRUE(t.table.access(0, false));
  EXPECT_EQ(t.table.translate(0)->allowed, ro);
  EXPECT_EQ(t.map(0, true, 1, rw), MapOutcome::installed) << "the mapping allows more by now";
  EXPECT_TRUE(t.table.access(0, true));
}

TYPED_TEST(Stage2TableTest, page_of_a_huge_leaf_that_is_allowed_more_is_split_off) {
  typename TestFixture::Under t;
  EXPECT_EQ(t.map(0, false, 2, ro), MapOutcome::installed);
  EXPECT_EQ(t.map(7 * page, true, 1, rw), MapOutcome::installed);
  EXPECT_TRUE(t.table.access(7 * page, true));
  EXPECT_FALSE(t.table.access(8 * page, true));
  EXPECT_EQ(t.host(8 * page), host_base + 8 * page);
}

TYPED_TEST(Stage2TableTest, I20_range_in_progress_or_past_keeps_the_fault_out) {
  typename TestFixture::Under t;
  const std::uint64_t snapshot = t.seq.snapshot();
  t.seq.begin(page, 2 * page);
  EXPECT_EQ(t.map(0, false, 2), MapOutcome::in_progress) << "the range covers a part of the leaf";
  EXPECT_EQ(t.map(page), MapOutcome::in_progress);
  EXPECT_EQ(t.map(3 * page), MapOutcome::installed);
  t.seq.end(page, 2 * page);
  EXPECT_EQ(t.table.map(t.fault(page), t.seq, snapshot), MapOutcome::moved);
  EXPECT_EQ(t.host(page), 0u);
}

TYPED_TEST(Stage2TableTest, I20_zap_between_check_and_publish_wins) {
  typename TestFixture::Under t;
  ASSERT_EQ(t.map(page), MapOutcome::installed); // the tables are there
  HistoryAtomics::before_cas = [&] { t.zap(0, 4 * page); };
  HistoryAtomics::skip = 1; // after FROZEN
  EXPECT_EQ(t.map(0), MapOutcome::moved);
  EXPECT_EQ(t.host(0), 0u);
}

TYPED_TEST(Stage2TableTest, I34_nothing_is_mapped_into_an_invalidated_root) {
  typename TestFixture::Under t;
  ASSERT_EQ(t.map(page), MapOutcome::installed);
  HistoryAtomics::before_cas = [&] { ASSERT_TRUE(t.table.invalidate_root()); };
  EXPECT_EQ(t.map(2 * page), MapOutcome::retry);
  EXPECT_EQ(t.host(2 * page), 0u);
  EXPECT_EQ(t.host(page), 0u);
  t.table.drain();
  EXPECT_EQ(t.table.table_pages(), 1u);
  EXPECT_TRUE(t.flusher.covered(0, 4 * page));
}

TYPED_TEST(Stage2TableTest, I27_zap_flushes_what_it_finds_and_what_it_does_not) {
  typename TestFixture::Under t;
  t.map_pages(0, 8);
  EXPECT_TRUE(t.zap(2 * page, 4 * page));
  EXPECT_EQ(t.host(page), host_base + page);
  EXPECT_EQ(t.host(2 * page), 0u);
  EXPECT_EQ(t.host(3 * page), 0u);
  EXPECT_EQ(t.host(4 * page), host_base + 4 * page);
  EXPECT_TRUE(t.flusher.covered(2 * page, 4 * page));
  t.flusher.flushes.clear();
  EXPECT_FALSE(t.zap(2 * page, 4 * page)) << "but another zap may not have flushed yet";
  EXPECT_TRUE(t.flusher.covered(2 * page, 4 * page));
}

TYPED_TEST(Stage2TableTest, I27_huge_leaf_goes_as_a_whole_and_is_flushed_as_a_whole) {
  typename TestFixture::Under t;
  ASSERT_EQ(t.map(2 * mib, false, 2), MapOutcome::installed);
  EXPECT_TRUE(t.zap(3 * mib, 3 * mib + page));
  EXPECT_EQ(t.host(2 * mib), 0u);
  EXPECT_TRUE(t.flusher.covered(2 * mib, 4 * mib));
}

TYPED_TEST(Stage2TableTest, I28_I35_zap_flushes_before_it_yields_and_goes_on) {
  typename TestFixture::Under t({.limit = 4 * gib, .entries_per_section = 1});
  t.map_pages(0, 16);
  // Whenever the walk yields, what is unmapped so far has been flushed: a flush comes with each entry.
  std::uint64_t unflushed = 0;
  HistoryAtomics::after_write = [&] { EXPECT_LE(++unflushed, 1u); };
  t.flusher.on_flush = [&] { unflushed = 0; };
  EXPECT_TRUE(t.table.zap_range(0, 16 * page));
  HistoryAtomics::after_write = nullptr;
  EXPECT_TRUE(t.flusher.covered(0, 16 * page));
  EXPECT_EQ(t.check().leaves[1], 0u);
}

TYPED_TEST(Stage2TableTest, I30_table_pages_outlive_their_readers) {
  typename TestFixture::Under t;
  t.map_pages(0, 4);
  ASSERT_EQ(t.map(gib), MapOutcome::installed);
  ASSERT_EQ(t.table.table_pages(), 6u);
  {
    const rcu::ReadGuard reader;
    EXPECT_TRUE(t.zap(0, gib, Tables::free));
    EXPECT_EQ(t.table.table_pages(), 6u) << "freed under a reader";
  }
  t.table.drain();
  EXPECT_EQ(t.table.table_pages(), 4u);
  EXPECT_EQ(t.host(gib), host_base + gib);
  EXPECT_EQ(t.host(0), 0u);
}

TYPED_TEST(Stage2TableTest, I30_table_pages_outlive_the_flush) {
  for (int what = 0; what < 3; ++what) {
    typename TestFixture::Under t;
    t.map_pages(0, 512);
    int flushes = 0;
    t.flusher.on_flush = [&] {
      t.table.drain(); // frees what has been retired too early
      if (flushes++ == 0) {
        EXPECT_EQ(t.table.table_pages(), what == 1 ? 5u : 4u) << "freed before the flush";
      }
    };
    if (what == 0) t.zap(0, gib, Tables::free);
    if (what == 1) ASSERT_TRUE(t.table.invalidate_root());
    if (what == 2) ASSERT_EQ(t.collapse(0), CollapseOutcome::collapsed);
    t.flusher.on_flush = nullptr;
    t.table.drain();
    EXPECT_EQ(t.table.table_pages(), what == 0 ? 2u : what == 1 ? 1u : 3u);
  }
}

TYPED_TEST(Stage2TableTest, fault_in_a_page_that_was_cut_off_installs_nothing) {
  typename TestFixture::Under t;
  ASSERT_EQ(t.map(page), MapOutcome::installed);
  const std::uint64_t snapshot = t.seq.snapshot();
  HistoryAtomics::before_cas = [&] { t.table.zap_range(0, gib, Tables::free); };
  EXPECT_EQ(t.table.map(t.fault(2 * page), t.seq, snapshot), MapOutcome::retry);
  EXPECT_EQ(t.host(2 * page), 0u);
  EXPECT_EQ(t.map(2 * page), MapOutcome::installed);
}

TYPED_TEST(Stage2TableTest, loser_of_a_link_frees_its_table) {
  typename TestFixture::Under t;
  HistoryAtomics::before_cas = [&] { EXPECT_EQ(t.map(page), MapOutcome::installed); };
  EXPECT_EQ(t.map(0), MapOutcome::retry);
  EXPECT_EQ(t.check().tables, 4u);
}

TYPED_TEST(Stage2TableTest, fault_without_memory_maps_nothing_and_loses_nothing) {
  for (unsigned n = 1; n <= 3; ++n) {
    typename TestFixture::Under t;
    fail_allocation(n);
    EXPECT_EQ(t.map(0), MapOutcome::no_memory);
    EXPECT_EQ(fail_allocation(0), 0u);
    EXPECT_EQ(t.map(0), MapOutcome::installed);
  }
}

TYPED_TEST(Stage2TableTest, options_that_make_no_sense_are_refused) {
  FakeFlusher flusher;
  for (const Stage2Options& options :
       {Stage2Options{.limit = 0}, Stage2Options{.limit = 5},
        Stage2Options{.limit = page, .levels = 9}, Stage2Options{.limit = page, .levels = 1},
        Stage2Options{.limit = std::uint64_t(1) << 60},
        Stage2Options{.limit = page, .entries_per_section = 0}}) {
    auto table = TestFixture::Under::Table::create(options, flusher);
    ASSERT_FALSE(table);
    EXPECT_EQ(table.error().code, Errc::invalid_argument);
  }
  for (unsigned n = 1; n <= 2; ++n) {
    fail_allocation(n);
    auto table = TestFixture::Under::Table::create({.limit = gib}, flusher);
    ASSERT_FALSE(table);
    EXPECT_EQ(table.error().code, Errc::no_memory);
  }
}

// ---- dirtiness and age

TYPED_TEST(Stage2TableTest, I31_I32_writes_are_read_once_and_flushed_in_between) {
  typename TestFixture::Under t;
  t.map_pages(0, 64);
  EXPECT_TRUE(t.dirty(0, 64 * page).empty());
  ASSERT_TRUE(t.table.access(3 * page, true));
  ASSERT_TRUE(t.table.access(9 * page, true));
  ASSERT_TRUE(t.table.access(10 * page, false));
  t.flusher.flushes.clear();
  EXPECT_EQ(t.dirty(0, 64 * page), (std::vector<std::uint64_t>{3, 9}));
  EXPECT_TRUE(t.flusher.covered(0, 64 * page));
  EXPECT_TRUE(t.dirty(0, 64 * page).empty());
  EXPECT_FALSE(t.table.translate(3 * page)->dirty) << "a TLB must set it again";
}

TYPED_TEST(Stage2TableTest, I32_write_that_slips_in_before_the_flush_is_in_this_reading) {
  typename TestFixture::Under t;
  t.map_pages(0, 1);
  t.flusher.on_flush = [&] { (void)t.table.access(0, true); }; // before the flush takes effect
  EXPECT_TRUE(t.dirty(0, 64 * page).empty());
  t.flusher.on_flush = nullptr;
  EXPECT_EQ(t.dirty(0, 64 * page), (std::vector<std::uint64_t>{0})) << "or the next one";
}

TYPED_TEST(Stage2TableTest, I31_dirt_set_between_reading_and_cleaning_an_entry_is_not_lost) {
  typename TestFixture::Under t;
  t.map_pages(0, 1);
  ASSERT_TRUE(t.table.access(0, true));
  HistoryAtomics::before_cas = [&] { // aging, seen from outside: the CAS of the cleaning must fail
    (void)t.table.age(0, page, Age::clear);
  };
  EXPECT_EQ(t.dirty(0, 64 * page), (std::vector<std::uint64_t>{0}));
  EXPECT_TRUE(t.dirty(0, 64 * page).empty());
  ASSERT_TRUE(t.table.access(0, false));
  HistoryAtomics::before_cas = [&] { ASSERT_TRUE(t.table.access(0, true)); };
  EXPECT_TRUE(t.table.age(0, page, Age::clear)) << "its CAS meets a new D bit";
  EXPECT_EQ(t.dirty(0, 64 * page), (std::vector<std::uint64_t>{0}));
}

TYPED_TEST(Stage2TableTest, I31_zap_protect_split_collapse_and_root_note_what_was_dirty) {
  for (const DirtyTracking tracking : {DirtyTracking::dirty_bits, DirtyTracking::write_protect}) {
    for (int what = 0; what < 5; ++what) {
      typename TestFixture::Under t({.limit = 4 * gib, .tracking = tracking});
      t.map_pages(0, 512);
      (void)t.dirty(0, 2 * mib);
      if (tracking == DirtyTracking::write_protect) {
        ASSERT_EQ(t.map(5 * page, true), MapOutcome::installed);
      }
      ASSERT_TRUE(t.table.access(5 * page, true));
      if (what == 0) t.zap(0, 2 * mib);
      if (what == 1) t.zap(0, 2 * mib, Tables::free);
      if (what == 2) t.table.protect_range(0, 2 * mib);
      if (what == 3) ASSERT_TRUE(t.table.invalidate_root());
      if (what == 4 && tracking == DirtyTracking::dirty_bits) {
        ASSERT_EQ(t.collapse(0), CollapseOutcome::collapsed);
      }
      EXPECT_EQ(t.dirty(0, 2 * mib), (std::vector<std::uint64_t>{5})) << "by way " << what;
    }
  }
}

TYPED_TEST(Stage2TableTest, I32_reading_one_range_leaves_the_others) {
  typename TestFixture::Under t;
  for (const std::uint64_t n : {5ull, 100ull, 200ull}) {
    ASSERT_EQ(t.map(n * page), MapOutcome::installed);
    ASSERT_TRUE(t.table.access(n * page, true));
  }
  t.zap(0, mib); // all of it is in the log now
  EXPECT_EQ(t.dirty(0, 64 * page), (std::vector<std::uint64_t>{5}));
  EXPECT_EQ(t.dirty(64 * page, 128 * page), (std::vector<std::uint64_t>{100}));
  EXPECT_EQ(t.dirty(0, mib), (std::vector<std::uint64_t>{200}));
}

TYPED_TEST(Stage2TableTest,
           I32_write_that_a_TLB_lets_pass_until_the_flush_of_a_zap_is_read_after_it) {
  // The note must not be read, and the page copied, between the zap and its flush.
  typename TestFixture::Under t;
  ASSERT_EQ(t.map(0), MapOutcome::installed);
  ASSERT_TRUE(t.table.access(0, true));
  std::atomic<bool> started{false};
  std::atomic<bool> read{false};
  std::thread reader;
  t.flusher.on_flush = [&] {
    if (started.exchange(true)) return; // the reader flushes, too
    reader = std::thread([&] {
      EXPECT_EQ(t.dirty(0, 64 * page), (std::vector<std::uint64_t>{0}));
      read = true;
    });
    EXPECT_TRUE(mmu::testing::stays([&] { return !read.load(); }))
        << "read before the flush: what is written until then is lost";
  };
  t.zap(0, page);
  reader.join();
}

TYPED_TEST(Stage2TableTest, write_protection_for_the_log_is_lifted_by_a_write_fault) {
  typename TestFixture::Under t({.limit = 4 * gib, .tracking = DirtyTracking::write_protect});
  t.map_pages(0, 2);
  (void)t.dirty(0, 64 * page);
  EXPECT_FALSE(t.table.access(0, true));
  EXPECT_TRUE(t.table.access(0, false));
  EXPECT_EQ(t.map(0), MapOutcome::present);
  EXPECT_EQ(t.map(0, true), MapOutcome::installed);
  EXPECT_TRUE(t.table.access(0, true));
  EXPECT_EQ(t.dirty(0, 64 * page), (std::vector<std::uint64_t>{0}));
  EXPECT_TRUE(t.dirty(0, 64 * page).empty());
}

TYPED_TEST(Stage2TableTest, protected_range_needs_a_fault_that_resolves_again) {
  typename TestFixture::Under t;
  t.map_pages(0, 3);
  const std::uint64_t snapshot = t.seq.snapshot();
  t.seq.begin(0, page);
  EXPECT_TRUE(t.table.protect_range(0, page));
  EXPECT_EQ(t.map(0, true), MapOutcome::in_progress) << "not allowed by the entry alone";
  t.seq.end(0, page);
  EXPECT_EQ(t.table.map(t.fault(0, true), t.seq, snapshot), MapOutcome::moved);
  EXPECT_TRUE(t.flusher.covered(0, page));
  EXPECT_FALSE(t.table.access(0, true));
  EXPECT_TRUE(t.table.access(page, true));
  EXPECT_EQ(t.map(0, true), MapOutcome::installed);
}

TYPED_TEST(Stage2TableTest, age_tells_and_clears) {
  typename TestFixture::Under t;
  t.map_pages(0, 4);
  EXPECT_TRUE(t.table.age(0, page, Age::test)) << "a new leaf is young";
  EXPECT_TRUE(t.table.age(0, 4 * page, Age::clear_and_flush));
  EXPECT_TRUE(t.flusher.covered(0, 4 * page));
  EXPECT_FALSE(t.table.age(0, 4 * page, Age::test));
  ASSERT_TRUE(t.table.access(2 * page, false));
  EXPECT_FALSE(t.table.age(0, 2 * page, Age::test));
  t.flusher.flushes.clear();
  EXPECT_TRUE(t.table.age(2 * page, 3 * page, Age::clear));
  EXPECT_TRUE(t.flusher.flushes.empty());
  EXPECT_FALSE(t.table.age(0, 4 * page, Age::test));
}

TEST(Stage2Levels, five_levels_reach_beyond_48_bits) {
  // 2^52 bytes would need a log of 128 GiB: 5 levels over a small space, and the format's shifts.
  TableUnderTest<EptFormat> t({.limit = 4 * gib, .levels = 5});
  EXPECT_EQ(t.map(3 * gib), MapOutcome::installed);
  EXPECT_EQ(t.host(3 * gib), host_base + 3 * gib);
  EXPECT_EQ(t.check().tables, 5u);
  t.zap(0, 4 * gib, Tables::free);
  EXPECT_EQ(t.check().tables, 1u);
}

TEST(Stage2Levels, three_levels_are_enough_for_arm64) {
  TableUnderTest<Arm64Format> t({.limit = 4 * gib, .levels = 3});
  EXPECT_EQ(t.map(gib, false, 3), MapOutcome::installed);
  EXPECT_EQ(t.check().leaves[3], 1u);
}

TEST(Stage2Checker, every_kind_of_damage_is_named) {
  using Format = EptFormat;
  TableUnderTest<Format> t({.limit = 1024 * gib}); // two entries of the root
  ASSERT_EQ(t.map(0), MapOutcome::installed);
  auto& entry = const_cast<TablePage<Format, HistoryAtomics>&>(t.table.root()).entries[1];
  const std::uint64_t child = t.table.root().entries[0].load();
  const auto complaint = [&](std::uint64_t value) {
    entry.store(value, std::memory_order_relaxed);
    auto counts = check_table(t.table);
    entry.store(absent_entry, std::memory_order_relaxed);
    return counts ? std::string("none") : counts.error().message;
  };
  EXPECT_NE(complaint(child).find("linked twice"), std::string::npos);
  EXPECT_NE(complaint(frozen_entry()).find("FROZEN"), std::string::npos);
  EXPECT_NE(complaint(dead_entry()).find("DEAD"), std::string::npos);
  EXPECT_NE(complaint(child | 0x8).find("reserved"), std::string::npos);
  EXPECT_NE(complaint(child | collapsing_bit).find("collapse"), std::string::npos);
  EXPECT_NE(complaint(Format::leaf(0, 4, rw)).find("leaf of a level"), std::string::npos);
  EXPECT_NE(complaint(0x10).find("stray"), std::string::npos);
  EXPECT_EQ(complaint(absent_entry), "none");
}

} // namespace
} // namespace slat::mmu::stage2::testing
