// What every test of a refusal looks at: the code, what the message names, and that it is one line.
#pragma once

#include "vmm/error.hpp"

#include <gmock/gmock.h>

namespace slat::vmm {

MATCHER_P2(FailsWith, code, text,
           std::string("fails with ") + std::string(to_string(code)) + " naming " + text) {
  if (arg) {
    *result_listener << "which succeeded";
    return false;
  }
  const auto& error = arg.error();
  *result_listener << "which says " << to_string(error.code) << ": " << error.message;
  return error.code == code && error.message.find(text) != std::string::npos &&
         error.message.find('\n') == std::string::npos && !error.message.empty() &&
         error.message.back() != '.';
}

} // namespace slat::vmm
