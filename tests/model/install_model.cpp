// The two-phase install of install.hpp: what a walker of the table may find at any moment.
#include "mmu/install.hpp"

#include "model/harness.hpp"

namespace slat::model {
namespace {

using Seq = mmu::InvalidateSeqOf<RelacyAtomics, ModelMutex, 1>;
using mmu::InstallOutcome;

// An entry is empty, FROZEN by one thread, or a host page with a writable bit.
constexpr std::uint64_t empty = 0;
constexpr std::uint64_t writable = 16;
constexpr std::uint64_t page_mask = writable - 1;
constexpr std::uint64_t first_frozen = 64;

constexpr std::uint64_t frozen_of(unsigned thread) {
  return first_frozen + thread;
}

struct Table {
  explicit Table(std::uint64_t first_seq) : seq(first_seq) {
    content[1].set(1);
    current.store(1, std::memory_order_relaxed);
  }

  /// Hardware may use the entry at any moment, and in every execution order.
  void invariant() {
    const std::uint64_t now = entry.load(std::memory_order_relaxed);
    MODEL_CHECK(now >= first_frozen || now == empty || !freed[now & page_mask]);
  }

  /// Maps the page, or makes the mapping writable.
  InstallOutcome fault(unsigned thread, std::uint64_t flags = 0) {
    const std::uint64_t snapshot = seq.snapshot();
    // Acquire: the content, not the freshness, of the page.
    const std::uint64_t page = current.load(std::memory_order_acquire);
    const std::uint64_t old = entry.load(std::memory_order_relaxed);
    if (old >= first_frozen || (old != empty && flags == 0)) return InstallOutcome::lost;
    return mmu::install_entry<RelacyAtomics>(entry, old, frozen_of(thread), page | flags, seq,
                                             snapshot, 0, 1);
  }

  /// Gives the range a new host page, before or after the zap, and frees the old one.
  void invalidate() {
    const std::uint64_t page = ++last_page;
    content[page].set(1);
    const bool replace_first = rl::rand(2) == 0;
    seq.begin(0, 1);
    std::uint64_t old = empty;
    if (replace_first) old = current.exchange(page, std::memory_order_release);
    entry.exchange(empty, std::memory_order_relaxed);
    if (!replace_first) old = current.exchange(page, std::memory_order_release);
    freed[old] = true;
    seq.end(0, 1);
  }

  /// A walker in another thread, reading what the page was filled with.
  void walk() {
    const std::uint64_t found = entry.load(std::memory_order_acquire);
    if (found != empty && found < first_frozen) MODEL_CHECK(content[found & page_mask].get() == 1);
  }

  Seq seq;
  RelacyAtomics::atomic<std::uint64_t> entry{empty};
  RelacyAtomics::atomic<std::uint64_t> current{empty};
  RelacyAtomics::var<int> content[page_mask + 1];
  std::uint64_t last_page = 1; // these two are the model's own notes, not shared memory
  bool freed[page_mask + 1] = {};
};

template <int Faults, int Invalidators, int Rounds>
struct FaultsAndInvalidators
    : Model<FaultsAndInvalidators<Faults, Invalidators, Rounds>, Faults + Invalidators> {
  void invariant() { table.invariant(); }

  void thread(unsigned index) {
    for (int i = 0; i < Rounds; ++i)
      if (index < Faults)
        (void)table.fault(index);
      else
        table.invalidate();
  }

  void after() { MODEL_CHECK(table.seq.count() == 0); }

  Table table{~std::uint64_t(0)};
};

/// An entry that is there already becomes writable, and is emptied meanwhile.
struct Upgrade : Model<Upgrade, 3> {
  void invariant() { table.invariant(); }

  void setup() { MODEL_CHECK(table.fault(0) == InstallOutcome::installed); }

  void thread(unsigned index) {
    if (index == 2) return table.invalidate();
    (void)table.fault(index, writable);
    (void)table.fault(index, writable);
  }

  Table table{0};
};

/// Whoever finds the entry finds the page filled, and an undisturbed fault installs.
struct WalkerSeesContent : Model<WalkerSeesContent, 3> {
  void thread(unsigned index) {
    if (index == 0) {
      table.content[2].set(1);
      table.current.store(2, std::memory_order_relaxed);
      MODEL_CHECK(table.fault(0) == InstallOutcome::installed);
    } else {
      table.walk();
      table.walk();
    }
  }

  Table table{0};
};

constexpr Scenario scenarios[] = {
    MODEL_SCENARIO("one_invalidator", FaultsAndInvalidators<2, 1, 2>),
    MODEL_SCENARIO("two_invalidators", FaultsAndInvalidators<2, 2, 1>),
    MODEL_SMALL_SCENARIO("one_fault", FaultsAndInvalidators<1, 1, 1>),
    MODEL_SCENARIO("upgrade", Upgrade),
    MODEL_SMALL_SCENARIO("walker_sees_content", WalkerSeesContent),
};

} // namespace
} // namespace slat::model

int main(int argc, char** argv) {
  return slat::model::run_models(argc, argv, slat::model::scenarios);
}
