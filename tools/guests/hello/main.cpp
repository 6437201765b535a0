// hello: shows that a machine boots, prints and ends; and, when asked, that it crashes or never
// ends.
#include "guests/abi.hpp"
#include "guests/hello_options.hpp"
#include "guests/runtime/io.hpp"
#include "guests/runtime/machine.hpp"
#include "guests/runtime/print.hpp"

#include <cstdint>

namespace slat::guest {
namespace {

constexpr std::uint64_t unmapped = std::uint64_t{1} << 46; // 64 TiB: no RAM reaches up there

void raise(Fault fault) {
  switch (fault) {
  case Fault::none:
    return;
  case Fault::triple:
  case Fault::ud:
    asm volatile("ud2");
    return;
  case Fault::de:
    asm volatile("divl %0" : : "r"(0), "a"(1), "d"(0) : "cc");
    return;
  case Fault::gp:
    asm volatile("hlt");
    return; // privileged
  case Fault::pf:
    asm volatile("movb (%0), %%al" : : "r"(unmapped) : "al");
    return;
  }
}

const char* name_of(std::uint32_t e820_type) {
  switch (e820_type) {
  case 1:
    return "RAM";
  case 2:
    return "reserved";
  case 3:
    return "ACPI data";
  case 4:
    return "ACPI NVS";
  case 5:
    return "unusable";
  case 7:
    return "persistent memory";
  default:
    return "type ";
  }
}

void print_memory_map(const BootParams& params) {
  std::uint64_t ram = 0;
  for (unsigned i = 0; i < params.e820_count(); ++i) {
    const BootParams::E820Entry e = params.e820()[i];
    Line line;
    line.put(Text{"e820: "});
    line.put(Hex{e.start, 16});
    line.put(Text{"-"});
    line.put(Hex{e.start + e.size - 1, 16});
    line.put(Text{" "});
    const Text name{name_of(e.type)};
    line.put(name);
    if (name == "type ") line.put(std::uint64_t{e.type});
    if (e.type == BootParams::type_ram) ram += e.size;
  }
  print_line("RAM: ", ram / 1024, " KiB in an e820 map of ", std::uint64_t{params.e820_count()},
             " entries");
}

} // namespace

void guest_crashed(std::uint32_t) {}

void guest_main(const Boot& boot) {
  print_line("Hello from a slat guest.");
  print_memory_map(*boot.params);
  print_line("vCPUs: ", std::uint64_t{boot.vcpu_count});
  if (boot.tsc_khz != 0) print_line("TSC: ", boot.tsc_khz, " kHz");
  print_line("command line: ", boot.params->command_line());

  HelloOptions options;
  const OptionError error = parse_hello_options(boot.params->command_line(), options);
  if (error.reason != nullptr) {
    print_line("hello: '", error.word, "' ", error.reason);
    exit_machine(exit_parameter);
  }
  if (options.spin) {
    print_line("hello: spinning for ever");
    for (;;) pause();
  }
  if (options.crash != Fault::none) {
    print_line("hello: crashing on purpose");
    drop_exception_handlers();
    raise(options.crash);
  }
  if (options.trap != Fault::none) {
    print_line("hello: raising an exception on purpose");
    raise(options.trap);
  }
  print_line("hello: exit code ", options.exit_code);
  exit_machine(static_cast<std::uint32_t>(options.exit_code));
}

} // namespace slat::guest
