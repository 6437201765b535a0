#include "kvm/exit.hpp"

#include "kvm/uapi_newer.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

namespace slat::kvm {

namespace {

Result<Exit> decode_io(kvm_run& run, std::size_t size) {
  const auto& io = run.io;
  const std::uint64_t bytes = std::uint64_t{io.size} * io.count;
  if (io.data_offset > size || bytes > size - io.data_offset)
    return fail(Errc::call_failed, 0,
                fmt::format("KVM_RUN: port access of {} bytes at offset {} lies outside the run "
                            "page of {} bytes; this kernel is not understood",
                            bytes, io.data_offset, size));
  std::byte* const data = reinterpret_cast<std::byte*>(&run) + io.data_offset;
  if (io.direction == KVM_EXIT_IO_OUT) return IoOut{io.port, io.size, io.count, {data, bytes}};
  return IoIn{io.port, io.size, io.count, {data, bytes}};
}

Result<Exit> decode_mmio(kvm_run& run) {
  auto& mmio = run.mmio;
  if (mmio.len > sizeof(mmio.data))
    return fail(
        Errc::call_failed, 0,
        fmt::format("KVM_RUN: MMIO access of {} bytes; this kernel is not understood", mmio.len));
  std::byte* const data = reinterpret_cast<std::byte*>(mmio.data);
  if (mmio.is_write != 0) return MmioWrite{mmio.phys_addr, mmio.len, {data, mmio.len}};
  return MmioRead{mmio.phys_addr, mmio.len, {data, mmio.len}};
}

InternalError decode_internal_error(const kvm_run& run) {
  InternalError error{};
  error.suberror = run.internal.suberror;
  error.ndata = std::min<std::uint32_t>(run.internal.ndata, 16);
  std::copy_n(run.internal.data, error.ndata, error.data.begin());
  // The instruction shares its words with data[1] and data[2]; they count only if ndata covers
  // them.
  const auto& emulation = run.emulation_failure;
  if (error.is_emulation() && error.ndata >= 3 &&
      (emulation.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0) {
    error.insn_size = std::min<std::uint8_t>(emulation.insn_size, sizeof(emulation.insn_bytes));
    std::copy_n(emulation.insn_bytes, error.insn_size, error.insn.begin());
  }
  return error;
}

SystemEvent decode_system_event(const kvm_run& run) {
  SystemEvent event{};
  event.type = run.system_event.type;
  event.ndata = std::min<std::uint32_t>(run.system_event.ndata, 16);
  std::copy_n(run.system_event.data, event.ndata, event.data.begin());
  return event;
}

} // namespace

Result<Exit> decode_exit(kvm_run& run, std::size_t size) {
  switch (run.exit_reason) {
  case KVM_EXIT_IO:
    return decode_io(run, size);
  case KVM_EXIT_MMIO:
    return decode_mmio(run);
  case KVM_EXIT_HLT:
    return Hlt{};
  case KVM_EXIT_SHUTDOWN:
    return Shutdown{};
  case KVM_EXIT_INTR:
    return Interrupted{};
  case KVM_EXIT_FAIL_ENTRY:
    return FailEntry{run.fail_entry.hardware_entry_failure_reason, run.fail_entry.cpu};
  case KVM_EXIT_INTERNAL_ERROR:
    return decode_internal_error(run);
  case KVM_EXIT_SYSTEM_EVENT:
    return decode_system_event(run);
  case KVM_EXIT_DEBUG:
    return Debug{run.debug.arch.pc, run.debug.arch.exception, run.debug.arch.dr6,
                 run.debug.arch.dr7};
  default:
    return Unknown{run.exit_reason};
  }
}

MemoryFault decode_memory_fault(const kvm_run& run, int os_error) {
  MemoryFault fault{os_error, false, 0, 0, 0};
  if (run.exit_reason != uapi::kvm_exit_memory_fault) return fault;
  uapi::KvmMemoryFault raw;
  std::memcpy(&raw, run.padding, sizeof(raw));
  return MemoryFault{os_error, true, raw.gpa, raw.size, raw.flags};
}

} // namespace slat::kvm
