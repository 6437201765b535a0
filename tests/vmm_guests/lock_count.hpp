// How often this thread has locked a mutex or a reader/writer lock of the C library, which all of ours are.
#pragma once

#include <cstdint>

namespace slat::test {

/// Not in sanitizer builds, whose own interceptors stand where the counting would: see lock_count_works().
[[nodiscard]] std::uint64_t locks_taken();

[[nodiscard]] bool lock_count_works();

} // namespace slat::test
