#include "vmm/softcpu/page_walk.hpp"

#include "vmm/guest_walk.hpp"
#include "vmm/softcpu/cpu_state.hpp"
#include "vmm/softcpu/tlb.hpp"

#include <atomic>

namespace slat::vmm::softcpu {
namespace {

constexpr std::uint64_t pte_present = 1U << 0;
constexpr std::uint64_t pte_writable = 1U << 1;
constexpr std::uint64_t pte_user = 1U << 2;
constexpr std::uint64_t pte_accessed = 1U << 5;
constexpr std::uint64_t pte_dirty = 1U << 6;
constexpr std::uint64_t pte_large = 1U << 7;
constexpr std::uint64_t pte_no_execute = 1ULL << 63;
constexpr std::uint64_t pte_address = 0x000ffffffffff000;

constexpr std::uint32_t error_present = 1, error_write = 2, error_user = 4, error_reserved = 8,
                        error_fetch = 16;

WalkResult page_fault(const WalkRequest& request, std::uint32_t cause) {
  std::uint32_t error = cause;
  if (request.access == Access::write) error |= error_write;
  if (request.user) error |= error_user;
  const bool fetch_is_told = (request.efer & efer_no_execute) != 0 || (request.cr4 & cr4_smep) != 0;
  if (request.access == Access::execute && fetch_is_told) error |= error_fetch;
  return {WalkResult::Outcome::fault, {vector_page_fault, true, error, request.linear}, 0, false};
}

/// What all levels together allow. `rights` has W and U where every level has them, NX where any has.
bool allowed(const WalkRequest& request, std::uint64_t rights) {
  const bool user_page = (rights & pte_user) != 0;
  const bool no_execute = (rights & pte_no_execute) != 0;
  if (request.user) {
    if (!user_page) return false;
    if (request.access == Access::write) return (rights & pte_writable) != 0;
    return request.access == Access::read || !no_execute;
  }
  if (request.access == Access::execute)
    return !no_execute && !(user_page && (request.cr4 & cr4_smep) != 0);
  if (user_page && (request.cr4 & cr4_smap) != 0 && !request.smap_allowed) return false;
  return request.access == Access::read || (rights & pte_writable) != 0 ||
         (request.cr0 & cr0_write_protect) == 0;
}

bool has_reserved_bits(std::uint64_t entry, unsigned level, std::uint64_t efer) {
  if ((entry & pte_no_execute) != 0 && (efer & efer_no_execute) == 0) return true;
  if ((entry & pte_address) >> physical_address_bits != 0) return true;
  if ((entry & pte_large) == 0 || level == 1) return false;
  if (level == 4) return true;
  const std::uint64_t below = (1ULL << (12 + 9 * (level - 1))) - 1;
  return (entry & below & pte_address & ~0x1000ULL) != 0; // bit 12 is PAT
}

} // namespace

WalkResult walk_guest_tables(TableCache& tables, const WalkRequest& request) {
  if ((request.cr0 & cr0_paging) == 0)
    return {WalkResult::Outcome::mapped, {}, request.linear, false};
  if (!is_canonical(request.linear, false))
    return {WalkResult::Outcome::fault, {vector_protection, true, 0, 0}, 0, false};

  std::uint64_t table = request.cr3 & pte_address;
  std::uint64_t rights = pte_writable | pte_user;
  for (unsigned level = 4;; --level) {
    const unsigned shift = 12 + 9 * (level - 1);
    const std::uint64_t slot = (request.linear >> shift & 511) * sizeof(std::uint64_t);
    const auto page = tables.at(table);
    if (page.kind == GuestPhysical::Kind::absent)
      return {WalkResult::Outcome::absent, {}, table, false};
    if (page.kind == GuestPhysical::Kind::device)
      return {WalkResult::Outcome::table_failed, {}, table, false};
    std::atomic_ref<std::uint64_t> word(*reinterpret_cast<std::uint64_t*>(page.host + slot));
    // Acquire pairs with the guest's release store (any guest store) of an entry whose table it wrote before.
    std::uint64_t entry = word.load(std::memory_order_acquire);
    for (;;) {
      if ((entry & pte_present) == 0) return page_fault(request, 0);
      if (has_reserved_bits(entry, level, request.efer))
        return page_fault(request, error_present | error_reserved);
      const std::uint64_t all =
          (rights & entry & (pte_writable | pte_user)) | ((rights | entry) & pte_no_execute);
      const bool leaf = level == 1 || (level <= 3 && (entry & pte_large) != 0);
      if (leaf && !allowed(request, all)) return page_fault(request, error_present);
      std::uint64_t wanted = entry | pte_accessed;
      if (leaf && request.access == Access::write) wanted |= pte_dirty;
      // On failure the entry has changed: judge it anew, hence acquire, as above. Nothing is published with A and D.
      if (wanted != entry && !word.compare_exchange_weak(entry, wanted, std::memory_order_acquire,
                                                         std::memory_order_acquire))
        continue;
      if (leaf) {
        const std::uint64_t in_page = (1ULL << shift) - 1;
        return {WalkResult::Outcome::mapped,
                {},
                (entry & pte_address & ~in_page) | (request.linear & in_page),
                level != 1};
      }
      rights = all;
      table = entry & pte_address;
      break;
    }
  }
}

} // namespace slat::vmm::softcpu
