// HTTP/1.1 requests (RFC 9112), as far as a control socket needs them: a parser that takes the bytes as they come. Whatever
// follows from them does not depend on how they were cut into pieces.
//
// Stricter than it has to be where that is simpler: lines end in CR LF, no folded headers, no transfer codings, one
// Content-Length. Laxer in one thing, as Firecracker is: a Host header is not asked for, for a socket is no host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace slat::vmm {

enum class HttpMethod : std::uint8_t { get, put, patch, post, delete_ };

/// "GET"
[[nodiscard]] std::string_view to_string(HttpMethod method);

/// The statuses that slat answers with.
enum class HttpStatus : unsigned {
  ok = 200,
  no_content = 204,
  bad_request = 400,
  forbidden = 403,
  not_found = 404,
  method_not_allowed = 405,
  request_timeout = 408,
  length_required = 411,
  content_too_large = 413,
  uri_too_long = 414,
  expectation_failed = 417,
  headers_too_large = 431,
  internal_error = 500,
  not_implemented = 501,
  version_not_supported = 505,
};

/// "Bad Request"
[[nodiscard]] std::string_view reason_of(HttpStatus status);

struct HttpRequest {
  HttpMethod method = HttpMethod::get;
  std::string target = {}; // starts with '/', printable ASCII; as it came, with nothing decoded
  std::string body = {};
  bool keep_alive = true; // another request may follow
};

class HttpParser {
 public:
  // In bytes, line ends included where there are lines. The body's is Firecracker's.
  static constexpr std::size_t max_request_line = 1024;
  static constexpr std::size_t max_headers = 8192; // all of them
  static constexpr std::size_t max_header_count = 64;
  static constexpr std::size_t max_body = 51200;

  enum class State { incomplete, complete, failed };

  /// Takes bytes up to the end of the request, or up to the one that is wrong, and returns how many. None after that.
  std::size_t feed(std::string_view bytes);

  [[nodiscard]] State state() const;

  /// Some byte of a request has come.
  [[nodiscard]] bool has_begun() const { return begun_; }

  /// Incomplete: the client waits for "100 Continue" before it sends the body. True once.
  [[nodiscard]] bool take_continue();

  /// Complete: the request; the parser is ready for the next one.
  [[nodiscard]] HttpRequest take();

  /// Failed: what to answer before the connection is closed, and why, in one line.
  [[nodiscard]] HttpStatus status() const { return status_; }

  [[nodiscard]] std::string_view reason() const { return reason_; }

 private:
  enum class Part { start_line, headers, body, done, failed };

  void take_byte(char byte);
  void end_of_line();
  void request_line();
  void header();
  void content_length(std::string_view value);
  void connection(std::string_view value);
  void end_of_headers();
  void fail(HttpStatus status, std::string_view reason);

  Part part_ = Part::start_line;
  HttpRequest request_;
  std::string line_; // so far, without its end
  bool cr_ = false;  // the last byte was one
  bool begun_ = false;
  bool empty_line_ = false; // one before the request, which is allowed
  bool old_ = false;        // HTTP/1.0
  bool expects_ = false;
  bool unknown_expectation_ = false;
  bool coded_ = false;
  std::size_t header_bytes_ = 0;
  std::size_t header_count_ = 0;
  std::optional<std::uint64_t> length_;
  HttpStatus status_ = HttpStatus::ok;
  std::string_view reason_; // a literal
};

} // namespace slat::vmm
