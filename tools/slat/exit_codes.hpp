// The exit codes of slat; `slat --help` lists them. 64 and above follow sysexits.h where it has a word for it.
#pragma once

#include "vmm/error.hpp"

namespace slat::tool {

enum ExitCode : int {
  exit_success = 0,
  exit_failed_verdict = 1, // slat stress, slat bench: the run ended and found something wrong
  exit_refused = 1,        // slat ctl: the machine will not do that
  exit_guest_max = 63, // slat boot: 0 to 63 are the guest's own; a larger code of its becomes 63
  exit_usage = 64,
  exit_bad_image = 65,
  exit_no_input = 66,
  exit_unavailable = 69,
  exit_guest_crashed = 70,
  exit_host_failed = 71,
  exit_guest_halted = 72,
  exit_guest_reset = 74,
  exit_host_limit = 75,
  exit_no_permission = 77,
  exit_interrupted = 130, // 128 + SIGINT; 143 for SIGTERM
  // 159: vmm::exit_forbidden_call
};

[[nodiscard]] inline int exit_code_of(vmm::Errc code) {
  switch (code) {
  case vmm::Errc::invalid_argument:
    return exit_usage;
  case vmm::Errc::no_such_file:
    return exit_no_input;
  case vmm::Errc::bad_image:
  case vmm::Errc::out_of_guest_memory:
    return exit_bad_image;
  case vmm::Errc::host_unavailable:
    return exit_unavailable;
  case vmm::Errc::no_permission:
    return exit_no_permission;
  case vmm::Errc::host_limit:
    return exit_host_limit;
  case vmm::Errc::bad_queue:
  case vmm::Errc::guest_crashed:
    return exit_guest_crashed;
  case vmm::Errc::read_only:
  case vmm::Errc::host_failed:
    return exit_host_failed;
  }
  return exit_host_failed;
}

inline constexpr const char* exit_code_help = R"(Exit codes:
  0        success, or an end by `slat ctl shutdown`; for `slat boot` 0 to 63
           are the guest's own exit code (a larger one becomes 63)
  1        slat stress, slat bench: the run found something wrong; slat ctl: the
           machine refused
  64       wrong options
  65       not a bootable image; slat report: not a recording or a result
  66       no such file, or not a regular one
  69       the host lacks something (see `slat doctor`); slat ctl: no answer
  70       the guest crashed
  71       a system call failed
  72       the guest halted for good
  74       the guest asked for a reset
  75       a limit of the host
  77       no permission
  130, 143 interrupted by SIGINT (Ctrl-C) or SIGTERM
  141      nobody reads standard output any more (SIGPIPE)
  159      a thread made a system call that its seccomp filter refuses (SIGSYS)
)";

} // namespace slat::tool
