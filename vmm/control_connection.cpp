#include "vmm/control_connection.hpp"

#include <array>
#include <cerrno>
#include <poll.h>
#include <sys/socket.h>

namespace slat::vmm {

namespace {

constexpr std::size_t piece = 8192;
constexpr std::size_t most_drained = 1 << 20; // then the client does not listen anyway

/// What recv() gave: bytes, nothing for now, or the end.
enum class Got { bytes, nothing, end };

Got receive(int fd, std::array<char, piece>& bytes, std::size_t& count) {
  const ssize_t result = ::recv(fd, bytes.data(), bytes.size(), 0);
  count = result > 0 ? std::size_t(result) : 0;
  if (result > 0) return Got::bytes;
  return result < 0 && (errno == EAGAIN || errno == EINTR) ? Got::nothing : Got::end;
}

} // namespace

ControlConnection::ControlConnection(kvm::Fd fd, const Limits& limits)
    : fd_(std::move(fd)), limits_(limits) {
  await_request();
}

short ControlConnection::events() const {
  return state_ == State::writing ? POLLOUT : POLLIN;
}

void ControlConnection::await_request() {
  state_ = State::reading;
  deadline_ = Clock::now() + limits_.idle;
}

bool ControlConnection::step(const Handler& handler) {
  switch (state_) {
  case State::draining:
    return drain();
  case State::writing:
    return flush();
  case State::reading:
    break;
  }
  if (input_.empty() && !read_some()) return false;
  return work(handler);
}

bool ControlConnection::read_some() {
  std::array<char, piece> bytes;
  std::size_t count = 0;
  const Got got = receive(fd_.get(), bytes, count);
  input_.append(bytes.data(), count);
  return got != Got::end;
}

bool ControlConnection::work(const Handler& handler) {
  if (input_.empty()) return true;
  if (!parser_.has_begun()) deadline_ = Clock::now() + limits_.request;
  input_.erase(0, parser_.feed(input_));
  switch (parser_.state()) {
  case HttpParser::State::failed:
    return refuse(fault(parser_.status(), parser_.reason()));
  case HttpParser::State::complete: {
    const HttpRequest request = parser_.take();
    return send(handler(request), request.keep_alive);
  }
  case HttpParser::State::incomplete:
    break;
  }
  if (!parser_.take_continue()) return true;
  output_ = "HTTP/1.1 100 Continue\r\n\r\n";
  interim_ = true;
  state_ = State::writing; // the time for the request goes on
  return flush();
}

bool ControlConnection::refuse(const HttpResponse& response) {
  return send(response, false);
}

bool ControlConnection::send(const HttpResponse& response, bool keep_alive) {
  keep_alive_ = keep_alive;
  interim_ = false;
  output_ = to_wire(response, keep_alive);
  state_ = State::writing;
  deadline_ = Clock::now() + limits_.request;
  return flush();
}

bool ControlConnection::flush() {
  while (!output_.empty()) {
    const ssize_t sent = ::send(fd_.get(), output_.data(), output_.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return errno == EAGAIN;
    output_.erase(0, std::size_t(sent));
  }
  if (interim_) {
    interim_ = false;
    state_ = State::reading;
  } else if (keep_alive_) {
    await_request();
  } else {
    (void)::shutdown(fd_.get(), SHUT_WR);
    state_ = State::draining;
  }
  return true;
}

bool ControlConnection::drain() {
  std::array<char, piece> bytes;
  std::size_t count = 0;
  const Got got = receive(fd_.get(), bytes, count);
  drained_ += count;
  return got != Got::end && drained_ <= most_drained;
}

bool ControlConnection::expire() {
  if (state_ != State::reading || is_idle()) return false;
  return refuse(fault(HttpStatus::request_timeout, "the request did not come to its end in time"));
}

} // namespace slat::vmm
