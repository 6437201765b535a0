// Each test enters a filter in a child process (EXPECT_EXIT), for nobody can leave one.
#include "vmm/seccomp_rules.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <functional>
#include <gtest/gtest.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace slat::vmm {
namespace {

using testing::ExitedWithCode;
using testing::KilledBySignal;

constexpr ThreadKind all_kinds[] = {
    ThreadKind::main,    ThreadKind::vcpu,   ThreadKind::fault_service, ThreadKind::storm,
    ThreadKind::reclaim, ThreadKind::device, ThreadKind::control};

class Seccomp : public testing::Test {
 protected:
  void SetUp() override {
    if (!seccomp_in_this_build) GTEST_SKIP() << "sanitizers make system calls of their own";
    if (why_no_seccomp() != 0) GTEST_SKIP() << "this kernel has no seccomp filters for us";
  }
};

/// In the child: confined, does it, and ends with 0 if it is true.
[[noreturn]] void confined(ThreadKind kind, SeccompMode mode, const std::function<bool()>& act) {
  if (!prepare_sandbox(mode) || !enter_sandbox(kind, mode)) std::_Exit(2);
  std::_Exit(act() ? 0 : 1);
}

struct Forbidden {
  const char* name; // what the line must call it
  std::function<long()> call;
};

const std::vector<Forbidden>& forbidden_everywhere() {
  static const std::vector<Forbidden> calls = {
      {"execve", [] { return syscall(SYS_execve, "/bin/true", nullptr, nullptr); }},
#ifdef SLAT_MIMALLOC // else it fails, see add_common()
      {"openat", [] { return syscall(SYS_openat, AT_FDCWD, "/dev/null", 0); }},
#endif
      {"open", [] { return syscall(SYS_open, "/dev/null", 0); }},
      {"socket", [] { return syscall(SYS_socket, 2, 1, 0); }},
      {"ptrace", [] { return syscall(SYS_ptrace, 0, 0, 0, 0); }},
      {"process_vm_writev", [] { return syscall(SYS_process_vm_writev, 1, 0, 0, 0, 0, 0); }},
      {"fork", [] { return syscall(SYS_fork); }},
      {"clone", [] { return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }},
      {"kill", [] { return syscall(SYS_kill, getpid(), 0); }},
      {"tgkill", [] { return syscall(SYS_tgkill, 1, 1, 0); }},
      {"prctl", [] { return syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0); }},
      {"rt_sigaction", [] { return syscall(SYS_rt_sigaction, SIGSYS, 0, 0, 8); }},
      {"ioctl", [] { return syscall(SYS_ioctl, 0, TIOCSTI, "x"); }},
      {"mmap",
       [] {
         return syscall(SYS_mmap, 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                        0);
       }},
      {"mprotect", [] { return syscall(SYS_mprotect, 0, 4096, PROT_EXEC); }},
      {"bpf", [] { return syscall(SYS_bpf, 0, 0, 0); }},
      {"io_uring_setup", [] { return syscall(SYS_io_uring_setup, 1, 0); }},
  };
  return calls;
}

TEST_F(Seccomp, AForbiddenCallEndsTheProcessWithALineThatNamesItFromEachKindOfThread) {
  for (const ThreadKind kind : all_kinds)
    for (const Forbidden& forbidden : forbidden_everywhere())
      EXPECT_EXIT(confined(kind, SeccompMode::on, [&] { return forbidden.call() == 0; }),
                  ExitedWithCode(exit_forbidden_call),
                  "^slat: seccomp: a " + std::string(name(kind)) +
                      " thread made a system call that it may not make: " + forbidden.name +
                      " \\(number [0-9]+\\); run with --seccomp off [^\n]*\n$");
}

TEST_F(Seccomp, ACallThatHasNoNameIsToldByItsNumber) {
  EXPECT_EXIT(confined(ThreadKind::vcpu, SeccompMode::on, [] { return syscall(1000) == 0; }),
              ExitedWithCode(exit_forbidden_call), "may not make: number 1000; run");
}

// The C library blocks all signals where it starts a thread, and liburcu where it waits for a grace period.
TEST_F(Seccomp, WhereSignalsAreBlockedTheKernelEndsTheProcessAndThereIsNoLine) {
  EXPECT_EXIT(confined(ThreadKind::vcpu, SeccompMode::on,
                       [] {
                         sigset_t all;
                         sigfillset(&all);
                         pthread_sigmask(SIG_BLOCK, &all, nullptr);
                         return syscall(SYS_open, "/dev/null", 0) == 0;
                       }),
              KilledBySignal(SIGSYS), "^$");
}

TEST_F(Seccomp, CallsOfAnotherArchitectureEndTheProcessAtOnce) {
  constexpr long x32 = 0x4000'0000;
  EXPECT_EXIT(
      confined(ThreadKind::vcpu, SeccompMode::on, [] { return syscall(x32 | SYS_getpid) == 0; }),
      KilledBySignal(SIGSYS), "^$");
}

TEST_F(Seccomp, KindsHaveOnlyWhatIsTheirs) {
  const auto refused = [](ThreadKind kind, const char* call, const std::function<long()>& act) {
    EXPECT_EXIT(confined(kind, SeccompMode::on, [&] { return act() == 0; }),
                ExitedWithCode(exit_forbidden_call), call);
  };
  refused(ThreadKind::vcpu, "read", [] { return syscall(SYS_read, -1, 0, 0); });
  refused(ThreadKind::vcpu, "close", [] { return syscall(SYS_close, -1); });
  refused(ThreadKind::reclaim, "fallocate", [] { return syscall(SYS_fallocate, -1, 0, 0, 1); });
  refused(ThreadKind::fault_service, "pwrite64", [] { return syscall(SYS_pwrite64, -1, 0, 0, 0); });
  refused(ThreadKind::storm, "accept4", [] { return syscall(SYS_accept4, -1, 0, 0, 0); });
  refused(ThreadKind::vcpu, "clone3", [] { return syscall(SYS_clone3, 0, 0); });
  refused(ThreadKind::main, "seccomp", [] { return syscall(SYS_seccomp, 1, 0, 0); });
  refused(ThreadKind::device, "unlink", [] { return syscall(SYS_unlink, ""); });
}

TEST_F(Seccomp, WhatEveryThreadDoesWorksInEachKind) {
  for (const ThreadKind kind : all_kinds)
    EXPECT_EXIT(confined(kind, SeccompMode::on,
                         [] {
                           std::vector<std::vector<char>> blocks;
                           for (int i = 0; i < 50; ++i) blocks.emplace_back(100'000, 'x');
                           blocks.clear();
                           std::signal(SIGBUS, [](int) {}); // its handler gives up this way
                           pthread_kill(pthread_self(), SIGBUS);
                           std::this_thread::sleep_for(std::chrono::microseconds(10));
                           std::this_thread::yield();
                           void* const page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE,
                                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                           return page != MAP_FAILED && mprotect(page, 4096, PROT_READ) == 0 &&
                                  munmap(page, 4096) == 0 && write(STDERR_FILENO, "done\n", 5) == 5;
                         }),
                ExitedWithCode(0), "^done\n$")
        << name(kind);
}

TEST_F(Seccomp, AnAbortIsStillAnAbort) {
  for (const ThreadKind kind : all_kinds)
    EXPECT_EXIT(confined(kind, SeccompMode::on,
                         [] {
                           std::abort();
                           return true;
                         }),
                KilledBySignal(SIGABRT), "^$")
        << name(kind);
}

TEST_F(Seccomp, ControlStartsThreadsThatEnterTheirOwnFilter) {
  EXPECT_EXIT(confined(ThreadKind::control, SeccompMode::on,
                       [] {
                         bool entered = false;
                         std::thread([&] {
                           pthread_setname_np(pthread_self(), "slat-storm");
                           entered = enter_sandbox(ThreadKind::storm, SeccompMode::on).has_value();
                         }).join();
                         return entered;
                       }),
              ExitedWithCode(0), "^$");
  EXPECT_EXIT(confined(ThreadKind::control, SeccompMode::on,
                       [] {
                         std::thread([] {
                           (void)enter_sandbox(ThreadKind::storm, SeccompMode::on);
                           (void)syscall(SYS_accept4, -1, 0, 0, 0);
                         }).join();
                         return true;
                       }),
              ExitedWithCode(exit_forbidden_call), "a storm thread .* accept4 ");
}

TEST_F(Seccomp, ControlMayDoAllThatAStormMay) {
  const auto control = seccomp_rules(ThreadKind::control);
  for (const SeccompRule& rule : seccomp_rules(ThreadKind::storm))
    EXPECT_NE(std::find(control.begin(), control.end(), rule), control.end()) << rule.call;
}

TEST_F(Seccomp, AThreadInheritsTheFilterOfWhoStartsIt) {
  for (const ThreadKind kind : {ThreadKind::main, ThreadKind::storm, ThreadKind::control})
    EXPECT_EXIT(confined(kind, SeccompMode::on,
                         [] {
                           std::thread([] { std::fputs("started\n", stderr); }).join();
                           std::thread([] { (void)syscall(SYS_open, "/dev/null", 0); }).join();
                           return true;
                         }),
                ExitedWithCode(exit_forbidden_call),
                "^started\nslat: seccomp: a filtered thread .* open ")
        << name(kind);
}

TEST_F(Seccomp, LogLetsTheCallPass) {
  EXPECT_EXIT(confined(ThreadKind::vcpu, SeccompMode::log,
                       [] { return syscall(SYS_open, "/dev/null", 0) >= 0; }),
              ExitedWithCode(0), "^$");
}

TEST_F(Seccomp, OffIsNoFilter) {
  const int seccomp = prctl(PR_GET_SECCOMP), no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
  EXPECT_EXIT(confined(ThreadKind::vcpu, SeccompMode::off,
                       [&] {
                         return syscall(SYS_openat, AT_FDCWD, "/dev/null", 0) >= 0 &&
                                prctl(PR_GET_SECCOMP) == seccomp &&
                                prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == no_new_privs;
                       }),
              ExitedWithCode(0), "^$");
}

} // namespace
} // namespace slat::vmm
