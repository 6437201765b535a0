#include "vmm/error.hpp"

namespace slat::vmm {

std::string_view to_string(Errc code) {
  switch (code) {
  case Errc::invalid_argument:
    return "invalid_argument";
  case Errc::no_such_file:
    return "no_such_file";
  case Errc::bad_image:
    return "bad_image";
  case Errc::read_only:
    return "read_only";
  case Errc::out_of_guest_memory:
    return "out_of_guest_memory";
  case Errc::host_unavailable:
    return "host_unavailable";
  case Errc::no_permission:
    return "no_permission";
  case Errc::host_limit:
    return "host_limit";
  case Errc::bad_queue:
    return "bad_queue";
  case Errc::guest_crashed:
    return "guest_crashed";
  case Errc::host_failed:
    return "host_failed";
  }
  return "?";
}

} // namespace slat::vmm
