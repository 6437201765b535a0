// GuestRam: the guest's memory. Each range of guest physical addresses is one memfd, seen twice: by the guest view,
// which KVM maps and userfaultfd guards, and by the host view, which nothing guards.
#pragma once

#include "mmu/address_space.hpp"
#include "mmu/translation_cache.hpp"
#include "vmm/compressed_store.hpp"
#include "vmm/guest_memory.hpp"

#include <memory>
#include <optional>
#include <vector>

namespace slat::vmm {

class GuestRam final : public GuestMemory {
 public:
  struct Region {
    GpaRange gpa;
    std::uintptr_t guest_view; // address in this process, 2 MiB aligned
    mmu::BackingRef backing;
  };

  /// `size` bytes (check_ram_size()) of fresh memory, laid out as ram_layout() says. Nothing is populated. What the
  /// options refer to and the counters outlive it. Errors: host_limit names the limit.
  static Result<std::unique_ptr<GuestRam>>
  create(std::uint64_t size, const mmu::AddressSpaceOptions& options, mmu::Counters& counters);
  ~GuestRam() override;
  GuestRam(const GuestRam&) = delete;
  GuestRam& operator=(const GuestRam&) = delete;

  [[nodiscard]] std::span<const GpaRange> ranges() const override { return ranges_; }

  Result<void> write(Gpa address, std::span<const std::byte> bytes) override;
  Result<void> read(Gpa address, std::span<std::byte> bytes) override;

  [[nodiscard]] mmu::AddressSpace& mm() { return *mm_; }

  /// How devices, and everything else on the host side, get at guest memory.
  [[nodiscard]] mmu::TranslationCache& translations() { return *translations_; }

  [[nodiscard]] std::span<const Region> regions() const { return regions_; }

  [[nodiscard]] std::uint64_t size() const { return size_; }

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
  template <class Access> Result<void> each_region(Gpa address, std::size_t length, Access access);

  std::uint64_t size_ = 0;
  std::vector<GpaRange> ranges_;
  std::unique_ptr<CompressedStore> store_; // before regions_: outlives the backings
  std::vector<Region> regions_;
  std::unique_ptr<mmu::AddressSpace>
      mm_; // after regions_: goes first, while the backings' first references still hold
  std::unique_ptr<mmu::TranslationCache> translations_; // registered with the chain of mm_
};

} // namespace slat::vmm
