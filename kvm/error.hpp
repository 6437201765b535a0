// Errors of kvm/: one enum, one Result. A message is one line that names the thing, the cause and the mend.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace slat::kvm {

enum class Errc {
  no_device,        // /dev/kvm or /dev/userfaultfd is not there
  no_permission,    // it is there, and this user may not open it
  not_supported,    // the host's kernel lacks what was asked for
  limit_exceeded,   // more vCPUs, slots or memory than the host allows
  invalid_argument, // refused before any call was made
  call_failed,      // an ioctl or system call failed for another reason
};

struct Error {
  Errc code;
  int os_error = 0;    // errno of the call that failed, or 0
  std::string message; // one line, no trailing period or newline
};

/// A value, or the reason why there is none. Must be looked at.
template <class T> class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
};

/// Makes the failing Result: `return fail(Errc::x, 0, "...")`.
[[nodiscard]] inline tl::unexpected<Error> fail(Errc code, int os_error, std::string message) {
  return tl::unexpected<Error>(Error{code, os_error, std::move(message)});
}

/// Passes on the error of a Result of another type: `if (!r) return forward(r);`.
template <class T> [[nodiscard]] tl::unexpected<Error> forward(Result<T>& result) {
  return tl::unexpected<Error>(std::move(result.error()));
}

/// The enumerator's name, for logs and tests.
[[nodiscard]] std::string_view to_string(Errc code);

} // namespace slat::kvm
