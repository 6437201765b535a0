// One request to the control socket of a slat, and its answer.
#pragma once

#include "vmm/error.hpp"
#include "vmm/http_response.hpp"

#include <chrono>
#include <string>
#include <string_view>

namespace slat::tool {

struct CtlRequest {
  vmm::HttpMethod method = vmm::HttpMethod::get;
  std::string_view target = "/";
  std::string body = {}; // JSON; sent with PUT and PATCH alone
};

/// Sends it and waits for the answer, `timeout` in all. Errors: no_such_file: no socket there; no_permission;
/// invalid_argument: the path cannot be one; host_unavailable: nobody listens, answers in time, or speaks HTTP; host_failed.
/// Sleeps.
vmm::Result<vmm::HttpAnswer> ask(const std::string& socket, const CtlRequest& request,
                                 std::chrono::milliseconds timeout);

} // namespace slat::tool
