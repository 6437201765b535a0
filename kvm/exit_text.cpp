#include "kvm/exit.hpp"
#include "kvm/ioctl.hpp"
#include "kvm/uapi_newer.hpp"

#include <fmt/format.h>
#include <iterator>
#include <string_view>

namespace slat::kvm {

namespace {

// A report is read by people: of a long string operation the start is enough.
constexpr std::size_t max_bytes_shown = 32;

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes.size() && i < max_bytes_shown; ++i)
    fmt::format_to(std::back_inserter(text), "{}{:02x}", i == 0 ? "" : " ",
                   std::to_integer<unsigned>(bytes[i]));
  if (bytes.size() > max_bytes_shown) text += " ...";
  return text;
}

std::string words(const std::array<std::uint64_t, 16>& data, std::uint32_t count) {
  std::string text;
  for (std::uint32_t i = 0; i < count; ++i)
    fmt::format_to(std::back_inserter(text), " {:#x}", data[i]);
  return text;
}

std::string_view suberror_name(std::uint32_t suberror) {
  switch (suberror) {
  case KVM_INTERNAL_ERROR_EMULATION:
    return "emulation failed";
  case KVM_INTERNAL_ERROR_SIMUL_EX:
    return "simultaneous exceptions";
  case KVM_INTERNAL_ERROR_DELIVERY_EV:
    return "exit while an event was delivered";
  case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
    return "unexpected exit reason";
  default:
    return "unknown suberror";
  }
}

std::string_view event_name(std::uint32_t type) {
  switch (type) {
  case KVM_SYSTEM_EVENT_SHUTDOWN:
    return "shutdown";
  case KVM_SYSTEM_EVENT_RESET:
    return "reset";
  case KVM_SYSTEM_EVENT_CRASH:
    return "crash";
  case KVM_SYSTEM_EVENT_WAKEUP:
    return "wakeup";
  case KVM_SYSTEM_EVENT_SUSPEND:
    return "suspend";
  default:
    return "unknown";
  }
}

std::string_view reason_name(std::uint32_t reason) {
  switch (reason) {
  case KVM_EXIT_EXCEPTION:
    return "EXCEPTION";
  case KVM_EXIT_HYPERCALL:
    return "HYPERCALL";
  case KVM_EXIT_IRQ_WINDOW_OPEN:
    return "IRQ_WINDOW_OPEN";
  case KVM_EXIT_SET_TPR:
    return "SET_TPR";
  case KVM_EXIT_IOAPIC_EOI:
    return "IOAPIC_EOI";
  case KVM_EXIT_HYPERV:
    return "HYPERV";
  case KVM_EXIT_X86_RDMSR:
    return "X86_RDMSR";
  case KVM_EXIT_X86_WRMSR:
    return "X86_WRMSR";
  case KVM_EXIT_DIRTY_RING_FULL:
    return "DIRTY_RING_FULL";
  case KVM_EXIT_X86_BUS_LOCK:
    return "X86_BUS_LOCK";
  case KVM_EXIT_NOTIFY:
    return "NOTIFY";
  case uapi::kvm_exit_memory_fault:
    return "MEMORY_FAULT";
  default:
    return "?";
  }
}

struct Describe {
  std::string operator()(const IoOut& e) const {
    return fmt::format("out port {:#x} size {} count {}: {}", e.port, e.size, e.count, hex(e.data));
  }

  std::string operator()(const IoIn& e) const {
    return fmt::format("in port {:#x} size {} count {}", e.port, e.size, e.count);
  }

  std::string operator()(const MmioRead& e) const {
    return fmt::format("mmio read gpa {:#x} size {}", e.gpa, e.size);
  }

  std::string operator()(const MmioWrite& e) const {
    return fmt::format("mmio write gpa {:#x} size {}: {}", e.gpa, e.size, hex(e.data));
  }

  std::string operator()(const Hlt&) const { return "hlt"; }

  std::string operator()(const Shutdown&) const { return "shutdown (triple fault)"; }

  std::string operator()(const Interrupted&) const { return "interrupted"; }

  std::string operator()(const FailEntry& e) const {
    return fmt::format("entry refused by the processor: reason {:#x} on host CPU {}", e.reason,
                       e.cpu);
  }

  std::string operator()(const InternalError& e) const {
    std::string text =
        fmt::format("KVM internal error {} ({})", e.suberror, suberror_name(e.suberror));
    if (e.insn_size != 0)
      text +=
          fmt::format(", instruction {}", hex(std::as_bytes(std::span(e.insn).first(e.insn_size))));
    if (e.ndata != 0) text += fmt::format(", data{}", words(e.data, e.ndata));
    return text;
  }

  std::string operator()(const MemoryFault& e) const {
    if (!e.described)
      return fmt::format("guest memory fault: {}, address not told by the kernel",
                         os_error_text(e.os_error));
    return fmt::format("guest memory fault: {}, gpa {:#x} size {:#x} flags {:#x}",
                       os_error_text(e.os_error), e.gpa, e.size, e.flags);
  }

  std::string operator()(const SystemEvent& e) const {
    return fmt::format("system event {} ({}){}{}", e.type, event_name(e.type),
                       e.ndata == 0 ? "" : ", data", words(e.data, e.ndata));
  }

  std::string operator()(const Debug& e) const {
    return fmt::format("debug: pc {:#x} exception {} dr6 {:#x} dr7 {:#x}", e.pc, e.exception, e.dr6,
                       e.dr7);
  }

  std::string operator()(const Unknown& e) const {
    return fmt::format("exit reason {} ({}), which is not handled", e.reason,
                       reason_name(e.reason));
  }
};

} // namespace

std::string to_string(const Exit& exit) {
  return std::visit(Describe{}, exit);
}

} // namespace slat::kvm
