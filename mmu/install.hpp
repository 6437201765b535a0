// Two-phase install into a table that hardware or another walker reads at any time.
//
//   fault        (1) CAS old -> FROZEN  (2) fence, staleness check  (3) CAS FROZEN -> final, or back
//   invalidator  begin() bumps the count and fences; then exchange(entry, empty) on every entry in
//                the range, FROZEN ones included; end()
//
// Either the check in (2) sees the range, or the exchange comes after (1) and the CAS in (3) fails:
// a stale entry is never visible, not even for one access. FROZEN is changed only by who set it, or
// emptied by an invalidator (I29). With one phase (check, then store) the exchange can fall between
// the two.
//
// Each thread needs a FROZEN value of its own. With one value for all: A freezes and finds itself
// fresh; the invalidator empties the entry; B, started afterwards, freezes it again; A's last CAS
// finds "its" FROZEN and publishes the page that was just invalidated. The model refutes that.
#pragma once

#include "mmu/invalidate_seq.hpp"

#include <cstdint>

namespace slat::mmu {

enum class InstallOutcome {
  installed,
  lost,        // another fault owns or has filled the entry: walk again
  moved,       // a range ended since the snapshot, or emptied the entry: start again
  in_progress, // a range in progress covers the address: wait, then start again
};

/// Installs `final_entry` over `old_entry`. `frozen` is not-present to every walker, differs from
/// both and from the value of every other thread that may install here at the same time. `snapshot`
/// was taken before the page was resolved (I21). Does not sleep. No lock needed; inside an RCU
/// section if the entry lives in a table page that is freed by grace period.
template <class A, class Seq>
[[nodiscard]] InstallOutcome
install_entry(typename A::template atomic<std::uint64_t>& entry, std::uint64_t old_entry,
              std::uint64_t frozen, std::uint64_t final_entry, const Seq& seq,
              std::uint64_t snapshot, std::uint64_t start, std::uint64_t end) {
  std::uint64_t expected = old_entry;
  // Relaxed: publishes nothing but the intent, which the fence orders before the check.
  if (!entry.compare_exchange_strong(expected, frozen, std::memory_order_relaxed,
                                     std::memory_order_relaxed))
    return InstallOutcome::lost;
  A::fence_after_rmw(); // pairs with the fence in InvalidateSeq::begin()
  const Staleness staleness = seq.stale(snapshot, start, end);
  expected = frozen;
  const std::uint64_t next = staleness == Staleness::fresh ? final_entry : old_entry;
  // Release: a walker that sees the final entry sees the page's content, filled before.
  const bool kept = entry.compare_exchange_strong(expected, next, std::memory_order_release,
                                                  std::memory_order_relaxed);
  if (staleness == Staleness::in_progress) return InstallOutcome::in_progress;
  return staleness == Staleness::fresh && kept ? InstallOutcome::installed : InstallOutcome::moved;
}

} // namespace slat::mmu
