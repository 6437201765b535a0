#include "vmm/crash_report.hpp"

#include "vmm/guest_walk.hpp"
#include "vmm/printable.hpp"

#include <Zydis/Zydis.h>
#include <algorithm>
#include <fmt/format.h>
#include <iterator>
#include <span>
#include <vector>

namespace slat::vmm {
namespace {

constexpr std::size_t columns = 80;
constexpr std::size_t shown_instructions = 5;
constexpr std::size_t shown_bytes = 16;
constexpr std::size_t longest_instruction = 15;
constexpr std::uint64_t page_size = 4096;

enum class CodeMode { real16, protected16, protected32, long64 };

CodeMode code_mode(const CrashRegisters& r) {
  if ((r.cr0 & cr0_protection) == 0) return CodeMode::real16;
  if ((r.efer & efer_long_mode_active) != 0 && r.cs_long) return CodeMode::long64;
  return r.cs_big ? CodeMode::protected32 : CodeMode::protected16;
}

class Lines {
 public:
  template <class... Args> void add(fmt::format_string<Args...> format, Args&&... args) {
    const auto line = fmt::format(format, std::forward<Args>(args)...);
    out_.append(line, 0, columns);
    out_ += '\n';
  }

  void add_wrapped(std::string_view text) {
    while (text.size() > columns) {
      const auto space = text.rfind(' ', columns);
      const bool at_space = space != std::string_view::npos && space != 0;
      add("{}", text.substr(0, at_space ? space : columns));
      text.remove_prefix(at_space ? space + 1 : columns);
    }
    add("{}", text);
  }

  [[nodiscard]] std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

void add_registers(Lines& lines, const CrashRegisters& r) {
  lines.add("rip {:016x} rflags {:016x} cpl {}", r.rip, r.rflags, r.cpl);
  lines.add("rax {:016x} rbx {:016x} rcx {:016x}", r.rax, r.rbx, r.rcx);
  lines.add("rdx {:016x} rsi {:016x} rdi {:016x}", r.rdx, r.rsi, r.rdi);
  lines.add("rbp {:016x} rsp {:016x} r8  {:016x}", r.rbp, r.rsp, r.r8);
  lines.add("r9  {:016x} r10 {:016x} r11 {:016x}", r.r9, r.r10, r.r11);
  lines.add("r12 {:016x} r13 {:016x} r14 {:016x}", r.r12, r.r13, r.r14);
  lines.add("r15 {:016x} cr0 {:016x} cr2 {:016x}", r.r15, r.cr0, r.cr2);
  lines.add("cr3 {:016x} cr4 {:016x} efer {:016x}", r.cr3, r.cr4, r.efer);
  const auto segments = [&lines](std::string_view n1, const CrashSegment& s1, std::string_view n2,
                                 const CrashSegment& s2) {
    lines.add("{} {:04x} base {:016x}   {} {:04x} base {:016x}", n1, s1.selector, s1.base, n2,
              s2.selector, s2.base);
  };
  segments("cs", r.cs, "ss", r.ss);
  segments("ds", r.ds, "es", r.es);
  segments("fs", r.fs, "gs", r.gs);
}

// In 64-bit code the base of CS does not count; elsewhere a linear address has 32 bits.
std::uint64_t linear_rip(const CrashRegisters& r) {
  return code_mode(r) == CodeMode::long64 ? r.rip : (r.cs.base + r.rip) & UINT32_MAX;
}

struct Code {
  std::vector<std::uint8_t> bytes;
  std::string stopped; // why there are no more; empty where all were read
};

Code read_code(const CrashRegisters& r, GuestMemory& memory) {
  const std::uint64_t linear = linear_rip(r);
  Code code;
  code.bytes.resize(shown_instructions * longest_instruction);
  std::size_t have = 0;
  while (have < code.bytes.size() && code.stopped.empty()) {
    const std::uint64_t address = linear + have;
    const auto here =
        std::min<std::size_t>(code.bytes.size() - have, page_size - address % page_size);
    const auto gpa = translate(memory, {r.cr0, r.cr3, r.cr4, r.efer}, address);
    if (!gpa) {
      code.stopped = gpa.error().message;
    } else if (!memory.read(*gpa,
                            std::as_writable_bytes(std::span(code.bytes).subspan(have, here)))) {
      code.stopped = fmt::format("guest physical address {:#x} cannot be read", *gpa);
    } else {
      have += here;
    }
  }
  code.bytes.resize(have);
  return code;
}

ZydisMachineMode machine_mode(CodeMode mode) {
  switch (mode) {
  case CodeMode::real16:
    return ZYDIS_MACHINE_MODE_REAL_16;
  case CodeMode::protected16:
    return ZYDIS_MACHINE_MODE_LEGACY_16;
  case CodeMode::protected32:
    return ZYDIS_MACHINE_MODE_LEGACY_32;
  case CodeMode::long64:
    break;
  }
  return ZYDIS_MACHINE_MODE_LONG_64;
}

void add_disassembly(Lines& lines, std::span<const std::uint8_t> bytes, CodeMode mode,
                     std::uint64_t rip) {
  for (std::size_t i = 0; i < shown_instructions && !bytes.empty(); ++i) {
    ZydisDisassembledInstruction instruction;
    const auto status =
        ZydisDisassembleIntel(machine_mode(mode), rip, bytes.data(), bytes.size(), &instruction);
    if (!ZYAN_SUCCESS(status)) {
      lines.add("  {:016x}  ({})", rip,
                status == ZYDIS_STATUS_NO_MORE_DATA ? "goes on past what can be read"
                                                    : "no valid instruction");
      return;
    }
    lines.add("  {:016x}  {}", rip, static_cast<const char*>(instruction.text));
    rip += instruction.info.length;
    bytes = bytes.subspan(instruction.info.length);
  }
}

} // namespace

std::string crash_report(std::string_view cause, const CrashRegisters& registers,
                         GuestMemory& memory) {
  Lines lines;
  lines.add_wrapped(printable(cause));
  add_registers(lines, registers);

  const auto mode = code_mode(registers);
  const auto code = read_code(registers, memory);
  if (!code.bytes.empty()) {
    const auto shown = std::span(code.bytes).first(std::min(code.bytes.size(), shown_bytes));
    lines.add("code at rip: {:02x}", fmt::join(shown, " "));
    add_disassembly(lines, code.bytes, mode, registers.rip);
  } else {
    lines.add("code at rip: not readable");
    lines.add_wrapped("  " + code.stopped);
  }
  return lines.take();
}

std::string instruction_at(const CrashRegisters& registers, GuestMemory& memory) {
  const auto code = read_code(registers, memory);
  if (code.bytes.empty()) return code.stopped;
  ZydisDisassembledInstruction instruction;
  const auto status = ZydisDisassembleIntel(machine_mode(code_mode(registers)), registers.rip,
                                            code.bytes.data(), code.bytes.size(), &instruction);
  return ZYAN_SUCCESS(status) ? std::string(instruction.text) : "no valid instruction";
}

} // namespace slat::vmm
