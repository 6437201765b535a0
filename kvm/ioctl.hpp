// How this folder calls the kernel and names what it answers. Internal to kvm/ and its tests.
#pragma once

#include "kvm/error.hpp"
#include "kvm/fd.hpp"

#include <cerrno>
#include <fmt/format.h>
#include <string>
#include <string_view>
#include <sys/ioctl.h>

namespace slat::kvm {

/// ioctl(), called again while a signal interrupts it. Returns what the call returned (0 or more),
/// or -errno. Does not allocate and is thread-safe. Not for KVM_RUN, where EINTR is an answer.
template <class Arg>
[[nodiscard]] int retry_ioctl(const Fd& fd, unsigned long request, Arg arg) noexcept {
  for (;;) {
    const int got = ::ioctl(fd.get(), request, arg);
    if (got >= 0) return got;
    if (errno != EINTR) return -errno;
  }
}

/// "Permission denied (EACCES)".
[[nodiscard]] std::string os_error_text(int os_error);

/// The error of a call that has no better explanation: "KVM_SET_REGS: Invalid argument (EINVAL)".
[[nodiscard]] tl::unexpected<Error> call_failed(std::string_view call, int os_error);

} // namespace slat::kvm
