#include "guests/builtin.hpp"

// Laid by the generated builtin_images.S.
extern "C" const std::byte slat_builtin_hello_begin[], slat_builtin_hello_end[];
extern "C" const std::byte slat_builtin_memstress_begin[], slat_builtin_memstress_end[];

namespace slat::guest {

std::span<const std::byte> builtin_hello() {
  return {slat_builtin_hello_begin, slat_builtin_hello_end};
}

std::span<const std::byte> builtin_memstress() {
  return {slat_builtin_memstress_begin, slat_builtin_memstress_end};
}

} // namespace slat::guest
