#include "mmu/vma_tree.hpp"

#include "mmu/alloc.hpp"
#include "mmu/rcu.hpp"
#include "support.hpp"

#include <map>
#include <random>

namespace slat::mmu {
namespace {

using testing::eventually;

std::unique_ptr<Vma> make_vma(std::uintptr_t first_page, std::uintptr_t end_page) {
  auto vma = std::make_unique<Vma>();
  vma->vm_start = first_page << page_shift;
  vma->vm_end = end_page << page_shift;
  return vma;
}

void change(VmaTree& tree, std::vector<Vma*> remove, std::vector<Vma*> insert) {
  auto prepared = tree.prepare(remove, insert);
  ASSERT_TRUE(prepared) << testing::why(prepared);
  tree.commit(std::move(*prepared));
}

TEST(VmaTree, empty_tree_finds_nothing) {
  const VmaTree tree;
  EXPECT_EQ(tree.find(0), nullptr);
  EXPECT_EQ(tree.find(~std::uintptr_t(0)), nullptr);
  EXPECT_TRUE(tree.overlapping(0, ~std::uintptr_t(0)).empty());
  EXPECT_TRUE(tree.all().empty());
}

TEST(VmaTree, start_belongs_to_a_vma_and_end_does_not) {
  VmaTree tree;
  const auto vma = make_vma(10, 20);
  const auto next = make_vma(20, 21);
  change(tree, {}, {next.get(), vma.get()});
  EXPECT_EQ(tree.find((10u << page_shift) - 1), nullptr);
  EXPECT_EQ(tree.find(10u << page_shift), vma.get());
  EXPECT_EQ(tree.find((20u << page_shift) - 1), vma.get());
  EXPECT_EQ(tree.find(20u << page_shift), next.get());
  EXPECT_EQ(tree.find(21u << page_shift), nullptr);
  EXPECT_EQ(tree.overlapping(20u << page_shift, 30u << page_shift).size(), 1u);
  EXPECT_EQ(tree.overlapping(0, 10u << page_shift).size(), 0u);
  EXPECT_EQ(tree.overlapping(19u << page_shift, 21u << page_shift).size(), 2u);
}

TEST(VmaTree, agrees_with_a_map_under_random_changes) {
  for (const std::uint32_t seed : {1u, 2u, 3u}) {
    std::mt19937 random(seed);
    constexpr std::uintptr_t pages = 200;
    VmaTree tree;
    std::map<std::uintptr_t, std::unique_ptr<Vma>> model; // by first page
    const auto model_overlapping = [&](std::uintptr_t start, std::uintptr_t end) {
      std::vector<Vma*> found;
      for (const auto& [first, vma] : model)
        if (vma->vm_start < end && start < vma->vm_end) found.push_back(vma.get());
      return found;
    };
    for (int step = 0; step < 400; ++step) {
      const std::uintptr_t first = random() % pages;
      const std::uintptr_t end = first + 1 + random() % 12;
      const std::vector<Vma*> in_the_way =
          model_overlapping(first << page_shift, end << page_shift);
      auto fresh = make_vma(first, end);
      std::vector<Vma*> insert;
      if (random() % 3 != 0) insert.push_back(fresh.get());
      change(tree, in_the_way, insert);
      for (Vma* vma : in_the_way) model.erase(vma->vm_start >> page_shift);
      if (!insert.empty()) model[first] = std::move(fresh);

      ASSERT_EQ(tree.all().size(), model.size()) << "seed " << seed << " step " << step;
      std::size_t i = 0;
      for (const auto& entry : model) ASSERT_EQ(tree.all()[i++], entry.second.get());
      for (std::uintptr_t page = 0; page < pages + 20; ++page) {
        const std::uintptr_t at = (page << page_shift) + random() % page_size;
        const auto expected = model_overlapping(at, at + 1);
        ASSERT_EQ(tree.find(at), expected.empty() ? nullptr : expected.front())
            << "seed " << seed << " step " << step << " page " << page;
      }
      const std::uintptr_t a = (random() % pages) << page_shift;
      const std::uintptr_t b = a + ((1 + random() % 40) << page_shift);
      const auto got = tree.overlapping(a, b);
      ASSERT_EQ(std::vector<Vma*>(got.begin(), got.end()), model_overlapping(a, b));
    }
  }
}

TEST(VmaTree, prepared_change_that_is_dropped_or_fails_has_no_effect) {
  VmaTree tree;
  const auto vma = make_vma(1, 2);
  const auto other = make_vma(3, 4);
  Vma* const kept = vma.get();
  Vma* const refused = other.get();
  change(tree, {}, {kept});
  {
    const auto prepared = tree.prepare({&kept, 1}, {&refused, 1});
    ASSERT_TRUE(prepared);
  }
  fail_allocation(1);
  const auto failed = tree.prepare({}, {&refused, 1});
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Errc::no_memory);
  EXPECT_EQ(tree.find(kept->vm_start), kept);
  EXPECT_EQ(tree.find(refused->vm_start), nullptr);
}

TEST(VmaTree, I11_reader_under_RCU_sees_the_old_map_or_the_new_one) {
  // Ten pages are covered at all times: by one VMA, by two, or by ten.
  VmaTree tree;
  const auto whole = make_vma(0, 10);
  const auto left = make_vma(0, 4);
  const auto right = make_vma(4, 10);
  std::vector<std::unique_ptr<Vma>> singles;
  std::vector<std::vector<Vma*>> layouts = {{whole.get()}, {left.get(), right.get()}, {}};
  for (std::uintptr_t page = 0; page < 10; ++page) {
    singles.push_back(make_vma(page, page + 1));
    layouts[2].push_back(singles.back().get());
  }
  change(tree, {}, layouts[0]);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> lookups{0};
  std::vector<std::thread> readers;
  for (std::uintptr_t t = 0; t < 2; ++t)
    readers.emplace_back([&, t] {
      for (std::uintptr_t page = t; !stop; page = (page + 3) % 10) {
        const rcu::ReadGuard section;
        const std::uintptr_t at = page << page_shift;
        const Vma* const vma = tree.find(at);
        EXPECT_NE(vma, nullptr) << "page " << page;
        if (vma != nullptr) {
          EXPECT_TRUE(vma->contains(at)) << "page " << page;
        }
        ++lookups;
      }
    });
  ASSERT_TRUE(eventually([&] { return lookups.load() > 0; }));
  for (std::size_t step = 0; step < 3000; ++step)
    change(tree, layouts[step % 3], layouts[(step + 1) % 3]);
  stop = true;
  for (std::thread& reader : readers) reader.join();
  rcu::barrier();
}

TEST(VmaTreeDeathTest, overlapping_vmas_are_refused) {
  if (!testing::checked_build) GTEST_SKIP() << "asserted in checked builds only";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  VmaTree tree;
  const auto one = make_vma(1, 5);
  const auto two = make_vma(4, 6);
  Vma* const both[] = {one.get(), two.get()};
  EXPECT_DEATH((void)tree.prepare({}, both), "overlap");
}

} // namespace
} // namespace slat::mmu
