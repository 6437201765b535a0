// Why a vCPU came back from the guest: KVM's exits, decoded.
#pragma once

#include "kvm/error.hpp"
#include "kvm/uapi.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <variant>

namespace slat::kvm {

// Spans point into the vCPU's run page: they hold until the next run() or complete_pending_io() of
// this vCPU. An access completes in the guest on the *next* entry; what it reads must be in `data`
// before that.

/// The guest wrote `count` items of `size` bytes (1, 2 or 4) to `port`; data has size * count
/// bytes.
struct IoOut {
  std::uint16_t port;
  std::uint8_t size;
  std::uint32_t count;
  std::span<const std::byte> data;
};

/// The guest reads `count` items of `size` bytes (1, 2 or 4) from `port`: fill all of data.
struct IoIn {
  std::uint16_t port;
  std::uint8_t size;
  std::uint32_t count;
  std::span<std::byte> data;
};

/// The guest reads `size` bytes (1 to 8) at a guest physical address without memory: fill all of
/// data.
struct MmioRead {
  std::uint64_t gpa;
  std::uint32_t size;
  std::span<std::byte> data;
};

/// The guest wrote `size` bytes (1 to 8) there. Also a write to read-only memory.
struct MmioWrite {
  std::uint64_t gpa;
  std::uint32_t size;
  std::span<const std::byte> data;
};

/// The guest halted and KVM has no interrupt controller to wait for it.
struct Hlt {};

/// Triple fault. The registers are reset on some hardware: nothing useful can be read from them.
struct Shutdown {};

/// A signal, an exit request, or a vCPU that is not started yet: look for work, then run again.
struct Interrupted {};

/// The processor refused the guest's state. `reason` is the vendor's code; `cpu` is the host's
/// processor.
struct FailEntry {
  std::uint64_t reason;
  std::uint32_t cpu;
};

/// KVM gave up. `suberror` is KVM_INTERNAL_ERROR_*; data[0..ndata) is for the report.
struct InternalError {
  std::uint32_t suberror;
  std::uint32_t ndata;
  std::array<std::uint64_t, 16> data;
  std::uint8_t insn_size; // bytes of the instruction that was not emulated; 0 when KVM did not tell
  std::array<std::uint8_t, 15> insn;

  [[nodiscard]] bool is_emulation() const { return suberror == KVM_INTERNAL_ERROR_EMULATION; }
};

/// KVM_RUN failed because guest memory could not be mapped: os_error is EFAULT, or EHWPOISON for a
/// poisoned page. `described` says whether the kernel told where (Linux 6.8 and later, not on every
/// path).
struct MemoryFault {
  int os_error;
  bool described;
  std::uint64_t gpa;
  std::uint64_t size;  // bytes
  std::uint64_t flags; // uapi::kvm_memory_exit_flag_*
};

/// The guest asks for a reset, a power-off and so on: `type` is KVM_SYSTEM_EVENT_*.
struct SystemEvent {
  std::uint32_t type;
  std::uint32_t ndata;
  std::array<std::uint64_t, 16> data;
};

/// A breakpoint or single step that set_guest_debug() asked for.
struct Debug {
  std::uint64_t pc;
  std::uint32_t exception;
  std::uint64_t dr6;
  std::uint64_t dr7;
};

/// An exit that this library does not decode: `reason` is KVM_EXIT_*.
struct Unknown {
  std::uint32_t reason;
};

using Exit = std::variant<IoOut, IoIn, MmioRead, MmioWrite, Hlt, Shutdown, Interrupted, FailEntry,
                          InternalError, MemoryFault, SystemEvent, Debug, Unknown>;

/// Decodes the run page after KVM_RUN returned 0. `size` is that of the mapping in bytes. Spans of
/// the result point into it. Does not allocate, unless it fails: Errc::call_failed where the page
/// contradicts itself.
[[nodiscard]] Result<Exit> decode_exit(kvm_run& run, std::size_t size);

/// Decodes the run page after KVM_RUN failed with EFAULT or EHWPOISON.
[[nodiscard]] MemoryFault decode_memory_fault(const kvm_run& run, int os_error);

/// One line for a report: "mmio write gpa 0x10000000 size 4: 2a 00 00 00".
[[nodiscard]] std::string to_string(const Exit& exit);

} // namespace slat::kvm
