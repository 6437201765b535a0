// The command line of the hello image. Pure and freestanding.
#pragma once

#include "guests/command_line.hpp"

#include <cstdint>

namespace slat::guest {

enum class Fault : std::uint32_t { none, triple, ud, gp, pf, de };

struct HelloOptions {
  std::uint64_t exit_code = 0;
  Fault crash = Fault::none; // with no handlers: a triple fault
  Fault trap = Fault::none;  // with handlers: printed, exit_exception
  bool spin = false;
};

constexpr bool parse_fault(Text text, Fault& out) {
  constexpr struct {
    const char* name;
    Fault fault;
  } faults[] = {{"ud", Fault::ud}, {"gp", Fault::gp}, {"pf", Fault::pf}, {"de", Fault::de}};

  for (const auto& f : faults) {
    if (text == f.name) return out = f.fault, true;
  }
  return false;
}

/// Words that it does not know are left alone, because hello echoes any command line; a value that
/// a known one cannot take is refused.
constexpr OptionError parse_hello_options(Text line, HelloOptions& out) {
  Word word;
  while (next_word(line, word)) {
    if (word.name == "exit") {
      if (!parse_number(word.value, 255, out.exit_code)) {
        return {word.whole, "wants a number from 0 to 255"};
      }
    } else if (word.name == "crash") {
      if (word.value == "triple")
        out.crash = Fault::triple;
      else if (!parse_fault(word.value, out.crash))
        return {word.whole, "wants triple, ud, gp, pf or de"};
    } else if (word.name == "trap") {
      if (!parse_fault(word.value, out.trap)) return {word.whole, "wants ud, gp, pf or de"};
    } else if (word.name == "spin" && !word.has_value) {
      out.spin = true;
    }
  }
  return {};
}

} // namespace slat::guest
