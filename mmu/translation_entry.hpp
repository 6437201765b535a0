// TranslationEntry: one cached translation, a VMA's view, read without a lock (a sequence lock).
//
// Written under the cache's mutex: `version_` odd, the fields, `version_` even. A reader takes the
// fields only if the version was even before and is unchanged after. Fields are stored with release
// and loaded with acquire: who reads one that is being written also reads the odd version.
#pragma once

#include "mmu/atomics.hpp"
#include "mmu/vma.hpp"

#include <optional>

namespace slat::mmu {

class alignas(64) TranslationEntry {
 public:
  /// The view, if it contains `address` and nobody is writing it. Does not sleep.
  [[nodiscard]] std::optional<VmaView> find(std::uintptr_t address) const {
    const std::uint64_t version = version_.load(std::memory_order_acquire); // pairs with set()
    const std::uintptr_t start = start_.load(std::memory_order_acquire);    // all pair with set()
    const std::uintptr_t end = end_.load(std::memory_order_acquire);
    if (address < start || end <= address || version % 2 != 0) return std::nullopt;
    const VmaView view{start, end, pgoff_.load(std::memory_order_acquire),
                       flags_.load(std::memory_order_acquire),
                       backing_.load(std::memory_order_acquire)};
    if (version_.load(std::memory_order_acquire) != version) return std::nullopt;
    return view;
  }

  /// Under the cache's mutex.
  [[nodiscard]] bool overlaps(std::uintptr_t start, std::uintptr_t end) const {
    return start_.load(std::memory_order_relaxed) < end && // written under the mutex only
           start < end_.load(std::memory_order_relaxed);
  }

  /// Under the cache's mutex. An empty view drops the translation.
  void set(const VmaView& view) {
    const std::uint64_t version = version_.load(std::memory_order_relaxed); // the mutex orders it
    version_.store(version + 1, std::memory_order_relaxed); // seen by who sees a field (release)
    start_.store(view.start, std::memory_order_release);    // all pair with find()
    end_.store(view.end, std::memory_order_release);
    pgoff_.store(view.pgoff, std::memory_order_release);
    flags_.store(view.flags, std::memory_order_release);
    backing_.store(view.backing, std::memory_order_release);
    version_.store(version + 2, std::memory_order_release);
  }

 private:
  StdAtomics::atomic<std::uint64_t> version_{0};
  StdAtomics::atomic<std::uintptr_t> start_{0};
  StdAtomics::atomic<std::uintptr_t> end_{0};
  StdAtomics::atomic<std::uint64_t> pgoff_{0};
  StdAtomics::atomic<std::uint32_t> flags_{0};
  StdAtomics::atomic<Backing*> backing_{nullptr};
};

static_assert(sizeof(TranslationEntry) == 64);

} // namespace slat::mmu
