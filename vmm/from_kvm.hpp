// Errors of kvm/ in the terms of vmm/: the same line, under the code that decides the exit status.
#pragma once

#include "kvm/error.hpp"
#include "vmm/error.hpp"

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
  return fail(from_kvm(result.error().code), result.error().os_error,
              std::move(result.error().message));
}

} // namespace slat::vmm
