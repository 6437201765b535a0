#include "slat/ctl_client.hpp"

#include "kvm/fd.hpp"
#include "vmm/printable.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>

namespace slat::tool {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t most = 4 << 20; // bytes of an answer

/// A connection with an end to all waiting.
class Conversation {
 public:
  Conversation(const std::string& socket, std::chrono::milliseconds timeout)
      : name_(vmm::printable(socket)), timeout_(timeout), deadline_(Clock::now() + timeout) {}

  vmm::Result<void> connect(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path)
      return vmm::fail(vmm::Errc::invalid_argument, 0,
                       fmt::format("the path of the control socket has {} bytes; one has 1 to {}",
                                   path.size(), sizeof address.sun_path - 1));
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    fd_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd_.valid()) return failed("make a socket for");
    while (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      if (errno != EAGAIN && errno != EINTR) return failed("reach");
      if (Clock::now() >= deadline_) return late(); // too many wait already
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return {};
  }

  vmm::Result<void> send(std::string_view bytes) {
    while (!bytes.empty()) {
      if (auto ok = wait(POLLOUT); !ok) return ok;
      const ssize_t count = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count < 0 && errno != EAGAIN && errno != EINTR) return {}; // an answer may say why
      if (count > 0) bytes.remove_prefix(std::size_t(count));
    }
    return {};
  }

  vmm::Result<std::string> read_to_end() {
    std::string all;
    std::array<char, 16384> piece;
    for (;;) {
      if (auto ok = wait(POLLIN); !ok) return vmm::forward(ok);
      const ssize_t count = ::recv(fd_.get(), piece.data(), piece.size(), 0);
      if (count < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (count <= 0) return all;
      all.append(piece.data(), std::size_t(count));
      if (all.size() > most) return vmm::Result<std::string>(wrong("the answer has no end"));
    }
  }

  [[nodiscard]] tl::unexpected<vmm::Error> wrong(std::string_view why) const {
    return vmm::fail(vmm::Errc::host_unavailable, 0,
                     fmt::format("'{}' is not the control socket of a slat: {}", name_, why));
  }

 private:
  vmm::Result<void> wait(short events) {
    for (;;) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline_ - Clock::now());
      if (left.count() <= 0) return late();
      pollfd ready{fd_.get(), events, 0};
      if (::poll(&ready, 1, int(left.count())) > 0) return {};
    }
  }

  [[nodiscard]] tl::unexpected<vmm::Error> late() const {
    return vmm::fail(
        vmm::Errc::host_unavailable, 0,
        fmt::format("no answer from the control socket '{}' within {} s; it may be busy: --timeout",
                    name_, std::chrono::duration_cast<std::chrono::seconds>(timeout_).count()));
  }

  [[nodiscard]] tl::unexpected<vmm::Error> failed(std::string_view what) const {
    const int error = errno;
    if (error == ENOENT || error == ENOTDIR)
      return vmm::fail(
          vmm::Errc::no_such_file, error,
          fmt::format("there is no control socket '{}'; start slat with --api-socket", name_));
    if (error == ECONNREFUSED)
      return vmm::fail(
          vmm::Errc::host_unavailable, error,
          fmt::format("nobody listens at the control socket '{}': its slat has ended", name_));
    const bool denied = error == EACCES || error == EPERM;
    return vmm::fail(
        denied ? vmm::Errc::no_permission : vmm::Errc::host_failed, error,
        fmt::format("cannot {} the control socket '{}': {}", what, name_, std::strerror(error)));
  }

  const std::string name_;
  const std::chrono::milliseconds timeout_;
  const Clock::time_point deadline_;
  kvm::Fd fd_;
};

} // namespace

vmm::Result<vmm::HttpAnswer> ask(const std::string& socket, const CtlRequest& request,
                                 std::chrono::milliseconds timeout) {
  std::string wire = fmt::format("{} {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n",
                                 vmm::to_string(request.method), request.target);
  if (request.method == vmm::HttpMethod::put || request.method == vmm::HttpMethod::patch)
    wire += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n",
                        request.body.size());
  wire += "\r\n" + request.body;
  Conversation conversation(socket, timeout);
  if (auto ok = conversation.connect(socket); !ok) return vmm::forward(ok);
  if (auto ok = conversation.send(wire); !ok) return vmm::forward(ok);
  auto bytes = conversation.read_to_end();
  if (!bytes) return vmm::forward(bytes);
  auto answer = vmm::parse_answer(*bytes);
  if (!answer) return vmm::Result<vmm::HttpAnswer>(conversation.wrong(answer.error()));
  return *answer;
}

} // namespace slat::tool
