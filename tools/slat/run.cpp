#include "slat/run.hpp"

#include "slat/console.hpp"
#include "slat/exit_codes.hpp"
#include "slat/stats.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace slat::tool {

namespace {

std::atomic<int> stdout_error{0}; // errno of the first write that failed, about

sigset_t ending_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

} // namespace

void block_signals() {
  const sigset_t set = ending_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGXFSZ, SIG_IGN);
}

std::optional<int> pending_signal() {
  static std::optional<int> seen;
  if (seen) return seen;
  const sigset_t set = ending_signals();
  const timespec now{};
  if (const int signal = sigtimedwait(&set, nullptr, &now); signal > 0) seen = signal;
  return seen;
}

vmm::Result<RunResult> run_machine(vmm::Machine& machine, std::chrono::milliseconds interval,
                                   const std::function<void()>& tick, Console* console) {
  const sigset_t set = ending_signals();
  const kvm::Fd signals(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (signals.get() < 0)
    return vmm::fail(
        vmm::Errc::host_limit, errno,
        fmt::format("cannot create a signalfd: {}; raise the limit on open files (ulimit -n)",
                    std::strerror(errno)));
  prepare_stats();
  if (auto ok = machine.start(); !ok) return vmm::forward(ok);
  // Last, for what it has started would have its filter too; the guest runs already.
  if (auto ok = vmm::enter_sandbox(vmm::ThreadKind::main, machine.config().seccomp); !ok)
    return vmm::forward(ok);
  RunResult result;
  for (;;) {
    pollfd fds[] = {{signals.get(), POLLIN, 0},
                    {machine.ended_fd(), POLLIN, 0},
                    {console != nullptr ? console->fd() : -1, POLLIN, 0}};
    poll(fds, 3, int(interval.count())); // an interrupted poll is a tick
    if (fds[2].revents != 0 && !console->pump()) {
      result.signal = SIGINT;
      machine.request_stop();
    }
    signalfd_siginfo info{};
    if (::read(signals.get(), &info, sizeof info) == sizeof info) {
      result.signal = int(info.ssi_signo);
      machine.request_stop();
    }
    if (auto end = machine.wait_for(std::chrono::milliseconds(0))) {
      result.end = std::move(*end);
      return result;
    }
    tick();
  }
}

void write_stdout(std::span<const char> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (count < 0 && errno != EINTR && errno != EAGAIN) {
      stdout_error.store(errno,
                         std::memory_order_relaxed); // a number, read when the threads have ended
      return;
    }
    if (count > 0) bytes = bytes.subspan(std::size_t(count));
  }
}

void open_standard_streams() {
  int fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd <= STDERR_FILENO)
    fd = open("/dev/null", O_RDWR); // the lowest free one each time
  if (fd > STDERR_FILENO) close(fd);
}

int finish_stdout(int code) {
  if (std::fflush(stdout) != 0) stdout_error.store(errno, std::memory_order_relaxed);
  const int error = stdout_error.load(std::memory_order_relaxed); // see above
  if (error == 0 && std::ferror(stdout) == 0) return code;
  fmt::print(stderr,
             "slat: standard output cannot be written: {}; free space, or send it elsewhere\n",
             std::strerror(error != 0 ? error : EIO));
  return exit_host_failed;
}

} // namespace slat::tool
