// GuestRam: the guest's memory. Each range of guest physical addresses is one memfd, seen twice: by the guest view,
// which KVM maps and userfaultfd guards, and by the host view, which nothing guards.
#pragma once

#include "mmu/address_space.hpp"
#include "mmu/thread_safety.hpp"
#include "mmu/translation_cache.hpp"
#include "vmm/compressed_store.hpp"
#include "vmm/guest_memory.hpp"
#include "vmm/read_only_ranges.hpp"

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

namespace slat::vmm {

class GuestRam final : public GuestMemory {
 public:
  /// Where a guest view begins in this process, 2 MiB aligned; move_view() changes it. Readers have the address of some
  /// moment: what a translation of it is worth, pin() and the fault path find out.
  class ViewAddress {
   public:
    explicit ViewAddress(std::uintptr_t address) : address_(address) {}

    ViewAddress(ViewAddress&& other) noexcept : address_(other) {}

    operator std::uintptr_t() const {                  // NOLINT: an address
      return address_.load(std::memory_order_acquire); // pairs with move_view()
    }

   private:
    friend class GuestRam;
    std::atomic<std::uintptr_t> address_;
  };

  struct Region {
    GpaRange gpa;
    ViewAddress guest_view;
    mmu::BackingRef backing;
  };

  /// `size` bytes (check_ram_size()) of fresh memory, laid out as ram_layout() says, in regions of at most `region_bytes`
  /// (a multiple of 2 MiB; 0: one for each range). The memfd of each has `spare_bytes` (page aligned) more, for
  /// migrate(). Nothing is populated. What the options refer to and the counters outlive it. Errors: host_limit names the
  /// limit.
  static Result<std::unique_ptr<GuestRam>>
  create(std::uint64_t size, const mmu::AddressSpaceOptions& options, mmu::Counters& counters,
         std::uint64_t region_bytes = 0, std::uint64_t spare_bytes = 0);
  ~GuestRam() override;
  GuestRam(const GuestRam&) = delete;
  GuestRam& operator=(const GuestRam&) = delete;

  [[nodiscard]] std::span<const GpaRange> ranges() const override { return ranges_; }

  /// Waits where a range is read_only(). Errors: read_only if it is for another reason.
  Result<void> write(Gpa address, std::span<const std::byte> bytes) override;
  /// The same, but read_only at once; what comes before is written then.
  Result<void> write_at_once(Gpa address, std::span<const std::byte> bytes);
  Result<void> read(Gpa address, std::span<std::byte> bytes) override;

  /// Pins guest memory for `access` (mmu::VmFlags): [address, address + length), or the first part of it, as
  /// TranslationCache::pin() says, which see; wherever the guest view is by then. A host without memory is asked again for about a second.
  /// Errors: those of read().
  Result<mmu::TranslationCache::Pin> pin(Gpa address, std::size_t length, std::uint32_t access);

  /// Takes the right to write to a part of a region away from everybody, or gives it back; each part that is taken is
  /// given back once. Page aligned. Not beside a move_view(). Sleeps. Errors: host_limit, host_failed.
  Result<void> set_read_only(const GpaRange& range, bool read_only);

  /// Who is refused a write asks these whether it will be allowed again.
  [[nodiscard]] ReadOnlyRanges& read_only() { return read_only_; }

  /// Counts up when a view sets out and when it arrives: odd while one is on its way.
  [[nodiscard]] std::uint32_t moves() const {
    return moves_.load(std::memory_order_acquire); // pairs with move_view()
  }

  /// Whether the guest view of a region is there, now.
  [[nodiscard]] bool is_in_guest_view(std::uintptr_t address) const;

  /// Moves the guest view of a region elsewhere in this process; the content stays. No vCPU is in the guest, and the
  /// region has no memory slot: what refers to the old address finds nothing, or another region. One thread at a time;
  /// sleeps. Errors: host_limit, host_failed; the view is where it was then.
  Result<void> move_view(std::size_t region) SLAT_EXCLUDES(views_);

  /// Gives a part of a region (page aligned) another place in its memfd, from page `place`: at first each page is where its
  /// number in the region says, and what comes after those is spare. The content stays. Where the stage-2 is KVM's no
  /// vCPU is in the guest. Not beside a move_view(). Sleeps. Errors: host_limit, host_failed; nothing has happened then.
  Result<void> migrate(const GpaRange& range, std::uint64_t place);

  [[nodiscard]] mmu::AddressSpace& mm() { return *mm_; }

  [[nodiscard]] std::span<const Region> regions() const { return regions_; }

  [[nodiscard]] std::uint64_t size() const { return size_; }

  /// Gives a part of the RAM (page aligned) back to the host: it reads as zero from now on (I39), in whatever the guest
  /// or a device does next. May run beside a move_view(). No pin is held; sleeps. Errors: out_of_guest_memory,
  /// host_limit, host_failed; a part may be gone then.
  Result<void> discard(const GpaRange& range) SLAT_EXCLUDES(views_);

  /// Makes mm().reclaim() possible: a store for `limit` bytes of compressed data, 0: a quarter of the RAM. Once is enough,
  /// the first limit stays. Beside a running guest, but not beside itself.
  CompressedStore& make_store(std::uint64_t limit = 0);

  /// The store, or nullptr. Not beside make_store().
  [[nodiscard]] const CompressedStore* store() const { return store_.get(); }

  /// Where a guest physical address is in the guest view; empty if it is not RAM.
  [[nodiscard]] std::optional<std::uintptr_t> guest_view_of(Gpa address) const;

 private:
  GuestRam() = default;
  [[nodiscard]] const Region* region_of(Gpa address) const;
  template <class Copy>
  Result<void> each_pin(Gpa address, std::size_t length, std::uint32_t access, Copy copy);

  std::uint64_t size_ = 0;
  std::vector<GpaRange> ranges_;
  std::unique_ptr<CompressedStore> store_; // before regions_: outlives the backings
  std::vector<Region> regions_;
  ReadOnlyRanges read_only_;
  mmu::Mutex views_{mmu::LockRank::views}; // no view moves under it
  std::atomic<std::uint32_t> moves_{0};    // odd: a view is on its way
  std::unique_ptr<mmu::AddressSpace>
      mm_; // after regions_: goes first, while the backings' first references still hold
  std::unique_ptr<mmu::TranslationCache> translations_; // registered with the chain of mm_
};

} // namespace slat::vmm
