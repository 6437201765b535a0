#include "vmm/http_response.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <optional>

namespace slat::vmm {

namespace {

constexpr std::string_view line_end = "\r\n";
constexpr std::string_view length_header = "content-length:";

/// A whole number and nothing else.
std::optional<std::size_t> number(std::string_view text) {
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
  return result;
}

} // namespace

HttpResponse fault(HttpStatus status, std::string_view message) {
  const nlohmann::json body = {{"fault_message", message}};
  return {.status = status,
          .body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)};
}

std::string to_wire(const HttpResponse& response, bool keep_alive) {
  std::string wire =
      fmt::format("HTTP/1.1 {} {}\r\nServer: slat\r\nConnection: {}\r\n", unsigned(response.status),
                  reason_of(response.status), keep_alive ? "keep-alive" : "close");
  if (!response.allow.empty()) wire += fmt::format("Allow: {}\r\n", response.allow);
  if (response.status == HttpStatus::no_content) return wire + "\r\n";
  wire += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                      response.body.size());
  return wire + response.body;
}

tl::expected<HttpAnswer, std::string> parse_answer(std::string_view bytes) {
  const auto wrong = [](std::string why) { return tl::unexpected(std::move(why)); };
  for (;;) {
    const std::size_t head_end = bytes.find("\r\n\r\n");
    if (head_end == std::string_view::npos)
      return wrong(bytes.empty() ? "the connection was closed without an answer"
                                 : "the answer ends before its headers do");
    std::string_view head = bytes.substr(0, head_end);
    bytes.remove_prefix(head_end + 4);
    const std::string_view status_line = head.substr(0, head.find(line_end));
    head.remove_prefix(status_line.size());
    const std::size_t status =
        status_line.size() >= 12 ? number(status_line.substr(9, 3)).value_or(0) : 0;
    if (!status_line.starts_with("HTTP/1.") || status < 100)
      return wrong("the answer is not HTTP/1.1");
    if (status < 200) continue;
    std::optional<std::size_t> length;
    while (!head.empty()) {
      head.remove_prefix(line_end.size());
      const std::string line = lower(head.substr(0, head.find(line_end)));
      head.remove_prefix(line.size());
      if (!line.starts_with(length_header)) continue;
      const std::size_t digits = line.find_first_not_of(' ', length_header.size());
      length = number(std::string_view(line).substr(std::min(digits, line.size())));
      if (!length) return wrong("the answer has a Content-Length that is no number");
    }
    if (bytes.size() < length.value_or(0)) return wrong("the answer ends in the middle");
    return HttpAnswer{unsigned(status), std::string(bytes.substr(0, length.value_or(0)))};
  }
}

} // namespace slat::vmm
