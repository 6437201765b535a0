// Any registers, page tables and code: a report of printable lines of at most 80 columns.
//
// Input: the registers (as much of crash_input as there is), then the content of the pages that cr3
// leads to.
#include "crash_input.hpp"
#include "expect.hpp"
#include "fake_guest_memory.hpp"
#include "vmm/crash_report.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

using namespace slat::vmm;

namespace {

void check(std::string_view report) {
  expect(!report.empty() && report.back() == '\n', "the last line ends");
  std::size_t column = 0;
  for (const char c : report) {
    column = c == '\n' ? 0 : column + 1;
    expect(column <= 80, "no line is longer than 80 columns");
    expect(c == '\n' || static_cast<unsigned char>(c) >= 0x20, "no control characters");
  }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static FakeGuestMemory memory(std::vector<GpaRange>{{0, 0x8000}, {0x10000, 0x1000}});
  memory.reset();
  CrashInput input{};
  const std::size_t head = std::min(size, sizeof input);
  if (head != 0) std::memcpy(&input, data, head);
  const auto pages =
      std::as_bytes(std::span(data + head, std::min<std::size_t>(size - head, 0x8000)));
  if (!memory.write(0, pages)) std::abort();

  CrashRegisters registers{};
  registers.rip = input.rip;
  registers.cr0 = input.cr0;
  registers.cr3 = input.cr3;
  registers.cr4 = input.cr4;
  registers.efer = input.efer;
  registers.cs = {static_cast<std::uint16_t>(input.rip), input.cs_base};
  registers.cs_long = (input.flags & 1) != 0;
  registers.cs_big = (input.flags & 2) != 0;
  registers.cpl = input.flags;
  registers.rax = registers.r8 = input.cs_base;
  const auto* cause = reinterpret_cast<const char*>(pages.data());
  check(crash_report({cause, pages.size()}, registers, memory));
  return 0;
}
