#include "mmu/error.hpp"

namespace slat::mmu {

std::string_view to_string(Errc code) {
  switch (code) {
  case Errc::invalid_argument:
    return "invalid_argument";
  case Errc::exists:
    return "exists";
  case Errc::not_mapped:
    return "not_mapped";
  case Errc::access_denied:
    return "access_denied";
  case Errc::no_memory:
    return "no_memory";
  case Errc::would_block:
    return "would_block";
  case Errc::poisoned:
    return "poisoned";
  case Errc::source_failed:
    return "source_failed";
  case Errc::os_failed:
    return "os_failed";
  }
  return "?";
}

} // namespace slat::mmu
