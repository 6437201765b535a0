// A child process with its output collected, so that tests can read on while it runs.
#pragma once

#include <csignal>
#include <functional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace slat::test {

/// How a process ended and all that it wrote.
struct Ended {
  int exit_code = -1;     // 128 + signal if a signal ended it, as a shell would say
  bool timed_out = false; // it was killed for it
  std::string out;
  std::string err;
};

struct ProcessOptions {
  std::vector<std::string> arguments;   // the first is the program's path
  std::vector<std::string> environment; // NAME=value, beyond the test's own
  bool close_stdout = false;            // nobody will read it
  /// Runs in the child before exec: rlimits, filters, another user. Only async-signal-safe calls. False: the child exits
  /// with code 126.
  std::function<bool()> prepare = [] { return true; };
};

class Process {
 public:
  /// Starts it in a process group of its own. Aborts the test program where not even fork works.
  explicit Process(const ProcessOptions& options);
  /// Kills what is left of the group.
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  /// Sleeps until standard output (or error) contains the text; false if it ends or 120 s pass first.
  [[nodiscard]] bool wait_for_output(const std::string& text);
  void send(int signal) const;

  [[nodiscard]] pid_t pid() const { return pid_; }

  /// Sleeps until it has ended, 120 s at most: then it is killed.
  Ended finish();
  /// After finish(): true if a process of its group is still there.
  [[nodiscard]] bool leaves_processes() const;

  static constexpr int timeout_ms = 120'000;

 private:
  bool read_some(int wait_ms);

  pid_t pid_ = -1;
  int out_ = -1;
  int err_ = -1;
  bool reaped_ = false;
  Ended ended_;
};

} // namespace slat::test
