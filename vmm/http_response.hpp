// HTTP/1.1 responses: made for whoever asks a control socket, and read by `slat ctl`.
#pragma once

#include "vmm/http_request.hpp"

#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace slat::vmm {

struct HttpResponse {
  HttpStatus status = HttpStatus::ok;
  std::string body = {};       // JSON; none with no_content
  std::string_view allow = {}; // method_not_allowed: "GET, PATCH"; a literal
};

/// {"fault_message": "..."}, Firecracker's form of an error. What is not UTF-8 is replaced.
[[nodiscard]] HttpResponse fault(HttpStatus status, std::string_view message);

/// What goes over the wire. `keep_alive`: another request may follow.
[[nodiscard]] std::string to_wire(const HttpResponse& response, bool keep_alive);

/// All that came until the end of the connection, as an answer: status and body. Interim answers (100) are skipped. For
/// what slat itself sends: a body is as long as its Content-Length says. Errors: what is wrong with it, in one line.
struct HttpAnswer {
  unsigned status = 0;
  std::string body = {};
};

[[nodiscard]] tl::expected<HttpAnswer, std::string> parse_answer(std::string_view bytes);

} // namespace slat::vmm
