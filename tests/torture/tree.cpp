// The range tree: readers under RCU against a writer that replaces ranges all the time, one by one
// and many in one edit. A range that was removed is overwritten and freed after a grace period, so a
// lookup that is neither old nor new (I11), or a node that is freed too early, shows.
#include "mmu/range_tree.hpp"
#include "mmu/rcu.hpp"
#include "torture.hpp"

#include <vector>

using namespace slat;

namespace {

constexpr std::uintptr_t slots = 512;     // 16 pages each: a tree of three levels
constexpr std::uintptr_t slot_pages = 16; // the first page is always mapped in even slots
constexpr unsigned page_shift = 12;
constexpr std::uintptr_t poison = 0xdead000;

struct Item : mmu::DeferredCall {
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;
};

using Tree = mmu::RangeTree<Item>;

class TreeTorture {
 public:
  TreeTorture() {
    for (std::uintptr_t slot = 0; slot < slots; slot += 2) replace(slot, {fresh(slot, slot_pages)});
  }

  ~TreeTorture() {
    const std::string problem = tree_.base().check();
    torture::check(problem.empty(), "in the end: {}", problem);
    replace(0, std::vector<Item*>(slots, nullptr));
    torture::check(tree_.size() == 0, "{} entries in an empty tree", tree_.size());
    mmu::rcu::barrier();
  }

  void read(torture::Worker& worker) {
    if (worker.one_in(64)) return walk();
    const std::uintptr_t slot = worker.below(slots);
    const std::uintptr_t page = worker.one_in(2) ? 0 : worker.below(slot_pages);
    const std::uintptr_t at = ((slot * slot_pages + page) << page_shift) + worker.below(4096);
    const mmu::rcu::ReadGuard section;
    const Item* const item = tree_.find(at);
    if (item == nullptr) {
      torture::check(slot % 2 != 0 || page != 0, "page {} of slot {} is lost (I11)", page, slot);
      return;
    }
    hits_.fetch_add(1, std::memory_order_relaxed);
    torture::check(item->start <= at && at < item->end, "looked up {:#x}, found [{:#x}, {:#x})", at,
                   item->start, item->end);
  }

  void write(torture::Worker& worker) {
    const std::uintptr_t most = worker.one_in(8) ? 100 : 1;
    const std::uintptr_t first = worker.below(slots);
    const std::uintptr_t count = 1 + worker.below(std::min(most, slots - first));
    std::vector<Item*> items;
    for (std::uintptr_t slot = first; slot < first + count; ++slot) {
      const bool empty = slot % 2 != 0 && worker.one_in(2);
      items.push_back(empty ? nullptr : fresh(slot, 1 + worker.below(slot_pages)));
    }
    replace(first, items);
    changes_.fetch_add(1, std::memory_order_relaxed);
  }

  [[nodiscard]] std::string summary() const {
    return fmt::format("{} lookups found a range, {} changes", hits_.load(), changes_.load());
  }

 private:
  static Item* fresh(std::uintptr_t slot, std::uintptr_t pages) {
    auto* const item = new Item;
    item->start = (slot * slot_pages) << page_shift;
    item->end = item->start + (pages << page_shift);
    return item;
  }

  /// All entries of one version, in order and without one lost.
  void walk() const {
    std::uintptr_t end = 0;
    std::uintptr_t even_slots = 0;
    const mmu::rcu::ReadGuard section;
    tree_.for_each(0, UINTPTR_MAX, [&](const Tree::Entry& entry) {
      torture::check(entry.start >= end && entry.start == entry.value->start &&
                         entry.end == entry.value->end,
                     "[{:#x}, {:#x}) after {:#x} is [{:#x}, {:#x})", entry.start, entry.end, end,
                     entry.value->start, entry.value->end);
      end = entry.end;
      if ((entry.start >> page_shift) / slot_pages % 2 == 0) ++even_slots;
    });
    torture::check(even_slots == slots / 2, "{} even slots (I11)", even_slots);
  }

  /// Puts items (nullptr: none) into the slots from `first`.
  void replace(std::uintptr_t first, const std::vector<Item*>& items) {
    std::vector<Tree::Entry> entries;
    for (Item* const item : items)
      if (item != nullptr) entries.push_back({item->start, item->end, item});
    auto edit = tree_.edit();
    const auto done = edit.replace((first * slot_pages) << page_shift,
                                   ((first + items.size()) * slot_pages) << page_shift, entries);
    if (!done) {
      torture::report_failure(done.error().message);
      for (Item* const item : items) delete item;
      return;
    }
    edit.commit();
    for (std::size_t i = 0; i < items.size(); ++i)
      if (Item* const old = std::exchange(items_[first + i], items[i]); old != nullptr)
        mmu::rcu::call(*old, [](mmu::DeferredCall* head) {
          auto* const dead = static_cast<Item*>(head);
          dead->start = poison;
          dead->end = poison;
          delete dead;
        });
  }

  Tree tree_;
  Item* items_[slots] = {}; // the writer's
  std::atomic<std::uint64_t> hits_{0};
  std::atomic<std::uint64_t> changes_{0};
};

} // namespace

int main(int argc, char** argv) {
  torture::Torture torture("tree", argc, argv, 2);
  TreeTorture tree;
  for (unsigned i = 0; i < torture.threads(); ++i)
    torture.add_worker(fmt::format("reader {}", i), [&](torture::Worker& w) { tree.read(w); });
  torture.add_worker("writer",
                     [&](torture::Worker& w) { tree.write(w); }); // one: the mm write lock
  const auto summary = [&] { return tree.summary(); };
  return torture.run(summary, summary);
}
