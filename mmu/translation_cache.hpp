// TranslationCache: the device translation cache, an IOMMU with an IOTLB in software, and the one way
// in which the host side (devices, loaders, storms, crash reports) holds a pointer into guest memory:
// pin, use, release. After the kernel's pin_user_pages() under an mmu_interval_notifier, and ATS.
//
// A pin holds pages where they are: invalidate_range_start() returns when no pin is left in the range,
// and none is taken in it until the end (I26). The protocol, why it is right, is in pin.hpp.
//
// Every event drains pins, each for its own reason:
//   unmap, remove    the page is freed, and may be filled for somebody else
//   move             the address means another page afterwards; the pin's user wrote to the old one
//   protect          a pin for writing must not outlive the right to write
//   write_protect    write tracking and snapshots trust that nobody writes unnoticed
//   zap              the data stays, but what zaps relies on seeing every later access: aging,
//                    compaction, a snapshot's first touch
//   reclaim          the content is copied elsewhere: a write during the copy would be lost
//
// A hit takes neither the mm lock nor a VMA lock: it finds the VMA's view in a small cache, pins, and
// then learns from the invalidate sequence whether the view was still true. Views are dropped in
// invalidate_range_start() and entered only under the mutex with the same check for all of the view,
// so one that was dropped does not come back.
#pragma once

#include "mmu/address_space.hpp"
#include "mmu/pin.hpp"
#include "mmu/translation_entry.hpp"

#include <array>
#include <optional>
#include <span>

namespace slat::mmu {

class TranslationCache final : public Notifier {
 public:
  /// Of `mm`, which outlives it. To be registered with its notifier chain before the first pin, and
  /// unregistered after the last.
  explicit TranslationCache(AddressSpace& mm) : mm_(&mm) {}

  ~TranslationCache() override;
  TranslationCache(const TranslationCache&) = delete;
  TranslationCache& operator=(const TranslationCache&) = delete;

  /// Pages that one pin covers at most: an invalidation waits for no more than what a device does with
  /// so many.
  static constexpr std::uint64_t max_pages = 64;

  /// Pages that stay what they are until release() or the end of the object. Move-only. Ranges of this
  /// address space wait for it, so its holder must not start one, take the mm lock, touch the guest
  /// view (it may fault), or pin() once more; try_pin() is fine.
  class Pin {
   public:
    Pin() = default;
    Pin(Pin&& other) noexcept;
    Pin& operator=(Pin&& other) noexcept;
    Pin(const Pin&) = delete;
    Pin& operator=(const Pin&) = delete;

    ~Pin() { release(); }

    /// In the host view, from the address asked for. Written to only if pinned for writing. Not after
    /// release().
    [[nodiscard]] std::span<std::byte> bytes() const {
      SLAT_ASSERT(record_ != nullptr, "memory is used that is not pinned (I26)");
      return bytes_;
    }

    /// Marks the pages accessed, dirty too if they were pinned for writing, and lets them go. Any
    /// thread; does not sleep.
    void release();

    explicit operator bool() const { return record_ != nullptr; }

   private:
    friend class TranslationCache;

    PinRecord* record_ = nullptr;
    PinnedPages pages_;
    std::span<std::byte> bytes_;
    std::uint64_t marks_ = 0;
  };

  /// Pins [address, address + length) of the guest view for `access` (VmFlags), filling what is
  /// empty as a guest access would. At least one byte, and at most all of it: up to the first page that
  /// another VMA maps, is not to be had at once, or is one too many; the caller goes on from there.
  /// Sleeps, for page sources and ranges in progress: no lock of mmu/, no range and no pin of this
  /// cache is held. Errors: not_mapped, access_denied, poisoned, no_memory, os_failed.
  Result<Pin> pin(std::uintptr_t address, std::uint64_t length, std::uint32_t access);

  /// The same, if it can be had without sleeping: content present, no range in progress. Under
  /// mmap-lock only by a cached translation. Other pins may be held.
  [[nodiscard]] std::optional<Pin> try_pin(std::uintptr_t address, std::uint64_t length,
                                           std::uint32_t access);

  struct Copied {
    std::size_t bytes;   // before the first page that cannot be had
    Result<void> result; // why it cannot
  };

  /// Copies by way of pins (access_remote_vm), word by word as in shared_copy.hpp: vCPUs may be at the
  /// same bytes. As pin().
  Copied read(std::uintptr_t address, std::span<std::byte> into);
  Copied write(std::uintptr_t address, std::span<const std::byte> from);

  /// Pins held now. For tests and reports.
  [[nodiscard]] std::size_t pins() const;

  bool invalidate_range_start(const NotifierRange& range) override;

  /// What keeps new pins out is the chain's invalidate sequence, which moves after this.
  void invalidate_range_end(const NotifierRange&) override {}

  void release() override;

 private:
  struct Request {
    std::uintptr_t address;
    std::uint64_t pages;
    std::uint64_t length;
    std::uint32_t access;
    bool may_sleep;
  };

  enum class Outcome {
    pinned,
    not_present,
    again,
    in_progress,
    not_mapped,
    denied,
    would_block,
    no_memory,
    released
  };

  struct Block {
    static constexpr unsigned size = 32;
    std::array<PinRecord, size> records;
    StdAtomics::atomic<Block*> next{
        nullptr}; // release where it is added pairs with walkers' acquire
  };

  Outcome attempt(const Request& request, Pin& pin);
  void note_writes(const PinnedPages& pages);
  [[nodiscard]] std::optional<VmaView> find(std::uintptr_t address) const;
  std::optional<VmaView> translate(const Request& request, Outcome& why);
  void enter(std::uintptr_t address, const VmaView& view, std::uint64_t snapshot)
      SLAT_EXCLUDES(mutex_);
  PinRecord* claim_record(bool may_grow);
  bool drain(std::uintptr_t start, std::uintptr_t end, bool may_sleep);
  void drop(std::uintptr_t start, std::uintptr_t end) SLAT_EXCLUDES(mutex_);
  [[nodiscard]] bool pinned_by_this_thread() const;
  template <class Visit> void for_each_record(Visit visit) const;
  template <class Copy>
  Copied each_pin(std::uintptr_t address, std::size_t length, std::uint32_t access, Copy copy);

  // Two places for each view: by the GiB for VMAs of 16 MiB and more, by 2 MiB for the others.
  static constexpr unsigned entry_count = 64;
  [[nodiscard]] static unsigned place_of(std::uintptr_t address, unsigned shift);

  AddressSpace* mm_;
  StdAtomics::atomic<bool> released_{false};
  Mutex mutex_; // serialises writers of entries_; a leaf, held for a few stores
  std::array<TranslationEntry, entry_count> entries_;
  mutable Block records_; // the first; others are added as pins need them, and stay
};

} // namespace slat::mmu
