// Looking at all leaves of a stage-2 table.
#include "mmu/stage2/stage2_visit.hpp"
#include "stage2_support.hpp"

namespace slat::mmu::stage2::testing {
namespace {

template <class F> struct Stage2VisitTest : ::testing::Test {
  using Under = TableUnderTest<F>;

  static std::vector<LeafView> leaves(const Under& t, std::uint64_t start = 0,
                                      std::uint64_t end = UINT64_MAX) {
    std::vector<LeafView> found;
    t.table.for_each_leaf(start, end, [&](const LeafView& leaf) { found.push_back(leaf); });
    return found;
  }
};

TYPED_TEST_SUITE(Stage2VisitTest, Formats, FormatNames);

TYPED_TEST(Stage2VisitTest, empty_table_has_no_leaves) {
  typename TestFixture::Under t;
  EXPECT_TRUE(TestFixture::leaves(t).empty());
}

TYPED_TEST(Stage2VisitTest, each_leaf_is_shown_once_with_all_that_is_in_it) {
  typename TestFixture::Under t;
  ASSERT_EQ(t.map(gib, false, 3), MapOutcome::installed);
  ASSERT_EQ(t.map(4 * mib, false, 2, ro), MapOutcome::installed);
  auto uncached = t.fault(3 * page);
  uncached.type = MemoryType::uncached;
  uncached.allowed = {true, true, false};
  ASSERT_EQ(t.table.map(uncached, t.seq, t.seq.snapshot()), MapOutcome::installed);
  ASSERT_TRUE(t.table.access(3 * page, true));
  t.table.age(gib, 2 * gib, Age::clear);
  const auto found = TestFixture::leaves(t);
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].address, 3 * page);
  EXPECT_EQ(found[0].bytes, page);
  EXPECT_EQ(found[0].host, host_base + 3 * page);
  EXPECT_EQ(found[0].level, 1u);
  EXPECT_EQ(found[0].allowed, (Permissions{true, true, false}));
  EXPECT_EQ(found[0].type, MemoryType::uncached);
  EXPECT_TRUE(found[0].accessed);
  EXPECT_TRUE(found[0].dirty);
  EXPECT_EQ(found[1].address, 4 * mib);
  EXPECT_EQ(found[1].bytes, 2 * mib);
  EXPECT_EQ(found[1].host, host_base + 4 * mib);
  EXPECT_EQ(found[1].level, 2u);
  EXPECT_EQ(found[1].allowed, ro);
  EXPECT_EQ(found[1].type, MemoryType::write_back);
  EXPECT_TRUE(found[1].accessed);
  EXPECT_FALSE(found[1].dirty);
  EXPECT_EQ(found[2].address, gib);
  EXPECT_EQ(found[2].bytes, gib);
  EXPECT_EQ(found[2].level, 3u);
  EXPECT_FALSE(found[2].accessed);
}

TYPED_TEST(Stage2VisitTest, leaf_that_reaches_out_of_the_range_is_cut) {
  typename TestFixture::Under t;
  t.map_pages(0, 4);
  ASSERT_EQ(t.map(2 * mib, false, 2), MapOutcome::installed);
  const auto part = TestFixture::leaves(t, 2 * page, 2 * mib + 5 * page);
  ASSERT_EQ(part.size(), 3u);
  EXPECT_EQ(part[0].address, 2 * page);
  EXPECT_EQ(part[2].address, 2 * mib);
  EXPECT_EQ(part[2].bytes, 5 * page);
  const auto rest = TestFixture::leaves(t, 2 * mib + 5 * page);
  ASSERT_EQ(rest.size(), 1u);
  EXPECT_EQ(rest[0].address, 2 * mib + 5 * page);
  EXPECT_EQ(rest[0].bytes, 2 * mib - 5 * page);
  EXPECT_EQ(rest[0].host, host_base + 2 * mib + 5 * page);
  EXPECT_EQ(rest[0].level, 2u);
}

TYPED_TEST(Stage2VisitTest, dirty_is_what_the_tracking_of_the_table_says) {
  typename TestFixture::Under t({.limit = 4 * gib, .tracking = DirtyTracking::write_protect});
  t.map_pages(0, 64);
  EXPECT_TRUE(TestFixture::leaves(t)[0].dirty) << "writable";
  t.dirty(0, 64 * page);
  const auto found = TestFixture::leaves(t);
  EXPECT_FALSE(found[0].dirty);
  EXPECT_FALSE(found[0].allowed.write);
}

TYPED_TEST(Stage2VisitTest, I35_walk_shows_everything_however_short_its_sections_are) {
  for (const unsigned entries : {1u, 3u, 1024u, 1u << 20}) {
    typename TestFixture::Under t({.limit = 4 * gib, .entries_per_section = entries});
    t.map_pages(0, 3000);
    const auto found = TestFixture::leaves(t);
    ASSERT_EQ(found.size(), 3000u);
    for (std::uint64_t i = 0; i < found.size(); ++i) ASSERT_EQ(found[i].address, i * page);
  }
}

TYPED_TEST(Stage2VisitTest, visitor_may_wait_for_a_grace_period) {
  typename TestFixture::Under t;
  t.map_pages(0, 2);
  unsigned visits = 0;
  t.table.for_each_leaf(0, gib, [&](const LeafView&) {
    t.zap(0, 2 * mib, Tables::free);
    t.table.drain(); // would hang inside a section
    ++visits;
  });
  EXPECT_EQ(visits, 2u) << "what the walk had seen is shown";
}

TYPED_TEST(Stage2VisitTest, nothing_is_shown_twice_when_it_is_collapsed_behind_the_walk) {
  typename TestFixture::Under t({.limit = 4 * gib, .entries_per_section = 1});
  t.map_pages(0, 512);
  std::uint64_t next = 0;
  t.table.for_each_leaf(0, gib, [&](const LeafView& leaf) {
    EXPECT_EQ(leaf.address, next);
    EXPECT_EQ(leaf.host, host_base + leaf.address);
    next = leaf.address + leaf.bytes;
    if (leaf.address == 5 * page) EXPECT_EQ(t.collapse(0), CollapseOutcome::collapsed);
    if (leaf.address == 6 * page) EXPECT_EQ(leaf.level, 2u);
  });
  EXPECT_EQ(next, 2 * mib);
}

} // namespace
} // namespace slat::mmu::stage2::testing
