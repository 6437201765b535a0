// The entries of a stage-2 table (stage2/protocol.hpp): two levels of two entries. What hardware may find
// by a walk at any moment, and what becomes of dirty bits.
#include "mmu/stage2/protocol.hpp"

#include "model/harness.hpp"

namespace slat::model {
namespace {

namespace stage2 = mmu::stage2;
using A = RelacyAtomics;
using Seq = mmu::InvalidateSeqOf<A, ModelMutex, 1>;
using stage2::absent_entry;
using stage2::CollapseOutcome;

/// Leaf: present, dirty, size bit, host page from bit 12. Table: present, table, a pointer.
struct ModelFormat {
  static constexpr unsigned fan_out = 2;
  static constexpr std::uint64_t present_bit = 1, table_bit = 2, dirty_bit = 16, size_bit = 32;

  static constexpr std::uint64_t span(unsigned level) { return level == 1 ? 4096 : 8192; }

  static bool present(std::uint64_t e) { return (e & present_bit) != 0; }

  static bool is_table(std::uint64_t e, unsigned level) {
    return level > 1 && present(e) && (e & table_bit) != 0;
  }

  static bool is_leaf(std::uint64_t e, unsigned level) { return present(e) && !is_table(e, level); }

  static std::uint64_t address(std::uint64_t e) {
    return (e & table_bit) != 0 ? e & 0x0000'ffff'ffff'fff8 : e & stage2::address_mask;
  }

  static std::uint64_t table(std::uint64_t page) { return page | present_bit | table_bit; }

  static std::uint64_t leaf(std::uint64_t host, unsigned level) {
    return host << 12 | present_bit | (level > 1 ? size_bit : 0);
  }

  static std::uint64_t part(std::uint64_t e, unsigned, unsigned i) {
    return (e & ~size_bit) + i * span(1);
  }

  static std::uint64_t whole(std::uint64_t e, unsigned) { return e | size_bit; }

  static std::uint64_t history(std::uint64_t e) { return e & dirty_bit; }

  static std::uint64_t cleaned(std::uint64_t e) { return e & ~dirty_bit; }

  static std::uint64_t reserved(std::uint64_t, unsigned level) { return level > 1 ? 4096 : 0; }
};

using F = ModelFormat;
using Page = stage2::TablePage<F, A>;

constexpr unsigned pages = 2;
constexpr unsigned hosts = 16;

struct Table {
  explicit Table(bool huge) {
    for (unsigned i = 0; i < pages; ++i) {
      content[2 + i].set(1);
      current[i].store(2 + i, std::memory_order_relaxed);
    }
    if (huge) {
      top.store(F::leaf(2, 2), std::memory_order_relaxed);
      return;
    }
    Page& child = children[last_child++];
    for (unsigned i = 0; i < pages; ++i)
      child.entries[i].store(F::leaf(2 + i, 1), std::memory_order_relaxed);
    top.store(F::table(stage2::address_of(child)), std::memory_order_relaxed);
  }

  // ---- what there is

  /// The host page by a walk, or 0.
  std::uint64_t walk(unsigned page) {
    std::uint64_t entry = top.load(std::memory_order_acquire);
    if (F::is_leaf(entry, 2)) return (F::address(entry) >> 12) + page;
    if (!F::is_table(entry, 2)) return 0;
    entry = stage2::page_of<F, A>(entry)->entries[page].load(std::memory_order_acquire);
    return F::is_leaf(entry, 1) ? F::address(entry) >> 12 : 0;
  }

  /// Hardware may walk at any moment: it never gets to a freed page (I20), and it always gets to a
  /// page that nobody has begun to zap (I33).
  void invariant() {
    for (unsigned i = 0; i < pages; ++i) {
      const std::uint64_t host = walk(i);
      MODEL_CHECK(host == 0 || !freed[host]);
      MODEL_CHECK(host != 0 || zapped[i]);
    }
  }

  /// A vCPU: in guest mode it walks, and uses what it has found. A flush waits until it is out.
  void read(unsigned page) {
    guest_mode.lock();
    const std::uint64_t host = walk(page);
    if (host != 0) {
      MODEL_CHECK(content[host].get() == 1);
      MODEL_CHECK(!freed[host]); // I27, I36
    } else {
      MODEL_CHECK(zapped[page]); // I33
    }
    guest_mode.unlock();
  }

  void flush() {
    guest_mode.lock();
    guest_mode.unlock();
  }

  // ---- what may happen to it, as stage2_map, _zap and _reshape put the steps together

  void split() {
    const std::uint64_t leaf = top.load(std::memory_order_acquire);
    if (!F::is_leaf(leaf, 2)) return;
    Page& child = children[last_child++];
    stage2::fill_child<F, A>(child, leaf, 2);
    (void)stage2::link_table<F, A>(top, leaf, child);
  }

  CollapseOutcome collapse() {
    const std::uint64_t snapshot = seq.snapshot();
    turns.lock();
    const std::uint64_t table = top.load(std::memory_order_acquire);
    CollapseOutcome outcome = CollapseOutcome::not_alike;
    std::uint64_t leaf = 0;
    if (F::is_table(table, 2)) {
      outcome = stage2::collapse_entry<F, A>(top, table, 2, seq, snapshot, 0, pages, leaf);
      if (outcome == CollapseOutcome::collapsed) {
        flush();
        kill(*stage2::page_of<F, A>(table));
      }
    }
    turns.unlock();
    return outcome;
  }

  void kill(Page& child) {
    const unsigned half = current_half.load(std::memory_order_acquire);
    for (unsigned i = 0; i < pages; ++i)
      (void)stage2::take_entry<A>(child.entries[i], stage2::dead_entry(),
                                  [&](std::uint64_t entry) { note(half, entry, 1, i); });
  }

  /// With its flush, in a section of the takers' domain. (There is one taker: its section is a mutex,
  /// and a grace period takes it once.)
  void zap(unsigned page) {
    takers.lock();
    zap_entries(page, current_half.load(std::memory_order_acquire));
    flush();
    takers.unlock();
  }

  void zap_entries(unsigned page, unsigned half) {
    for (;;) {
      std::uint64_t entry = top.load(std::memory_order_acquire);
      if (F::is_table(entry, 2)) stage2::stop_collapse<A>(top, entry);
      if (F::is_table(entry, 2)) {
        auto& part = stage2::page_of<F, A>(entry)->entries[page];
        std::uint64_t leaf = part.load(std::memory_order_acquire);
        if (leaf == absent_entry) return;
        if (stage2::is_dead(leaf)) continue; // something else is in the table's place
        zapped[page] = true;
        if (stage2::zap_entry<A>(part, leaf, [&](std::uint64_t e) { note(half, e, 1, page); }))
          return;
        continue;
      }
      if (entry == absent_entry) return;
      zapped[0] = zapped[1] = true; // a huge leaf goes as a whole
      if (stage2::zap_entry<A>(top, entry, [&](std::uint64_t e) { note(half, e, 2, 0); })) return;
    }
  }

  /// Gives the page another host page, and frees the old one.
  void invalidate(unsigned page) {
    const std::uint64_t host = ++last_host;
    content[host].set(1);
    seq.begin(page, page + 1);
    zap(page);
    freed[current[page].exchange(host, std::memory_order_release)] = true;
    seq.end(page, page + 1);
  }

  void fault(unsigned thread, unsigned page) {
    const std::uint64_t snapshot = seq.snapshot();
    const std::uint64_t host = current[page].load(std::memory_order_acquire);
    std::uint64_t entry = top.load(std::memory_order_acquire);
    if (entry == absent_entry) {
      Page& child = children[last_child++];
      if (!stage2::link_table<F, A>(top, entry, child)) return;
      entry = F::table(stage2::address_of(child));
    }
    if (!F::is_table(entry, 2)) return;
    auto& part = stage2::page_of<F, A>(entry)->entries[page];
    if (part.load(std::memory_order_acquire) != absent_entry) return;
    (void)mmu::install_entry<A>(part, absent_entry, stage2::frozen_bit | (thread + 1) << 12,
                                F::leaf(host, 1), seq, snapshot, page, page + 1);
  }

  // ---- dirtiness

  static bool is_dirty(std::uint64_t entry, unsigned level) {
    return F::is_leaf(entry, level) && (entry & F::dirty_bit) != 0;
  }

  void note(unsigned half, std::uint64_t entry, unsigned level, unsigned page) {
    if (is_dirty(entry, level) || stage2::is_frozen(entry))
      log[half].fetch_or(level == 1 ? 1u << page : 3u, std::memory_order_relaxed);
  }

  /// Hardware writes: true if it could.
  bool write(unsigned page) {
    auto* entry = &top;
    unsigned level = 2;
    std::uint64_t value = top.load(std::memory_order_acquire);
    for (;;) {
      if (F::is_table(value, level)) {
        entry = &stage2::page_of<F, A>(value)->entries[page];
        level = 1;
        value = entry->load(std::memory_order_acquire);
      }
      if (!F::is_leaf(value, level)) return false;
      const std::uint64_t used = value | F::dirty_bit;
      if (used == value || entry->compare_exchange_strong(value, used, std::memory_order_acquire,
                                                          std::memory_order_acquire))
        return true;
    }
  }

  void clean_entry(unsigned half, A::atomic<std::uint64_t>& entry, std::uint64_t& value,
                   unsigned level, unsigned page) {
    while (is_dirty(value, level)) {
      note(half, value, level, page);
      if (stage2::change_leaf<A>(entry, value, F::cleaned(value))) return;
    }
  }

  /// The pages that were written since the last call.
  std::uint64_t read_dirty() {
    turns.lock();
    const unsigned half = current_half.load(std::memory_order_relaxed);
    for (unsigned i = 0; i < pages; ++i) {
      std::uint64_t value = top.load(std::memory_order_acquire);
      clean_entry(half, top, value, 2, 0);
      while (F::is_table(value, 2)) {
        auto& part = stage2::page_of<F, A>(value)->entries[i];
        std::uint64_t leaf = part.load(std::memory_order_acquire);
        clean_entry(half, part, leaf, 1, i);
        if (!stage2::is_dead(leaf)) break;
        value = top.load(std::memory_order_acquire);
      }
    }
    flush();
    std::uint64_t found = 0;
    for (int halves = 0; halves < 2; ++halves) {
      const unsigned old = current_half.load(std::memory_order_relaxed);
      current_half.store(1 - old, std::memory_order_release);
      takers.lock(); // a grace period
      takers.unlock();
      found |= log[old].exchange(0, std::memory_order_relaxed);
    }
    turns.unlock();
    return found;
  }

  A::atomic<std::uint64_t> top{absent_entry};
  Page children[8];
  Seq seq{~std::uint64_t(0)};
  ModelMutex turns;
  ModelMutex guest_mode; // of the one vCPU
  A::atomic<std::uint64_t> current[pages];
  A::atomic<std::uint64_t> log[2];
  A::atomic<unsigned> current_half{0};
  ModelMutex takers;
  A::var<int> content[hosts];
  // The model's own notes, not shared memory.
  unsigned last_child = 0;
  std::uint64_t last_host = 3;
  bool freed[hosts] = {};
  bool zapped[pages] = {};
};

/// A split, a fault, a zap of either page, and a walker.
struct SplitFaultZap : Model<SplitFaultZap, 4> {
  void invariant() { table.invariant(); }

  void thread(unsigned index) {
    const unsigned page = rl::rand(pages);
    if (index == 0) table.split();
    if (index == 1) table.invalidate(page);
    if (index == 2) {
      table.fault(index, page);
      table.fault(index, page);
    }
    if (index == 3) {
      table.read(page);
      table.read(page);
    }
  }

  Table table{true};
};

/// A collapse, a fault and zaps.
template <int Zappers> struct CollapseZap : Model<CollapseZap<Zappers>, 2 + Zappers> {
  void invariant() { table.invariant(); }

  void thread(unsigned index) {
    const unsigned page = rl::rand(pages);
    if (index == 0) {
      (void)table.collapse();
      (void)table.collapse();
    } else if (index == 1) {
      table.fault(index, page);
      table.read(page);
    } else {
      table.invalidate(page);
    }
  }

  Table table{false};
};

/// The smallest: one collapse, one zap.
struct CollapseZapSmall : Model<CollapseZapSmall, 2> {
  void invariant() { table.invariant(); }

  void thread(unsigned index) {
    if (index == 0)
      (void)table.collapse();
    else
      table.invalidate(1);
  }

  Table table{false};
};

/// Undisturbed, both succeed, and a walker never misses.
struct SplitCollapse : Model<SplitCollapse, 2> {
  void invariant() { table.invariant(); }

  void thread(unsigned index) {
    if (index == 0) {
      table.split();
      MODEL_CHECK(F::is_table(table.top.load(), 2));
      MODEL_CHECK(table.collapse() == CollapseOutcome::collapsed);
      MODEL_CHECK(F::is_leaf(table.top.load(), 2));
    } else {
      table.read(0);
      table.read(1);
    }
  }

  Table table{true};
};

/// A page that is copied whenever the log tells of it is the same in the end (I31, I32), whatever
/// happens to its entry meanwhile. And a write that was over before a reading is in it.
enum class Meanwhile { zap, split, collapse };

template <Meanwhile What> struct DirtyLogModel : Model<DirtyLogModel<What>, 3> {
  void thread(unsigned index) {
    if (index == 0) {
      table.guest_mode.lock();
      if (table.write(1)) { // sets D; from here on the TLB lets writes pass. Release: as on x86
        data.store(1, std::memory_order_release);
        data.store(2, std::memory_order_release);
      }
      table.guest_mode.unlock();
    } else if (index == 1) {
      if (What == Meanwhile::zap) {
        table.zap(1);
      }
      if (What == Meanwhile::split) table.split();
      if (What == Meanwhile::collapse) (void)table.collapse();
    } else {
      read();
      read();
    }
  }

  void read() {
    const std::uint64_t before = data.load(std::memory_order_acquire);
    if ((table.read_dirty() & 2) != 0) copy = data.load(std::memory_order_relaxed);
    MODEL_CHECK(copy >= before);
  }

  void after() {
    read();
    MODEL_CHECK(copy == data.load(std::memory_order_relaxed));
  }

  Table table{What == Meanwhile::split};
  A::atomic<std::uint64_t> data{0};
  std::uint64_t copy = 0; // the reader's
};

/// An entry is cleaned and zapped at once.
struct CleanZap : Model<CleanZap, 3> {
  void invariant() { table.invariant(); }

  void thread(unsigned index) {
    if (index == 0) (void)table.write(1);
    if (index == 1) (void)table.read_dirty();
    if (index == 2) table.invalidate(1);
  }

  Table table{false};
};

constexpr Scenario scenarios[] = {
    MODEL_SCENARIO("split_fault_zap", SplitFaultZap),
    MODEL_SCENARIO("collapse_zap", CollapseZap<1>),
    MODEL_SCENARIO("collapse_two_zaps", CollapseZap<2>),
    MODEL_SMALL_SCENARIO("collapse_zap_small", CollapseZapSmall),
    MODEL_SCENARIO("split_collapse", SplitCollapse),
    MODEL_SCENARIO("clean_zap", CleanZap),
    MODEL_SCENARIO("dirty_zap", DirtyLogModel<Meanwhile::zap>),
    MODEL_SCENARIO("dirty_split", DirtyLogModel<Meanwhile::split>),
    MODEL_SCENARIO("dirty_collapse", DirtyLogModel<Meanwhile::collapse>),
};

} // namespace
} // namespace slat::model

int main(int argc, char** argv) {
  return slat::model::run_models(argc, argv, slat::model::scenarios);
}
