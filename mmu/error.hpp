// Errors of mmu/: one enum, one Result. A message is one line that names the thing, the cause and
// the mend.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace slat::mmu {

enum class Errc {
  invalid_argument, // an address, length or flag that makes no sense
  exists,           // the range is mapped already
  not_mapped,       // nothing is mapped in (a part of) the range
  access_denied,    // the VMA does not allow the access
  no_memory,        // host memory, or a limit on it, is used up
  would_block,      // a non-blockable invalidation met a subscriber that must sleep
  poisoned,         // the page's source failed; its content is lost
  source_failed,    // a page source could not do what was asked
  os_failed,        // a system call failed for another reason
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

} // namespace slat::mmu
