// What a speculative fault needs of a VMA, step by step; then unmaps and adjusts against faults on
// real threads.
#include "mmu/vma_lock/spf.hpp"

#include "hooked_atomics.hpp"
#include "support.hpp"

namespace slat::mmu {
namespace {

using testing::eventually;
using testing::HookedAtomics;

TEST(RelaxedField, reads_and_assigns_like_the_value) {
  int target = 7;
  RelaxedField<int*> pointer;
  EXPECT_EQ(pointer, nullptr);
  pointer = &target;
  EXPECT_EQ(*pointer, 7);
  RelaxedField<std::uintptr_t> start(4096);
  RelaxedField<std::uintptr_t> end;
  end = start;
  EXPECT_TRUE(start <= 4096 && 4096 <= end);
  end = start + 4096;
  EXPECT_EQ(end - start, 4096u);
  static_assert(sizeof(start) == sizeof(std::uintptr_t));
}

TEST(MmSeq, I17_is_odd_while_a_writer_is_inside_and_new_afterwards) {
  MmSeq seq;
  const auto before = seq.read_begin();
  ASSERT_TRUE(before);
  EXPECT_FALSE(seq.read_retry(*before));
  seq.write_begin();
  EXPECT_TRUE(seq.has_writer());
  EXPECT_FALSE(seq.read_begin()) << "no snapshot of a change under way";
  EXPECT_TRUE(seq.read_retry(*before)) << "bumped before the change, not only after it";
  seq.write_end();
  EXPECT_FALSE(seq.has_writer());
  EXPECT_TRUE(seq.read_retry(*before));
  EXPECT_NE(seq.read_begin(), before);
}

TEST(SpfVma, is_born_dead_and_without_references) {
  SpfVma vma;
  EXPECT_TRUE(vma.is_dead());
  EXPECT_FALSE(vma.get_not_zero());
  vma.mark_live(0);
  EXPECT_FALSE(vma.is_dead()) << "a VMA that allows nothing is alive";
  EXPECT_EQ(vma.vm_flags(), 0u);
  EXPECT_EQ(vma.vm_refs(), 1u);
}

TEST(SpfVma, I15_last_put_is_told_and_nobody_counts_from_zero) {
  SpfVma vma;
  vma.mark_live(3);
  EXPECT_TRUE(vma.get_not_zero());
  EXPECT_FALSE(vma.put()) << "the tree's is left";
  EXPECT_TRUE(vma.get_not_zero());
  EXPECT_FALSE(vma.put());
  EXPECT_TRUE(vma.put());
  EXPECT_FALSE(vma.get_not_zero());
  EXPECT_EQ(vma.vm_refs(), 0u);
}

TEST(SpfVma, I15_reader_that_loses_to_the_last_put_gets_nothing) {
  SpfVmaOf<HookedAtomics> vma;
  vma.mark_live(3);
  HookedAtomics::before_cas = [&] { EXPECT_TRUE(vma.put()); };
  EXPECT_FALSE(vma.get_not_zero());
  EXPECT_EQ(vma.vm_refs(), 0u);
}

TEST(SpfVma, I15_reference_limit_is_a_refusal_and_no_overflow) {
  SpfVma vma;
  vma.mark_live(3);
  testing::raw<std::uint32_t>(vma) = SpfVma::vm_ref_limit;
  EXPECT_FALSE(vma.get_not_zero());
  EXPECT_EQ(vma.vm_refs(), SpfVma::vm_ref_limit);
}

TEST(SpfVma, I14_commits_only_if_nobody_has_been_inside) {
  SpfVma vma;
  vma.mark_live(3);
  auto seq = vma.read_begin();
  ASSERT_TRUE(seq);
  EXPECT_TRUE(vma.commit(*seq));
  vma.write_begin();
  EXPECT_FALSE(vma.commit(*seq));
  EXPECT_TRUE(vma.read_retry(*seq));
  EXPECT_FALSE(vma.read_begin());
  vma.set_vm_flags(1);
  vma.write_end();
  EXPECT_FALSE(vma.commit(*seq)) << "the writer has come and gone";
  seq = vma.read_begin();
  ASSERT_TRUE(seq);
  EXPECT_EQ(vma.vm_flags(), 1u);
  EXPECT_TRUE(vma.commit(*seq));
}

TEST(SpfVma, I14_dead_vma_is_never_committed) {
  SpfVma vma;
  vma.mark_live(3);
  const auto before = vma.read_begin();
  vma.write_begin();
  vma.mark_dead();
  vma.write_end();
  EXPECT_TRUE(vma.is_dead());
  EXPECT_EQ(vma.vm_flags(), 0u);
  EXPECT_FALSE(vma.commit(*before));
  const auto after = vma.read_begin(); // found late, by way of a stale walk
  ASSERT_TRUE(after);
  EXPECT_FALSE(vma.commit(*after));
  EXPECT_TRUE(vma.get_not_zero()) << "its memory is there as long as the tree's reference";
  EXPECT_FALSE(vma.put());
}

TEST(SpfVma, I09_snapshot_of_one_life_never_fits_another) {
  SpfVma vma;
  vma.mark_live(3);
  const auto first_life = vma.read_begin();
  vma.write_begin();
  vma.mark_dead();
  vma.write_end();
  EXPECT_TRUE(vma.put());
  vma.mark_live(3);
  EXPECT_FALSE(vma.commit(*first_life));
}

TEST(SpfVma, I09_sequence_crosses_its_wraps) {
  for (const std::uint64_t wrap :
       {std::uint64_t(1) << 31, std::uint64_t(1) << 32, std::uint64_t(0)}) {
    SpfVma vma(wrap - 4);
    vma.mark_live(3);
    for (int i = 0; i < 4; ++i) {
      const auto seq = vma.read_begin();
      ASSERT_TRUE(seq) << wrap << ", " << i;
      EXPECT_TRUE(vma.commit(*seq));
      vma.write_begin();
      EXPECT_FALSE(vma.read_begin());
      vma.write_end();
      EXPECT_FALSE(vma.commit(*seq));
    }
  }
}

/// One page of a VMA whose memory is plain: TSan and the pattern tell of a fill behind the unmapper.
struct Mapping {
  SpfVma vma;
  PageWord page;
  std::uint64_t content = 0;
};

TEST(SpfRace, I13_I14_nothing_is_filled_behind_the_unmapper) {
  Mapping mapping;
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> fills{0};
  mapping.vma.mark_live(3);
  std::vector<std::thread> faults;
  for (int t = 0; t < 2; ++t)
    faults.emplace_back([&] {
      for (unsigned round = 0; !stop; ++round) {
        const auto seq = mapping.vma.read_begin();
        if (round % 4 == 0)
          std::this_thread::yield(); // resolves the page, meanwhile it is unmapped
        PageState was{};
        if (!seq || mapping.page.claim_fill(was) != FillClaim::claimed) {
          std::this_thread::yield();
          continue;
        }
        const bool mine = mapping.vma.commit(*seq);
        if (mine) ++mapping.content;
        mapping.page.finish_fill(mine ? PageState::present : was);
        if (mine) ++fills;
      }
    });
  for (int round = 0; round < 3000; ++round) {
    if (round % 8 == 0) {
      const std::uint64_t seen = fills.load();
      EXPECT_TRUE(eventually([&] {
        return fills.load() != seen || mapping.page.read().state() == PageState::present;
      }));
    }
    mapping.vma.write_begin();
    const PageBits bits = mapping.page.read();
    if (bits.owned() || bits.state() != PageState::none) {
      mapping.page.lock();
      mapping.page.unlock_empty();
    }
    mapping.content = 0; // the memory is somebody else's now
    for (int i = 0; i < round % 4; ++i) std::this_thread::yield();
    EXPECT_EQ(mapping.content, 0u) << "filled behind the unmapper";
    EXPECT_NE(mapping.page.read().state(), PageState::present);
    mapping.vma.write_end();
  }
  stop = true;
  for (std::thread& fault : faults) fault.join();
}

TEST(SpfRace, I17_fields_of_a_committed_fault_are_of_one_version) {
  SpfVma vma;
  RelaxedField<std::uint64_t> fields[4];
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> reads{0};
  vma.mark_live(3);
  std::vector<std::thread> readers;
  for (int t = 0; t < 2; ++t)
    readers.emplace_back([&] {
      while (!stop) {
        const auto seq = vma.read_begin();
        if (!seq) continue;
        std::uint64_t copies[4];
        for (int i = 0; i < 4; ++i) copies[i] = fields[i];
        if (vma.read_retry(*seq)) continue;
        for (const std::uint64_t copy : copies) EXPECT_EQ(copy, *seq / 2);
        ++reads;
      }
    });
  for (std::uint64_t version = 1; version <= 20000; ++version) {
    if (version % 256 == 0) {
      const std::uint64_t seen = reads.load();
      EXPECT_TRUE(eventually([&] { return reads.load() != seen; }));
    }
    vma.write_begin();
    for (RelaxedField<std::uint64_t>& field : fields) field = version;
    vma.write_end();
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
}

TEST(SpfDeathTest, rules_of_the_writer_are_asserted) {
  if (!testing::checked_build) GTEST_SKIP() << "asserted in checked builds only";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  SpfVma vma;
  EXPECT_DEATH(vma.write_end(), "no writer is inside");
  EXPECT_DEATH(vma.mark_dead(), "outside a write section");
  EXPECT_DEATH((void)vma.put(), "nobody has a reference");
  vma.mark_live(0);
  EXPECT_DEATH(vma.mark_live(0), "another life");
  vma.write_begin();
  EXPECT_DEATH(vma.write_begin(), "inside already");
}

} // namespace
} // namespace slat::mmu
