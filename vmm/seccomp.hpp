// Seccomp filters: each kind of thread may make the system calls that it needs, and no other.
//
// A thread starts without a filter, or with its creator's, and enters its own once; filters stack, and a call must pass
// all of them. Therefore whoever starts threads enters last, or has a filter that lets them start and enter:
//
//   main            Machine::create() ---- prepare_sandbox() ---- Machine::start() ---- enters ---- run loop, teardown
//                       |                        |                      |
//   fault_service       +-- starts, enters       |                      |     faults come from here on
//   reclaim                                      +-- enters             |     (mmu's thread for what is freed later)
//   storm               before start(), or by control: starts, enters   |
//   vcpu                                                                +-- starts, enters, then enters the guest
//   device              with its device, before start(): starts, enters
//   control             before main enters: starts, enters; the one kind that may start threads afterwards (storms), so
//                       it may do all that a storm may
//
//     unfiltered ---- enter_sandbox() ----> filtered for good ---- a call that is not listed ----> process ends (159)
//
// A process that makes one machine after another (slat inval, tests) leaves its main thread unfiltered: its other
// threads are not. What opens files or starts threads late is therefore done ahead (prepare_sandbox(), prepare_stats()).
//
// The lists are in seccomp_rules.cpp; the build compiles them with libseccomp (seccomp_compiler.cpp).
#pragma once

#include "vmm/error.hpp"

#include <cstddef>
#include <string_view>

namespace slat::vmm {

enum class ThreadKind : unsigned {
  main,          // of the command, once its machine has been started
  vcpu,          // runs guest code
  fault_service, // reads the userfaultfd
  storm,         // changes guest memory while the guest runs
  reclaim,       // frees what readers may still see
  device,        // a device's own worker: its image, the guest's memory, an interrupt
  control,       // the API socket
};

inline constexpr unsigned thread_kinds = 7;

/// As in "a vCPU thread".
[[nodiscard]] std::string_view name(ThreadKind kind);

enum class SeccompMode {
  on,
  off, // no filter at all
  log, // what is not listed is done, and the kernel logs it
};

/// Sanitizers make calls of their own, from any thread: their builds have no filters, and take every mode for `off`.
#ifdef SLAT_NO_SECCOMP
inline constexpr bool seccomp_in_this_build = false;
#else
inline constexpr bool seccomp_in_this_build = true;
#endif

/// How a process ends whose thread made a call that is not on its list: 128 + SIGSYS, as a shell says of that signal.
/// One line on standard error names the kind of thread and the call; not from code that blocks all signals (starts of
/// threads, grace periods), where the kernel ends the process by the signal itself. `log` tells of those too.
inline constexpr int exit_forbidden_call = 159;

/// Before the first thread of a machine is started: looks whether this kernel has filters and this process may use them,
/// handles SIGSYS, and sees to mmu's thread. Any number of times. Errors: host_unavailable, no_permission.
Result<void> prepare_sandbox(SeccompMode mode);

/// Confines the calling thread, and threads that it starts, for good. Once, after prepare_sandbox(). Does not allocate;
/// does not sleep. Errors: host_failed; the thread must then not go on.
Result<void> enter_sandbox(ThreadKind kind, SeccompMode mode);

/// What a kernel without filters, or that does not let this process have one, says to slat: 0, or errno.
[[nodiscard]] int why_no_seccomp();

} // namespace slat::vmm
