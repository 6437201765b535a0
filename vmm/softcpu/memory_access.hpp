// MemoryAccess: how instructions read and write at linear addresses: TLB, guest page tables, stage 2.
//
// Every function returns false where the access cannot be done now; failure() then says what the instruction must
// return, and nothing was written. The fast path is inline: one TLB entry of the access's privilege.
#pragma once

#include "vmm/softcpu/cpu_state.hpp"
#include "vmm/softcpu/external_access.hpp"
#include "vmm/softcpu/fault.hpp"
#include "vmm/softcpu/host_access.hpp"
#include "vmm/softcpu/page_walk.hpp"
#include "vmm/softcpu/table_cache.hpp"
#include "vmm/softcpu/tlb.hpp"

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>

namespace slat::vmm::softcpu {

class MemoryAccess {
 public:
  /// Both must outlive this.
  MemoryAccess(GuestPhysical& physical, const CpuState& state);

  [[nodiscard]] Flow failure() const { return failure_; }

  [[nodiscard]] const Fault& fault() const { return fault_; }

  struct Missing {
    std::uint64_t gpa; // of the page
    Access access;
  };

  /// Flow::stage2: what is missing.
  [[nodiscard]] const Missing& missing() const { return missing_; }

  /// Flow::unsupported: why.
  [[nodiscard]] const char* reason() const { return reason_; }

  [[nodiscard]] GuestPhysical& physical() { return *physical_; }

  ExternalLog& external() { return external_; }

  /// `intent` is write for an instruction that will write here too: it must fault before it reads.
  template <std::unsigned_integral T>
  [[nodiscard]] bool read(std::uint64_t linear, T& value, Access intent = Access::read) {
    if (std::byte* host = lookup<sizeof(T)>(linear, intent)) [[likely]] {
      value = load_host<T>(host);
      return true;
    }
    std::uint64_t slow = 0;
    if (!read_slow(linear, sizeof(T), intent, privilege(), slow)) return false;
    value = static_cast<T>(slow);
    return true;
  }

  template <std::unsigned_integral T> [[nodiscard]] bool write(std::uint64_t linear, T value) {
    if (std::byte* host = lookup<sizeof(T)>(linear, Access::write)) [[likely]] {
      store_host<T>(host, value);
      return true;
    }
    return write_slow(linear, sizeof(T), privilege(), value);
  }

  /// A locked read-modify-write; `old` is what was there.
  template <std::unsigned_integral T, class F>
  [[nodiscard]] bool modify(std::uint64_t linear, T& old, F f) {
    std::byte* host = host_of(linear, sizeof(T), Access::write);
    if (host == nullptr) {
      if (!is_device(linear)) return false;
      return read(linear, old, Access::write) && write(linear, f(old));
    }
    if (!can_lock<T>(host)) return refuse("a locked access across an aligned word");
    old = rmw_host<T>(host, f);
    return true;
  }

  /// The host address of `size` bytes for as long as the instruction lasts; they must not cross a page. nullptr: see
  /// failure(), which is Flow::device where is_device() gives true.
  [[nodiscard]] std::byte* host_of(std::uint64_t linear, unsigned size, Access access);

  /// After host_of() gave nullptr: the address is a device's, and single accesses would be exits.
  [[nodiscard]] bool is_device(std::uint64_t) const { return failure_ == Flow::device; }

  /// Reads and writes of the processor itself (descriptor tables, TSS): the supervisor's, and RFLAGS.AC does not help.
  [[nodiscard]] bool read_system(std::uint64_t linear, unsigned size, std::uint64_t& value) {
    return read_slow(linear, size, Access::read, Privilege::implicit, value);
  }

  [[nodiscard]] bool write_system(std::uint64_t linear, unsigned size, std::uint64_t value) {
    return write_slow(linear, size, Privilege::implicit, value);
  }

  /// To the stack of a handler: the supervisor's, whoever was interrupted.
  [[nodiscard]] bool write_frame(std::uint64_t linear, unsigned size, std::uint64_t value) {
    return write_slow(linear, size, Privilege::supervisor, value);
  }

  /// Port access. `value` is what to write, or what was read.
  [[nodiscard]] bool port(ExternalAccess::Kind kind, std::uint16_t number, unsigned size,
                          std::uint64_t& value);

  /// Makes the access fail for ever: the guest stops with this text.
  bool refuse(const char* reason);

  // After the state changed: privilege; CR0, CR3, CR4, EFER; page tables.
  void privilege_changed() { tlb_ = state_->cpl == 3 ? &tlbs_->user : &tlbs_->supervisor; }

  void flush();
  void flush_page(std::uint64_t linear);
  void flush_space(std::uint64_t pcid);
  /// CR3 or CR4 was written: later lookups are of its address space.
  void space_changed();

 private:
  struct Tlbs {
    Tlb supervisor, user;
  };

  enum class Privilege : std::uint8_t { supervisor, user, implicit };

  struct Target { // where an access goes
    std::byte* host;
    std::uint64_t gpa; // where host is nullptr: a device
  };

  template <unsigned Size> std::byte* lookup(std::uint64_t linear, Access access) {
    const TlbEntry& entry = tlb_->at(linear);
    const std::uint64_t offset = linear & page_offset_mask;
    if (entry.tag[static_cast<std::size_t>(access)] == Tlb::tag(linear, pcid_) &&
        offset <= page_bytes - Size) [[likely]]
      return reinterpret_cast<std::byte*>(entry.host + offset);
    return nullptr;
  }

  bool stage2_fault(std::uint64_t gpa, Access access);
  WalkResult walk(const WalkRequest& request);

  /// Of an instruction's own accesses.
  [[nodiscard]] Privilege privilege() const {
    return tlb_ == &tlbs_->user ? Privilege::user : Privilege::supervisor;
  }

  bool resolve(std::uint64_t linear, Access access, Privilege privilege, Target& target);
  bool read_slow(std::uint64_t linear, unsigned size, Access intent, Privilege privilege,
                 std::uint64_t& value);
  bool write_slow(std::uint64_t linear, unsigned size, Privilege privilege, std::uint64_t value);
  bool read_part(const Target& target, unsigned size, std::uint64_t& value);
  bool write_part(const Target& target, unsigned size, std::uint64_t value);

  GuestPhysical* physical_;
  TableCache tables_;
  const CpuState* state_;
  std::unique_ptr<Tlbs> tlbs_;
  Tlb* tlb_; // of the current privilege
  std::uint64_t pcid_ = 0;
  bool has_large_ = false; // an entry came from a large page, so flush_page() has more to do
  Flow failure_ = Flow::next;
  Fault fault_;
  Missing missing_{};
  // A walk that ended in a stage-2 fault, for the instruction's next attempt: a cached translation to a guest physical
  // address, which the guest's own flushes drop as they do the TLB's.
  std::optional<WalkRequest> kept_request_;
  WalkResult kept_walk_{};
  const char* reason_ = "";
  ExternalLog external_;
};

} // namespace slat::vmm::softcpu
