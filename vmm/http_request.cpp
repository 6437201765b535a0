#include "vmm/http_request.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace slat::vmm {

namespace {

constexpr std::array<std::pair<std::string_view, HttpMethod>, 5> methods = {
    {{"GET", HttpMethod::get},
     {"PUT", HttpMethod::put},
     {"PATCH", HttpMethod::patch},
     {"POST", HttpMethod::post},
     {"DELETE", HttpMethod::delete_}}};

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// tchar of RFC 9110.
bool is_token_char(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool is_token(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, is_token_char);
}

/// Equal but for the case of ASCII letters; `lower` has none in upper case.
bool same(std::string_view text, std::string_view lower) {
  return std::ranges::equal(text, lower, {},
                            [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

} // namespace

std::string_view to_string(HttpMethod method) {
  return std::ranges::find(methods, method, &std::pair<std::string_view, HttpMethod>::second)
      ->first;
}

std::string_view reason_of(HttpStatus status) {
  switch (status) {
  case HttpStatus::ok:
    return "OK";
  case HttpStatus::no_content:
    return "No Content";
  case HttpStatus::bad_request:
    return "Bad Request";
  case HttpStatus::forbidden:
    return "Forbidden";
  case HttpStatus::not_found:
    return "Not Found";
  case HttpStatus::method_not_allowed:
    return "Method Not Allowed";
  case HttpStatus::request_timeout:
    return "Request Timeout";
  case HttpStatus::length_required:
    return "Length Required";
  case HttpStatus::content_too_large:
    return "Content Too Large";
  case HttpStatus::uri_too_long:
    return "URI Too Long";
  case HttpStatus::expectation_failed:
    return "Expectation Failed";
  case HttpStatus::headers_too_large:
    return "Request Header Fields Too Large";
  case HttpStatus::internal_error:
    return "Internal Server Error";
  case HttpStatus::not_implemented:
    return "Not Implemented";
  case HttpStatus::version_not_supported:
    return "HTTP Version Not Supported";
  }
  return "Unknown";
}

std::size_t HttpParser::feed(std::string_view bytes) {
  std::size_t used = 0;
  while (used < bytes.size() && state() == State::incomplete) {
    begun_ = true;
    if (part_ == Part::body) {
      const std::size_t part =
          std::min<std::size_t>(bytes.size() - used, length_.value_or(0) - request_.body.size());
      request_.body.append(bytes.substr(used, part));
      used += part;
      if (request_.body.size() == length_) part_ = Part::done;
    } else {
      take_byte(bytes[used++]);
    }
  }
  return used;
}

HttpParser::State HttpParser::state() const {
  if (part_ == Part::failed) return State::failed;
  return part_ == Part::done ? State::complete : State::incomplete;
}

bool HttpParser::take_continue() {
  return part_ == Part::body && std::exchange(expects_, false);
}

HttpRequest HttpParser::take() {
  HttpRequest request = std::move(request_);
  *this = HttpParser();
  return request;
}

void HttpParser::take_byte(char byte) {
  if (part_ == Part::headers && ++header_bytes_ > max_headers)
    return fail(HttpStatus::headers_too_large, "the headers are longer than 8192 bytes");
  if (std::exchange(cr_, byte == '\r')) {
    if (byte != '\n') return fail(HttpStatus::bad_request, "a carriage return within a line");
    return end_of_line();
  }
  if (byte == '\r') return;
  const auto value = static_cast<unsigned char>(byte);
  if (byte == '\n') return fail(HttpStatus::bad_request, "a line does not end in CR LF");
  if ((value < 0x20 && byte != '\t') || value == 0x7f)
    return fail(HttpStatus::bad_request, "a control character in the head of the request");
  line_ += byte;
  if (part_ == Part::start_line && line_.size() + 2 > max_request_line)
    fail(HttpStatus::uri_too_long, "the request line is longer than 1024 bytes");
}

void HttpParser::end_of_line() {
  if (part_ == Part::start_line) {
    if (!line_.empty()) return request_line();
    if (std::exchange(empty_line_, true)) fail(HttpStatus::bad_request, "no request line");
    return;
  }
  if (line_.empty()) return end_of_headers();
  header();
}

void HttpParser::request_line() {
  const std::string_view line = line_;
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last ||
      line.substr(first + 1, last - first - 1).find_first_of(" \t") != std::string_view::npos)
    return fail(HttpStatus::bad_request, "the request line is not METHOD PATH HTTP/1.1");
  const std::string_view method = line.substr(0, first);
  std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (!is_token(method))
    return fail(HttpStatus::bad_request, "the method has characters that none may have");
  if (version.size() != 8 || !version.starts_with("HTTP/") || !is_digit(version[5]) ||
      version[6] != '.' || !is_digit(version[7]))
    return fail(HttpStatus::bad_request, "the request line does not end in HTTP/1.1");
  if (version != "HTTP/1.1" && version != "HTTP/1.0")
    return fail(HttpStatus::version_not_supported, "only HTTP/1.1 and HTTP/1.0 are spoken here");
  const auto known =
      std::ranges::find(methods, method, &std::pair<std::string_view, HttpMethod>::first);
  if (known == methods.end())
    return fail(HttpStatus::not_implemented, "no such method: GET, PUT, PATCH, POST or DELETE");
  if (same(target.substr(0, 7), "http://")) // the absolute form, which servers have to take
    target.remove_prefix(std::min(target.size(), target.find('/', 7)));
  if (!target.starts_with('/') ||
      !std::ranges::all_of(target, [](char c) { return c > 0x20 && c < 0x7f && c != '#'; }))
    return fail(HttpStatus::bad_request, "the path does not begin with '/', or is not plain ASCII");
  request_.method = known->second;
  request_.target = target;
  old_ = version == "HTTP/1.0";
  request_.keep_alive = !old_;
  line_.clear();
  part_ = Part::headers;
}

void HttpParser::header() {
  if (++header_count_ > max_header_count)
    return fail(HttpStatus::headers_too_large, "more than 64 headers");
  const std::size_t colon = line_.find(':');
  const std::string_view name = std::string_view(line_).substr(0, colon);
  if (colon == std::string::npos || !is_token(name))
    return fail(HttpStatus::bad_request, "a header is not NAME: VALUE");
  const std::string_view value = trimmed(std::string_view(line_).substr(colon + 1));
  if (same(name, "content-length"))
    content_length(value);
  else if (same(name, "connection"))
    connection(value);
  else if (same(name, "transfer-encoding"))
    coded_ = true;
  else if (same(name, "expect"))
    (same(value, "100-continue") ? expects_ : unknown_expectation_) = true;
  line_.clear();
}

void HttpParser::content_length(std::string_view value) {
  if (value.empty() || !std::ranges::all_of(value, is_digit))
    return fail(HttpStatus::bad_request, "Content-Length is not a number");
  std::uint64_t length = 0;
  for (const char c : value) // beyond the limit it only has to stay there
    length = std::min<std::uint64_t>(length * 10 + std::uint64_t(c - '0'), max_body + 1);
  if (length_ && length_ != length)
    return fail(HttpStatus::bad_request, "two different Content-Lengths");
  length_ = length;
}

void HttpParser::connection(std::string_view value) {
  while (!value.empty()) {
    const std::string_view word = trimmed(value.substr(0, value.find(',')));
    value.remove_prefix(std::min(value.size(), value.find(',')));
    if (!value.empty()) value.remove_prefix(1);
    if (same(word, "close")) request_.keep_alive = old_ = false; // for good: close wins
    if (same(word, "keep-alive") && old_) request_.keep_alive = true;
  }
}

void HttpParser::end_of_headers() {
  if (coded_)
    return fail(HttpStatus::not_implemented, "transfer codings are not taken: give Content-Length");
  if (unknown_expectation_)
    return fail(HttpStatus::expectation_failed, "the only expectation taken is 100-continue");
  const bool has_body =
      request_.method != HttpMethod::get && request_.method != HttpMethod::delete_;
  if (!length_ && has_body)
    return fail(HttpStatus::length_required, "no Content-Length: say how long the body is");
  if (length_.value_or(0) > max_body)
    return fail(HttpStatus::content_too_large, "the body is longer than 51200 bytes");
  part_ = length_.value_or(0) == 0 ? Part::done : Part::body;
}

void HttpParser::fail(HttpStatus status, std::string_view reason) {
  part_ = Part::failed;
  status_ = status;
  reason_ = reason;
}

} // namespace slat::vmm
