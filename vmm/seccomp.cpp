#include "vmm/seccomp.hpp"

#include "mmu/rcu.hpp"
#include "vmm/seccomp_rules.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <fmt/format.h>
#include <iterator>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <optional>
#include <pthread.h>
#include <span>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace slat::vmm {

namespace {

struct Program {
  std::span<const sock_filter> filter;
  std::size_t pid; // the instruction that compares with it
};

#include <seccomp_programs.inc>

static_assert(std::size(programs) == thread_kinds);

constexpr std::size_t longest_program = [] {
  std::size_t most = 0;
  for (const Program& program : programs) most = std::max(most, program.filter.size());
  return most;
}();

/// For the signal handler.
thread_local std::optional<ThreadKind> entered;

/// A line in pieces, without anything that a signal handler must not do.
class Line {
 public:
  void add(std::string_view text) {
    const std::size_t count = std::min(text.size(), text_.size() - length_);
    std::copy_n(text.begin(), count, text_.begin() + std::ptrdiff_t(length_));
    length_ += count;
  }

  void add(unsigned number) {
    if (number >= 10) add(number / 10);
    const char digit = char('0' + number % 10);
    add({&digit, 1});
  }

  void write() const { (void)!::write(STDERR_FILENO, text_.data(), length_); }

 private:
  std::array<char, 256> text_;
  std::size_t length_ = 0;
};

std::string_view call_name(unsigned call) {
  if (call >= std::size(call_name_places)) return "";
  return call_names + call_name_places[call];
}

/// Async-signal-safe. Whoever made the call is not to be trusted: nothing is cleaned up.
void on_forbidden_call(int, siginfo_t* info, void*) {
  const auto call = unsigned(info->si_syscall);
  Line line;
  line.add("slat: seccomp: a ");
  line.add(entered ? name(*entered) : "filtered");
  line.add(" thread made a system call that it may not make: ");
  line.add(call_name(call));
  line.add(call_name(call).empty() ? "number " : " (number ");
  line.add(call);
  line.add(call_name(call).empty() ? "" : ")");
  line.add("; run with --seccomp off to see whether the filter is at fault\n");
  line.write();
  _exit(exit_forbidden_call);
}

/// mmu's thread belongs to a layer that knows nothing of filters: a call that it is given to run enters for it.
void confine_reclaimer(SeccompMode mode) {
  struct Entry {
    mmu::DeferredCall call;
    pthread_t poster;
    SeccompMode mode;
  };

  static std::atomic<bool> posted{false};
  if (posted.exchange(true, std::memory_order_relaxed)) return; // only who comes first
  static Entry entry;
  entry = {{}, pthread_self(), mode};
  mmu::rcu::call(entry.call, [](mmu::DeferredCall*) {
    // Where no thread could be had, whoever waits for a grace period runs what is queued.
    if (!entered && pthread_equal(pthread_self(), entry.poster) == 0)
      (void)enter_sandbox(ThreadKind::reclaim, entry.mode);
  });
}

} // namespace

std::string_view name(ThreadKind kind) {
  constexpr std::array<std::string_view, thread_kinds> names = {
      "main", "vCPU", "fault", "storm", "reclaim", "device", "control"};
  return names[std::size_t(kind)];
}

int why_no_seccomp() {
  const std::uint32_t action = SECCOMP_RET_TRAP;
  return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0 ? 0 : errno;
}

Result<void> prepare_sandbox(SeccompMode mode) {
  if (!seccomp_in_this_build || mode == SeccompMode::off) return {};
  if (const int error = why_no_seccomp(); error == EPERM || error == EACCES)
    return fail(Errc::no_permission, error,
                fmt::format("seccomp filters are not permitted here: {}; let the filter of the "
                            "container pass seccomp(2), or run with --seccomp off",
                            std::strerror(error)));
  else if (error != 0)
    return fail(Errc::host_unavailable, error,
                fmt::format("this kernel has no seccomp filters: {}; use one with "
                            "CONFIG_SECCOMP_FILTER=y, or run with --seccomp off",
                            std::strerror(error)));
  struct sigaction action{};
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = on_forbidden_call;
  sigaction(SIGSYS, &action, nullptr);
  confine_reclaimer(mode);
  return {};
}

Result<void> enter_sandbox(ThreadKind kind, SeccompMode mode) {
  if (!seccomp_in_this_build || mode == SeccompMode::off) return {};
  const Program& program = programs[std::size_t(kind)];
  std::array<sock_filter, longest_program> filter;
  std::copy(program.filter.begin(), program.filter.end(), filter.begin());
  filter[program.pid].k = std::uint32_t(getpid());
  if (mode == SeccompMode::log)
    for (sock_filter& at : std::span(filter).first(program.filter.size()))
      if (at.code == (BPF_RET | BPF_K) && (at.k & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_TRAP)
        at.k = SECCOMP_RET_LOG;
  const sock_fprog load{static_cast<unsigned short>(program.filter.size()), filter.data()};
  entered = kind; // a thread that cannot enter ends
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &load) != 0) {
    const int error = errno;
    return fail(
        Errc::host_failed, error,
        fmt::format("a {} thread cannot load its seccomp filter: {}; run with --seccomp off",
                    name(kind), std::strerror(error)));
  }
  return {};
}

} // namespace slat::vmm
