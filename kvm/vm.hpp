// Vm: one virtual machine: its memory slots, its in-kernel devices, its vCPUs.
#pragma once

#include "kvm/error.hpp"
#include "kvm/fd.hpp"
#include "kvm/slot_table.hpp"
#include "kvm/uapi.hpp"
#include "kvm/vcpu.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace slat::kvm {

/// Owns a VM. Thread-safe: KVM serialises, and slot changes take a mutex of our own, a leaf.
/// Usable only in the process that made it: after a fork every call in the child fails with EIO.
class Vm {
 public:
  struct Limits {
    unsigned max_vcpus;
    unsigned max_vcpu_ids;
    unsigned max_memslots;
    std::size_t vcpu_mmap_size; // bytes
  };

  /// Takes over a VM's descriptor. System::create_vm() is the usual way.
  Vm(Fd fd, Limits limits);

  /// What KVM_CHECK_EXTENSION answers for this VM; 0 is "not there".
  [[nodiscard]] int check_extension(int cap) const noexcept;

  [[nodiscard]] const Limits& limits() const noexcept { return limits_; }

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

  /// Three pages below 4 GiB that KVM on Intel needs where the processor lacks unrestricted guests;
  /// harmless elsewhere. `gpa` must be in no slot.
  Result<void> set_tss_address(std::uint32_t gpa);
  /// One page for the same purpose. Before the first vCPU.
  Result<void> set_identity_map_address(std::uint64_t gpa);
  /// In-kernel PIC, IO-APIC and local APICs. Before the first vCPU. With it hlt does not exit.
  Result<void> create_irqchip();
  /// In-kernel timer (i8254). After create_irqchip().
  Result<void> create_pit();
  /// Drives an interrupt line of the in-kernel controllers. Does not sleep.
  Result<void> set_irq_line(std::uint32_t gsi, bool level);
  /// Each signal of `event_fd` is an edge on line `gsi`. The descriptor stays the caller's.
  Result<void> add_irqfd(int event_fd, std::uint32_t gsi);

  /// Maps `size` bytes at guest physical `gpa` to this process' memory at `hva`; all three in whole
  /// 4 KiB pages. Of an existing slot it changes gpa or flags, never size or hva. `flags`:
  /// KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY. Nothing is mapped until the guest touches it.
  /// Sleeps until every vCPU is past the guest memory fault that it is in: a thread that serves
  /// userfaultfd for this VM must not call it, nor wait for one who does. Errors: invalid_argument
  /// (alignment, wrap, overlap), limit_exceeded (slot number), not_supported (flags).
  Result<void> set_memslot(std::uint32_t slot, std::uint64_t gpa, std::uint64_t size,
                           std::uint64_t hva, std::uint32_t flags = 0);
  /// Takes the slot away; sleeps as set_memslot() does. Errors: invalid_argument (no such slot).
  Result<void> delete_memslot(std::uint32_t slot);

  /// Words that get_dirty_log() needs for a slot, 0 where there is no such slot.
  [[nodiscard]] std::size_t dirty_log_words(std::uint32_t slot) const;
  /// Fetches and resets the log of a slot with KVM_MEM_LOG_DIRTY_PAGES: bit n of the bitmap is page
  /// n of the slot. Takes the slot mutex. Errors: invalid_argument (no such slot, no log, or too
  /// few words).
  Result<void> get_dirty_log(std::uint32_t slot, std::span<std::uint64_t> bitmap);

  /// Makes a vCPU in its reset state. Errors: limit_exceeded, invalid_argument (id taken),
  /// call_failed.
  [[nodiscard]] Result<Vcpu> create_vcpu(unsigned id);

  /// The default guest TSC frequency in kHz. Errors: not_supported before Linux 5.18, where a vCPU
  /// can tell it.
  [[nodiscard]] Result<std::uint32_t> tsc_khz() const;

 private:
  Fd fd_;
  Limits limits_;
  std::unique_ptr<SlotTable> slots_; // a pointer, so that a Vm can be moved
};

} // namespace slat::kvm
