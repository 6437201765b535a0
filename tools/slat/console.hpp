// Console: this process' standard input as the keyboard of a guest.
#pragma once

#include "vmm/console_input.hpp"

#include <optional>
#include <termios.h>

namespace slat::tool {

/// While it lives, a terminal on standard input is raw: keys go to the guest as they come, Ctrl-C too. Ctrl-] is the one
/// that does not: it ends the run. Where standard input is something else, its bytes go to the guest until its end.
class Console {
 public:
  explicit Console(vmm::ConsoleInput& guest);
  /// The terminal is as it was.
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  /// Poll it for reading, and call pump() then. -1: there is nothing to come, or no room for now.
  [[nodiscard]] int fd() const;

  /// Takes what there is, without waiting. False: the user wants the run to end.
  [[nodiscard]] bool pump();

  [[nodiscard]] bool is_terminal() const { return before_.has_value(); }

 private:
  vmm::ConsoleInput* guest_;
  std::optional<termios> before_;
  bool at_end_ = false;
};

} // namespace slat::tool
