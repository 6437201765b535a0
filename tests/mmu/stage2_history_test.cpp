// Splits and collapses on memory with history (I33): after every single write that they make, each
// address of the guest translates to what it translated to before. And who may step in between.
#include "stage2_support.hpp"

namespace slat::mmu::stage2::testing {
namespace {

template <class F> struct Stage2HistoryTest : ::testing::Test {
  using Under = TableUnderTest<F>;

  /// Looks at every address of [0, 4 MiB) after each write while `function` runs.
  template <class Function> static std::uint64_t watch(Under& t, Function function) {
    std::vector<std::uint64_t> before;
    std::vector<bool> writable;
    for (std::uint64_t at = 0; at < 4 * mib; at += page) {
      before.push_back(t.host(at));
      writable.push_back(t.table.translate(at) && t.table.translate(at)->allowed.write);
    }
    std::uint64_t looks = 0;
    HistoryAtomics::writes = 0;
    HistoryAtomics::after_write = [&] {
      ++looks;
      // All of it now and then, and always the edges: a private child is filled by 512 writes.
      const std::uint64_t step = looks % 64 == 0 || looks < 4 ? 1 : 37;
      for (std::uint64_t i = looks % step; i < before.size(); i += step)
        if (t.host(i * page) != before[i]) {
          ADD_FAILURE() << "after write " << HistoryAtomics::writes << " page " << i << " is at "
                        << t.host(i * page) << ", was at " << before[i] << " (I33)";
          HistoryAtomics::after_write = nullptr;
          return;
        }
    };
    function();
    HistoryAtomics::after_write = nullptr;
    for (std::uint64_t i = 0; i < before.size(); ++i) {
      EXPECT_EQ(t.host(i * page), before[i]);
      EXPECT_EQ(t.table.translate(i * page) && t.table.translate(i * page)->allowed.write,
                writable[i]);
    }
    return looks;
  }
};

TYPED_TEST_SUITE(Stage2HistoryTest, Formats, FormatNames);

TYPED_TEST(Stage2HistoryTest, I33_split_changes_no_translation_at_any_write) {
  typename TestFixture::Under t;
  ASSERT_EQ(t.map(0, false, 2), MapOutcome::installed);
  ASSERT_EQ(t.map(2 * mib, false, 2, ro), MapOutcome::installed);
  const auto looks = TestFixture::watch(t, [&] { ASSERT_TRUE(t.table.split_range(0, 4 * mib)); });
  EXPECT_GE(looks, 1026u); // two children, two links
  EXPECT_EQ(t.check().leaves[1], 1024u);
}

TYPED_TEST(Stage2HistoryTest, I33_split_of_a_gigabyte_goes_down_as_far_as_asked) {
  typename TestFixture::Under t;
  ASSERT_EQ(t.map(0, false, 3), MapOutcome::installed);
  TestFixture::watch(t, [&] { ASSERT_TRUE(t.table.split_range(0, 2 * mib, 2)); });
  EXPECT_EQ(t.level(0), 2u);
  TestFixture::watch(t, [&] { ASSERT_TRUE(t.table.split_range(page, 2 * page, 1)); });
  EXPECT_EQ(t.level(0), 1u);
  EXPECT_EQ(t.level(2 * mib), 2u);
  EXPECT_EQ(t.host(gib - 1), host_base + gib - 1);
}

TYPED_TEST(Stage2HistoryTest, I33_collapse_changes_no_translation_at_any_write) {
  typename TestFixture::Under t;
  t.map_pages(0, 512);
  const auto looks =
      TestFixture::watch(t, [&] { ASSERT_EQ(t.collapse(5 * page), CollapseOutcome::collapsed); });
  EXPECT_GE(looks, 514u); // mark, link, and a dead child
  EXPECT_EQ(t.level(0), 2u);
  EXPECT_EQ(t.check().tables, 3u);
  EXPECT_TRUE(t.flusher.covered(0, 2 * mib));
}

TYPED_TEST(Stage2HistoryTest, I33_collapse_into_a_gigabyte_of_what_a_split_made) {
  typename TestFixture::Under t;
  ASSERT_EQ(t.map(0, false, 3), MapOutcome::installed);
  ASSERT_TRUE(t.table.split_range(0, gib, 2));
  TestFixture::watch(t, [&] { ASSERT_EQ(t.collapse(0, 3), CollapseOutcome::collapsed); });
  EXPECT_EQ(t.level(0), 3u);
}

TYPED_TEST(Stage2HistoryTest, I31_I33_split_meets_an_access_and_starts_over) {
  typename TestFixture::Under t;
  ASSERT_EQ(t.map(0, false, 2), MapOutcome::installed);
  HistoryAtomics::before_cas = [&] { ASSERT_TRUE(t.table.access(7 * page, true)); };
  ASSERT_TRUE(t.table.split_range(0, 2 * mib));
  EXPECT_EQ(t.level(0), 1u);
  EXPECT_EQ(t.dirty(0, 2 * mib).size(), 512u) << "the dirty bit of the huge leaf is lost (I31)";
}

TYPED_TEST(Stage2HistoryTest, split_meets_a_zap_and_brings_nothing_back) {
  typename TestFixture::Under t;
  ASSERT_EQ(t.map(0, false, 2), MapOutcome::installed);
  HistoryAtomics::before_cas = [&] { t.zap(0, page); };
  ASSERT_TRUE(t.table.split_range(0, 2 * mib));
  EXPECT_EQ(t.host(0), 0u);
  EXPECT_EQ(t.check().leaves[1], 0u);
}

TYPED_TEST(Stage2HistoryTest, split_without_memory_leaves_the_leaf_alone) {
  typename TestFixture::Under t;
  ASSERT_EQ(t.map(0, false, 2), MapOutcome::installed);
  fail_allocation(1);
  auto split = t.table.split_range(0, 2 * mib);
  fail_allocation(0);
  ASSERT_FALSE(split);
  EXPECT_EQ(split.error().code, Errc::no_memory);
  EXPECT_EQ(t.level(0), 2u);
}

TYPED_TEST(Stage2HistoryTest, collapse_refuses_what_is_not_alike) {
  typename TestFixture::Under t;
  t.map_pages(0, 511);
  EXPECT_EQ(t.collapse(0), CollapseOutcome::not_alike) << "a hole";
  ASSERT_EQ(t.map(511 * page, false, 1, ro), MapOutcome::installed);
  EXPECT_EQ(t.collapse(0), CollapseOutcome::not_alike) << "other permissions";
  t.zap(511 * page, 512 * page);
  auto elsewhere = t.fault(511 * page);
  elsewhere.host += 8 * page;
  ASSERT_EQ(t.table.map(elsewhere, t.seq, t.seq.snapshot()), MapOutcome::installed);
  EXPECT_EQ(t.collapse(0), CollapseOutcome::not_alike) << "not in a row";
  EXPECT_EQ(t.collapse(gib), CollapseOutcome::not_alike) << "nothing there";
  EXPECT_EQ(t.level(0), 1u);
}

TYPED_TEST(Stage2HistoryTest, collapse_refuses_pages_in_a_row_that_start_askew) {
  typename TestFixture::Under t;
  for (unsigned i = 0; i < 512; ++i) {
    auto fault = t.fault(i * page);
    fault.host += page;
    ASSERT_EQ(t.table.map(fault, t.seq, t.seq.snapshot()), MapOutcome::installed);
  }
  EXPECT_EQ(t.collapse(0), CollapseOutcome::not_alike);
}

TYPED_TEST(Stage2HistoryTest, I20_collapse_meets_a_range_in_progress) {
  typename TestFixture::Under t;
  t.map_pages(0, 512);
  t.seq.begin(page, 2 * page);
  EXPECT_EQ(t.collapse(0), CollapseOutcome::in_progress);
  t.seq.end(page, 2 * page);
  EXPECT_EQ(t.collapse(0), CollapseOutcome::collapsed);
}

TYPED_TEST(Stage2HistoryTest, I20_collapse_meets_a_zap_at_each_of_its_steps) {
  for (unsigned step = 0; step < 2; ++step) {
    typename TestFixture::Under t;
    t.map_pages(0, 512);
    HistoryAtomics::before_cas = [&] { t.zap(9 * page, 10 * page); };
    HistoryAtomics::skip = step;
    EXPECT_EQ(t.collapse(0), CollapseOutcome::moved);
    EXPECT_EQ(t.host(9 * page), 0u)
        << "step " << step << ": the collapse has brought it back (I20)";
    EXPECT_EQ(t.host(8 * page), host_base + 8 * page);
  }
}

TYPED_TEST(Stage2HistoryTest, I31_write_through_the_parts_until_the_flush_is_noted) {
  typename TestFixture::Under t;
  t.map_pages(0, 512);
  // A walker that has the child from before the last CAS, until the flush.
  HistoryAtomics::skip = 1;
  TablePage<TypeParam, HistoryAtomics>* child = nullptr;
  HistoryAtomics::before_cas = [&] {
    child = walk_down<TypeParam>(const_cast<TablePage<TypeParam, HistoryAtomics>*>(&t.table.root()),
                                 4, 0, 1)
                .page;
  };
  t.flusher.on_flush = [&] {
    auto& entry = child->entries[6];
    const std::uint64_t value = entry.load();
    ASSERT_TRUE(TypeParam::is_leaf(value, 1));
    entry.store(TypeParam::used(value, true), std::memory_order_relaxed);
  };
  ASSERT_EQ(t.collapse(0), CollapseOutcome::collapsed);
  t.flusher.on_flush = nullptr;
  EXPECT_EQ(t.dirty(0, 2 * mib), (std::vector<std::uint64_t>{6}));
}

} // namespace
} // namespace slat::mmu::stage2::testing
