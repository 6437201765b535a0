// Errors of vmm/: one enum, one Result. A message is one line that names the thing, the cause and the mend.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace slat::vmm {

enum class Errc {
  invalid_argument,    // a value the user gave makes no sense
  no_such_file,        // an input file is missing or unreadable
  bad_image,           // a kernel image that is not what it should be
  out_of_guest_memory, // an address or a size outside the guest's RAM
  read_only,           // guest memory that cannot be written to now
  host_unavailable,    // the host lacks a device or a feature
  no_permission,       // the host has it, and this user may not use it
  host_limit,          // a limit of the host is in the way
  bad_queue,           // a guest's virtio driver broke a rule
  guest_crashed,       // triple fault, internal error, or an exit that cannot be handled
  host_failed,         // a system call failed for another reason
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

} // namespace slat::vmm
