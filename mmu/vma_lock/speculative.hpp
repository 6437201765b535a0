// Speculative page faults: a fault looks its VMA up and copies its fields without any lock, and
// commits once it owns the page, if nothing has changed. Binds SpfVma and the red-black tree to an
// address space. Design 2.
//
// A VMA's life: allocated > live, and in the tree > dead, and out of it > an SRCU grace period > the
// tree's reference is put > the last fault's reference is put > freed, and its backing released.
#pragma once

#include "mmu/srcu.hpp"
#include "mmu/vma_lock/design.hpp"
#include "mmu/vma_lock/spf.hpp"
#include "mmu/vma_lock/vma_rb_tree.hpp"

#include <cstddef>

namespace slat::mmu {

class Speculative {
 public:
  static constexpr VmaLockDesign kind = VmaLockDesign::spf;
  static constexpr bool lockless = true;

  struct alignas(64) Vma : VmaFields<RelaxedField> {
    /// In a write section once it is live.
    void set(const VmaView& view) {
      VmaFields::set(view);
      if (!spf.is_dead()) spf.set_vm_flags(view.flags);
    }

    // By cache lines: the first has what a fault reads and counts in the VMA that it has found; the
    // second ends with what every walk that comes by reads, and is written when links or bounds change
    // and when the VMA has died; the third has what the tree keeps for writers. Faults read it to free
    // the VMA, if at all.
    SpfVma spf;
    Vma* next_written = nullptr; // the writer's lists
    Vma* next_dead = nullptr;

    struct Retire : DeferredCall {
      Vma* vma;
    } retire{};

    RbNode rb;
    Srcu* fault_srcu = nullptr;
  };

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof" // no virtual bases: both compilers define it
  static_assert(offsetof(Vma, spf) + sizeof(SpfVma) <= 64);
  static_assert(offsetof(Vma, rb) >= 64 && offsetof(Vma, rb) + offsetof(RbNode, parent) == 128);
  static_assert(sizeof(Vma) == 192);
#pragma GCC diagnostic pop

  using Tree = VmaRbTree<Vma>;

  Speculative(Srcu& fault_srcu, std::uint64_t) : fault_srcu_(&fault_srcu) {}

  /// No fault is on its way; what is dead is freed before the SRCU domain is.
  ~Speculative() { fault_srcu_->barrier(); }

  Speculative(const Speculative&) = delete;
  Speculative& operator=(const Speculative&) = delete;

  MmLock mm_lock;
  Tree tree;

  /// Only inside a section of the fault SRCU domain. The ticket holds a reference; its view is of one
  /// moment, and may be of the past by the time that it is used: commit() tells.
  VmaTicket begin(std::uintptr_t address) {
    // Bounded: each failure means that a writer was quicker; four are one to queue up behind.
    for (int round = 0; round < 4; ++round) {
      const auto tree_seq = tree.mm_seq().read_begin();
      if (!tree_seq) continue;
      Vma* const vma = tree.find(address);
      const bool held = vma != nullptr && vma->spf.get_not_zero();
      if (tree.mm_seq().read_retry(*tree_seq)) { // the walk was a guess
        if (held) put(*vma);
        continue;
      }
      if (vma == nullptr) return {};
      if (!held) continue;
      if (const auto seq = vma->spf.read_begin()) {
        const VmaView view = vma->view();
        if (!vma->spf.is_dead() && view.contains(address) && !vma->spf.read_retry(*seq))
          return {vma, view, *seq, false};
      }
      put(*vma);
    }
    return {};
  }

  VmaTicket try_begin(std::uintptr_t address) { return begin(address); }

  /// Sleeps for the mm read lock, which stays held until end().
  VmaTicket begin_locked(std::uintptr_t address) SLAT_NO_ANALYSIS {
    mm_lock.lock_shared();
    Vma* const vma = tree.find(address);
    if (vma != nullptr) return {vma, vma->view(), 0, true};
    mm_lock.unlock_shared();
    return {};
  }

  [[nodiscard]] bool commit(const VmaTicket& ticket) const {
    return ticket.by_mm_lock || static_cast<const Vma*>(ticket.vma)->spf.commit(ticket.sequence);
  }

  void end(const VmaTicket& ticket) SLAT_NO_ANALYSIS {
    if (ticket.by_mm_lock)
      mm_lock.unlock_shared();
    else
      put(*static_cast<Vma*>(ticket.vma));
  }

  void write_begin() {}

  void write_end() {
    while (written_ != nullptr) {
      Vma* const vma = std::exchange(written_, written_->next_written);
      vma->spf.write_end();
    }
    // Not earlier: a callback may free them as soon as it is queued.
    while (dead_ != nullptr) {
      Vma* const vma = std::exchange(dead_, dead_->next_dead);
      fault_srcu_->call(vma->retire,
                        [](DeferredCall* call) { put(*static_cast<Vma::Retire*>(call)->vma); });
    }
  }

  void vma_start_write(Vma& vma) {
    if (vma.spf.has_writer()) return;
    vma.spf.write_begin();
    vma.next_written = std::exchange(written_, &vma);
  }

  Vma* vm_area_alloc(const VmaView& view) {
    void* const memory = allocate(sizeof(Vma), alignof(Vma));
    if (memory == nullptr) return nullptr;
    Vma* const vma = new (memory) Vma;
    vma->set(view);
    view.backing->get();
    vma->fault_srcu = fault_srcu_;
    vma->retire.vma = vma;
    live_.fetch_add(1, std::memory_order_relaxed); // a sum
    return vma;
  }

  void vm_area_free(Vma& vma) { free(vma); }

  void vma_mark_attached(Vma& vma) { vma.spf.mark_live(vma.vm_flags); }

  void vma_mark_detached(Vma& vma) { vma.spf.mark_dead(); }

  void release(Vma& vma) { vma.next_dead = std::exchange(dead_, &vma); }

  /// VMAs allocated in the whole process.
  static std::size_t live() { return live_.load(std::memory_order_relaxed); } // a sum

 private:
  static void put(Vma& vma) {
    if (vma.spf.put()) free(vma);
  }

  static void free(Vma& vma) {
    Backing* const backing = vma.vm_backing;
    Srcu* const srcu = vma.fault_srcu;
    deallocate(&vma);
    live_.fetch_sub(1, std::memory_order_relaxed); // a sum
    backing->put_after(*srcu); // the putter may use it until its section ends (I16)
  }

  static inline std::atomic<std::size_t> live_{0};
  Srcu* fault_srcu_;
  Vma* written_ = nullptr; // write sections to end; mm write lock
  Vma* dead_ = nullptr;    // to free; mm write lock
};

} // namespace slat::mmu
