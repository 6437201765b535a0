#include "kvm/ioctl.hpp"

#include <cstring>

namespace slat::kvm {

std::string os_error_text(int os_error) {
  // Unlike strerror() these are thread-safe and know no locale.
  const char* text = ::strerrordesc_np(os_error);
  const char* name = ::strerrorname_np(os_error);
  if (text == nullptr || name == nullptr) return fmt::format("error {}", os_error);
  return fmt::format("{} ({})", text, name);
}

tl::unexpected<Error> call_failed(std::string_view call, int os_error) {
  switch (os_error) {
  case EMFILE:
    return fail(Errc::call_failed, os_error,
                fmt::format("{}: {}; raise the limit on open files (ulimit -n)", call,
                            os_error_text(os_error)));
  case EIO:
    return fail(Errc::call_failed, os_error,
                fmt::format("{}: {}; a virtual machine can only be used by the process that made "
                            "it, and not after KVM declared it dead (see dmesg)",
                            call, os_error_text(os_error)));
  case ENOTTY:
    return fail(Errc::not_supported, os_error,
                fmt::format("{}: {}; the descriptor is not KVM's, or this kernel is too old for "
                            "the call",
                            call, os_error_text(os_error)));
  default:
    return fail(Errc::call_failed, os_error, fmt::format("{}: {}", call, os_error_text(os_error)));
  }
}

} // namespace slat::kvm
