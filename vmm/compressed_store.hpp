// CompressedStore: reclaimed pages, each compressed by itself with zstd, in this process' memory. After the
// kernel's zswap: a page of one repeated word is kept as that word; a page that does not become smaller is
// kept as it is.
//
// Each slot has a checksum of the page. What has been damaged since is told apart from what was put, so a
// page comes back whole or not at all (I41).
#pragma once

#include "mmu/page_store.hpp"
#include "mmu/thread_safety.hpp"

#include <atomic>
#include <cstdint>
#include <vector>

namespace slat::vmm {

class CompressedStore final : public mmu::PageStore {
 public:
  struct Options {
    std::uint64_t limit =
        64 << 20;  // bytes of compressed data; slots, some 1 % of what they stand for, come on top
    int level = 1; // of zstd
  };

  explicit CompressedStore(const Options& options) : options_(options) {}

  /// Every slot has been dropped.
  ~CompressedStore() override;
  CompressedStore(const CompressedStore&) = delete;
  CompressedStore& operator=(const CompressedStore&) = delete;

  std::optional<std::uint32_t> put(mmu::PageBytes page) override SLAT_EXCLUDES(mutex_);
  mmu::FillResult load(std::uint32_t slot, mmu::PageRoom into) override SLAT_EXCLUDES(mutex_);
  void drop(std::uint32_t slot) override SLAT_EXCLUDES(mutex_);

  struct Stats {
    std::uint64_t pages = 0;        // in the store now
    std::uint64_t bytes = 0;        // that their data takes
    std::uint64_t same_filled = 0;  // of the pages, those of one repeated word: they take none
    std::uint64_t uncompressed = 0; // of the pages, those that would not become smaller
    std::uint64_t put_pages = 0;    // all that ever came, and what they took
    std::uint64_t put_bytes = 0;
    std::uint64_t full_count = 0;    // puts without room or memory
    std::uint64_t damaged_pages = 0; // loads that found something else than was put
    std::uint64_t limit = 0;
  };

  [[nodiscard]] Stats stats() const SLAT_EXCLUDES(mutex_);

  /// Fault injection: flips bits of what is kept for the slot, which is in use; `at` is any number.
  void damage(std::uint32_t slot, std::size_t at, std::byte bits = std::byte(1))
      SLAT_EXCLUDES(mutex_);

 private:
  enum class Kind : std::uint8_t { free, same_filled, compressed, plain };

  struct Slot {
    union {
      std::byte* data;         // compressed, plain
      std::uint64_t word;      // same_filled
      std::uint32_t next_free; // free
    };

    std::uint64_t checksum;
    std::uint16_t length; // of the data
    Kind kind;
  };

  static constexpr std::uint32_t no_slot = ~std::uint32_t(0);
  static constexpr std::uint32_t chunk_slots = 1024;

  /// Compresses into memory of its own; data nullptr: there is none.
  [[nodiscard]] Slot make(mmu::PageBytes page) const;

  [[nodiscard]] Slot& slot_at(std::uint32_t slot) SLAT_REQUIRES(mutex_) {
    return chunks_[slot / chunk_slots][slot % chunk_slots];
  }

  bool grow() SLAT_REQUIRES(mutex_);
  void count(const Slot& slot, bool in) SLAT_REQUIRES(mutex_);

  const Options options_;
  mutable mmu::Mutex mutex_; // a leaf, held for a few stores: nothing is compressed under it
  std::vector<Slot*> chunks_ SLAT_GUARDED_BY(mutex_);
  std::uint32_t free_ SLAT_GUARDED_BY(mutex_) = no_slot; // list of free slots
  Stats stats_ SLAT_GUARDED_BY(mutex_);
};

} // namespace slat::vmm
