#include "vmm/softcpu/memory_access.hpp"

#include "vmm/softcpu/page_walk.hpp"

#include <algorithm>

namespace slat::vmm::softcpu {

MemoryAccess::MemoryAccess(GuestPhysical& physical, const CpuState& state)
    : physical_(&physical), tables_(physical), state_(&state), tlbs_(std::make_unique<Tlbs>()),
      tlb_(&tlbs_->supervisor) {}

void MemoryAccess::flush() {
  tlbs_->supervisor.flush();
  tlbs_->user.flush();
  tables_.flush();
  kept_request_.reset();
  has_large_ = false;
}

void MemoryAccess::flush_page(std::uint64_t linear) {
  if (has_large_) return flush(); // the pieces of a large page have many addresses
  kept_request_.reset();
  tlbs_->supervisor.flush_page(linear);
  tlbs_->user.flush_page(linear);
}

void MemoryAccess::flush_space(std::uint64_t pcid) {
  kept_request_.reset();
  tlbs_->supervisor.flush_space(pcid);
  tlbs_->user.flush_space(pcid);
}

void MemoryAccess::space_changed() {
  pcid_ = (state_->cr4 & cr4_pcid) != 0 ? state_->cr3 & page_offset_mask : 0;
}

bool MemoryAccess::refuse(const char* reason) {
  failure_ = Flow::unsupported;
  reason_ = reason;
  return false;
}

bool MemoryAccess::stage2_fault(std::uint64_t gpa, Access access) {
  failure_ = Flow::stage2;
  missing_ = {gpa, access};
  return false;
}

WalkResult MemoryAccess::walk(const WalkRequest& request) {
  if (kept_request_) [[unlikely]] {
    const bool same = *kept_request_ == request;
    kept_request_.reset();
    if (same) return kept_walk_;
  }
  return walk_guest_tables(tables_, request);
}

/// Translates one page and fills the TLB. `access` is what the instruction needs.
bool MemoryAccess::resolve(std::uint64_t linear, Access access, Privilege privilege,
                           Target& target) {
  const bool user = privilege == Privilege::user;
  WalkRequest request{};
  request.linear = linear;
  request.cr0 = state_->cr0, request.cr3 = state_->cr3, request.cr4 = state_->cr4;
  request.efer = state_->efer;
  request.access = access;
  request.user = user;
  // AC of ring 3 is not the kernel's.
  request.smap_allowed = privilege == Privilege::supervisor && state_->cpl != 3 &&
                         (state_->system_flags & rflags_ac) != 0;
  const WalkResult walk = this->walk(request);
  if (walk.outcome == WalkResult::Outcome::fault) {
    failure_ = Flow::fault;
    fault_ = walk.fault;
    return false;
  }
  if (walk.outcome == WalkResult::Outcome::absent) return stage2_fault(walk.gpa, Access::write);
  if (walk.outcome == WalkResult::Outcome::table_failed)
    return refuse("a page table outside of memory");
  const std::uint64_t gpa = walk.gpa & ~page_offset_mask;
  const auto page = physical_->translate(gpa, access);
  if (page.kind == GuestPhysical::Kind::absent) {
    kept_request_ = request;
    kept_walk_ = walk;
    return stage2_fault(gpa, access);
  }
  target = {nullptr, walk.gpa};
  if (page.kind == GuestPhysical::Kind::device) return true;
  target.host = page.host + (walk.gpa & page_offset_mask);
  has_large_ = has_large_ || walk.large;
  (user ? tlbs_->user : tlbs_->supervisor).fill(linear, pcid_, access, page.host);
  return true;
}

std::byte* MemoryAccess::host_of(std::uint64_t linear, unsigned size, Access access) {
  if (std::byte* host = lookup<1>(linear, access);
      host != nullptr && (linear & page_offset_mask) + size <= page_bytes)
    return host;
  if ((linear & page_offset_mask) + size > page_bytes) {
    refuse("a locked access across pages");
    return nullptr;
  }
  Target target{};
  if (!resolve(linear, access, privilege(), target)) return nullptr;
  if (target.host == nullptr) failure_ = Flow::device;
  return target.host;
}

bool MemoryAccess::read_part(const Target& target, unsigned size, std::uint64_t& value) {
  if (target.host != nullptr) {
    switch (size) {
    case 1:
      value = load_host<std::uint8_t>(target.host);
      return true;
    case 2:
      value = load_host<std::uint16_t>(target.host);
      return true;
    case 4:
      value = load_host<std::uint32_t>(target.host);
      return true;
    case 8:
      value = load_host<std::uint64_t>(target.host);
      return true;
    default:
      value = 0;
      for (unsigned i = 0; i < size; ++i)
        value |= std::uint64_t{load_host<std::uint8_t>(target.host + i)} << 8 * i;
      return true;
    }
  }
  ExternalAccess access{ExternalAccess::Kind::mmio_read, static_cast<std::uint8_t>(size),
                        target.gpa, 0};
  failure_ = Flow::device;
  if (!external_.perform(access)) return false;
  value = access.value;
  return true;
}

bool MemoryAccess::write_part(const Target& target, unsigned size, std::uint64_t value) {
  if (target.host != nullptr) {
    switch (size) {
    case 1:
      store_host(target.host, static_cast<std::uint8_t>(value));
      return true;
    case 2:
      store_host(target.host, static_cast<std::uint16_t>(value));
      return true;
    case 4:
      store_host(target.host, static_cast<std::uint32_t>(value));
      return true;
    case 8:
      store_host(target.host, value);
      return true;
    default:
      for (unsigned i = 0; i < size; ++i)
        store_host(target.host + i, static_cast<std::uint8_t>(value >> 8 * i));
      return true;
    }
  }
  ExternalAccess access{ExternalAccess::Kind::mmio_write, static_cast<std::uint8_t>(size),
                        target.gpa, value};
  failure_ = Flow::device;
  return external_.perform(access);
}

bool MemoryAccess::read_slow(std::uint64_t linear, unsigned size, Access intent,
                             Privilege privilege, std::uint64_t& value) {
  const auto first = static_cast<unsigned>(
      std::min<std::uint64_t>(size, page_bytes - (linear & page_offset_mask)));
  Target low{}, high{};
  if (!resolve(linear, intent, privilege, low)) return false;
  if (first == size) return read_part(low, size, value);
  if (!resolve(linear + first, intent, privilege, high)) return false;
  std::uint64_t rest = 0;
  if (!read_part(low, first, value) || !read_part(high, size - first, rest)) return false;
  value |= rest << 8 * first;
  return true;
}

bool MemoryAccess::write_slow(std::uint64_t linear, unsigned size, Privilege privilege,
                              std::uint64_t value) {
  const auto first = static_cast<unsigned>(
      std::min<std::uint64_t>(size, page_bytes - (linear & page_offset_mask)));
  Target low{}, high{};
  if (!resolve(linear, Access::write, privilege, low)) return false;
  if (first == size) return write_part(low, size, value);
  if (!resolve(linear + first, Access::write, privilege, high)) return false;
  // A device's part is asked for first: until it is served, nothing may be written.
  if (high.host == nullptr && !write_part(high, size - first, value >> 8 * first)) return false;
  if (!write_part(low, first, value)) return false;
  return high.host == nullptr || write_part(high, size - first, value >> 8 * first);
}

bool MemoryAccess::port(ExternalAccess::Kind kind, std::uint16_t number, unsigned size,
                        std::uint64_t& value) {
  ExternalAccess access{kind, static_cast<std::uint8_t>(size), number, value};
  failure_ = Flow::device;
  if (!external_.perform(access)) return false;
  value = access.value;
  return true;
}

} // namespace slat::vmm::softcpu
