// Runs a machine to its end, or to Ctrl-C.
#pragma once

#include "vmm/machine.hpp"

#include <chrono>
#include <functional>
#include <optional>

namespace slat::tool {

class Console;

/// Blocks SIGINT and SIGTERM in this thread and in those that it starts, so that run_machine() gets them; and ignores
/// SIGXFSZ, so that a memfd over RLIMIT_FSIZE is an error and not the end. First thing in main().
void block_signals();

/// SIGINT or SIGTERM that has come since block_signals(), the first; looks for one, and does not wait. For work that
/// run_machine() does not watch; one thread's.
[[nodiscard]] std::optional<int> pending_signal();

/// For what is to be done less often than a tick comes: true once in an interval. One thread.
class Every {
 public:
  explicit Every(std::chrono::milliseconds interval) : interval_(interval) {}

  [[nodiscard]] bool is_due() {
    const auto now = std::chrono::steady_clock::now();
    if (now < next_) return false;
    next_ = now + interval_;
    return true;
  }

 private:
  const std::chrono::milliseconds interval_;
  std::chrono::steady_clock::time_point next_{};
};

struct RunResult {
  vmm::MachineEnd end;
  std::optional<int>
      signal; // SIGINT or SIGTERM, if that ended it; SIGINT for the console's own key too
};

/// Starts the machine, confines this thread for good (vmm/seccomp.hpp), and sleeps until it has ended, or a signal came and all vCPUs have stopped. `tick` is called about
/// every `interval` meanwhile, on this thread. `console`, if there is one, is pumped. Once in a process, unless filters are off.
/// Errors: host_limit, host_failed.
vmm::Result<RunResult> run_machine(vmm::Machine& machine, std::chrono::milliseconds interval,
                                   const std::function<void()>& tick, Console* console = nullptr);

/// Opens /dev/null in place of standard streams that are closed, so that no file of ours becomes one. First thing in
/// main().
void open_standard_streams();

/// Writes all of it to standard output; SIGPIPE ends the process where nobody reads any more. Other failures are kept for
/// finish_stdout().
void write_stdout(std::span<const char> bytes);

/// The exit code, or, with a message, another one where standard output could not be written. Last thing in main().
[[nodiscard]] int finish_stdout(int code);

} // namespace slat::tool
