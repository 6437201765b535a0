// ControlConnection: one client of the control socket. It never blocks: bytes are taken as they come, and go as they are taken.
//
//   reading --request is whole, wrong or late--> writing --all is gone--> reading      (it may send the next one)
//                                                                    +--> draining     (it may not)
//   draining: what is still coming is thrown away, so that closing does not take the answer away from the client
//   any --end of the input, an error, or its time is over--> closed
//
// One thread uses it.
#pragma once

#include "kvm/fd.hpp"
#include "vmm/http_response.hpp"

#include <chrono>
#include <functional>
#include <string>

namespace slat::vmm {

class ControlConnection {
 public:
  using Clock = std::chrono::steady_clock;
  using Handler = std::function<HttpResponse(const HttpRequest& request)>;

  struct Limits {
    std::chrono::milliseconds request{
        5000}; // from its first byte to its last, and for each answer to be taken
    std::chrono::milliseconds idle{60'000}; // between requests
  };

  /// `fd` is non-blocking.
  ControlConnection(kvm::Fd fd, const Limits& limits);

  [[nodiscard]] int fd() const { return fd_.get(); }

  /// For poll().
  [[nodiscard]] short events() const;

  /// There is work without waiting for poll(): a further request has come together with the last one.
  [[nodiscard]] bool has_more() const { return state_ == State::reading && !input_.empty(); }

  /// Between requests: closing it harms nobody.
  [[nodiscard]] bool is_idle() const {
    return state_ == State::reading && input_.empty() && !parser_.has_begun();
  }

  /// By when something has to have happened: then expire().
  [[nodiscard]] Clock::time_point deadline() const { return deadline_; }

  /// Goes on as far as it can, at most one request. False: it is over. Sleeps as the handler does.
  [[nodiscard]] bool step(const Handler& handler);
  /// Its time is over. False: so is it.
  [[nodiscard]] bool expire();
  /// Answers and closes, whatever comes.
  [[nodiscard]] bool refuse(const HttpResponse& response);

 private:
  enum class State { reading, writing, draining };

  bool read_some();
  bool work(const Handler& handler);
  bool send(const HttpResponse& response, bool keep_alive);
  bool flush();
  bool drain();
  void await_request();

  kvm::Fd fd_;
  const Limits limits_;
  State state_ = State::reading;
  HttpParser parser_;
  std::string input_;    // taken, and not parsed yet
  std::string output_;   // to be sent
  bool interim_ = false; // that is "100 Continue": the body is still to come
  bool keep_alive_ = true;
  std::size_t drained_ = 0;
  Clock::time_point deadline_;
};

} // namespace slat::vmm
