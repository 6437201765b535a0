// The tree of VMAs: readers under RCU against a writer that replaces VMAs all the time.
// A VMA that was removed is overwritten and freed after a grace period, so a lookup that is neither
// old nor new (I11), or a map that is freed too early, shows.
#include "mmu/rcu.hpp"
#include "mmu/vma_tree.hpp"
#include "torture.hpp"

using namespace slat;

namespace {

constexpr std::uintptr_t slots = 64;      // 16 pages each
constexpr std::uintptr_t slot_pages = 16; // the first page is always mapped in even slots
constexpr std::uintptr_t poison = 0xdead000;

struct Item : mmu::DeferredCall {
  mmu::Vma vma;
};

class TreeTorture {
 public:
  TreeTorture() {
    for (std::uintptr_t slot = 0; slot < slots; slot += 2) replace(slot, fresh(slot, slot_pages));
  }

  ~TreeTorture() {
    for (std::uintptr_t slot = 0; slot < slots; ++slot)
      if (items_[slot] != nullptr) replace(slot, nullptr);
    mmu::rcu::barrier();
  }

  void read(torture::Worker& worker) {
    const std::uintptr_t slot = worker.below(slots);
    const std::uintptr_t page = worker.one_in(2) ? 0 : worker.below(slot_pages);
    const std::uintptr_t at = ((slot * slot_pages + page) << mmu::page_shift) + worker.below(4096);
    const mmu::rcu::ReadGuard section;
    const mmu::Vma* const vma = tree_.find(at);
    if (vma == nullptr) {
      torture::check(slot % 2 != 0 || page != 0, "page {} of slot {} is lost (I11)", page, slot);
      return;
    }
    hits_.fetch_add(1, std::memory_order_relaxed);
    torture::check(vma->contains(at), "looked up {:#x}, found [{:#x}, {:#x})", at, vma->vm_start,
                   vma->vm_end);
  }

  void write(torture::Worker& worker) {
    const std::uintptr_t slot = worker.below(slots);
    const bool empty = slot % 2 != 0 && worker.one_in(2);
    replace(slot, empty ? nullptr : fresh(slot, 1 + worker.below(slot_pages)));
    changes_.fetch_add(1, std::memory_order_relaxed);
  }

  [[nodiscard]] std::string summary() const {
    return fmt::format("{} lookups found a VMA, {} changes", hits_.load(), changes_.load());
  }

 private:
  static Item* fresh(std::uintptr_t slot, std::uintptr_t pages) {
    auto* const item = new Item;
    item->vma.vm_start = (slot * slot_pages) << mmu::page_shift;
    item->vma.vm_end = item->vma.vm_start + (pages << mmu::page_shift);
    return item;
  }

  void replace(std::uintptr_t slot, Item* item) {
    Item* const old = items_[slot];
    mmu::Vma* const removed = old != nullptr ? &old->vma : nullptr;
    mmu::Vma* const inserted = item != nullptr ? &item->vma : nullptr;
    auto prepared = tree_.prepare({&removed, removed != nullptr ? 1u : 0u},
                                  {&inserted, inserted != nullptr ? 1u : 0u});
    if (!prepared) {
      torture::report_failure(prepared.error().message);
      delete item;
      return;
    }
    tree_.commit(std::move(*prepared));
    items_[slot] = item;
    if (old != nullptr)
      mmu::rcu::call(*old, [](mmu::DeferredCall* head) {
        auto* const dead = static_cast<Item*>(head);
        dead->vma.vm_start = poison;
        dead->vma.vm_end = poison;
        delete dead;
      });
  }

  mmu::VmaTree tree_;
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
