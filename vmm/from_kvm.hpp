// Errors of kvm/ in the terms of vmm/: the same line, under the code that decides the exit status.
#pragma once

#include "kvm/error.hpp"
#include "vmm/error.hpp"

#include <cerrno>

namespace slat::vmm {

[[nodiscard]] inline Errc from_kvm(kvm::Errc code) {
  switch (code) {
  case kvm::Errc::no_device:
  case kvm::Errc::not_supported:
    return Errc::host_unavailable;
  case kvm::Errc::no_permission:
    return Errc::no_permission;
  case kvm::Errc::limit_exceeded:
    return Errc::host_limit;
  case kvm::Errc::invalid_argument:
  case kvm::Errc::call_failed:
    return Errc::host_failed;
  }
  return Errc::host_failed;
}

/// `if (!r) return from_kvm(r);`
template <class T> [[nodiscard]] tl::unexpected<Error> from_kvm(kvm::Result<T>& result) {
  const int os_error = result.error().os_error;
  // Whichever call it was that found no descriptor left: that is a limit, and no failure.
  const bool limit = os_error == EMFILE || os_error == ENFILE;
  return fail(limit ? Errc::host_limit : from_kvm(result.error().code), os_error,
              std::move(result.error().message));
}

} // namespace slat::vmm
