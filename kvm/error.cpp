#include "kvm/error.hpp"

namespace slat::kvm {

std::string_view to_string(Errc code) {
  switch (code) {
  case Errc::no_device:
    return "no_device";
  case Errc::no_permission:
    return "no_permission";
  case Errc::not_supported:
    return "not_supported";
  case Errc::limit_exceeded:
    return "limit_exceeded";
  case Errc::invalid_argument:
    return "invalid_argument";
  case Errc::call_failed:
    return "call_failed";
  }
  return "?";
}

} // namespace slat::kvm
