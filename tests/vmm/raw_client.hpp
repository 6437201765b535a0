// A client of a Unix socket that sends whatever bytes a test wants.
#pragma once

#include <chrono>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

namespace slat::test {

class RawClient {
 public:
  explicit RawClient(const std::string& path)
      : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    connected_ = connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }

  ~RawClient() { close(fd_); }

  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  [[nodiscard]] bool connected() const { return connected_; }

  /// False: the other side does not take it (any more), or not within 20 s.
  bool send(std::string_view bytes) const {
    while (!bytes.empty()) {
      pollfd ready{fd_, POLLOUT, 0};
      if (poll(&ready, 1, 20'000) <= 0) return false;
      const ssize_t count = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (count < 0) return false;
      bytes.remove_prefix(std::size_t(count));
    }
    return true;
  }

  void end_of_input() const { shutdown(fd_, SHUT_WR); }

  /// Something has come, or the end.
  [[nodiscard]] bool readable() const {
    pollfd ready{fd_, POLLIN, 0};
    return poll(&ready, 1, 0) > 0;
  }

  /// All until the other side ends it, or until `text` has come; gives up after 20 s.
  std::string read_until(std::string_view text) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while ((text.empty() || read_.find(text) == std::string::npos) &&
           std::chrono::steady_clock::now() < deadline) {
      pollfd ready{fd_, POLLIN, 0};
      if (poll(&ready, 1, 100) <= 0) continue;
      char buffer[4096];
      const ssize_t count = recv(fd_, buffer, sizeof buffer, 0);
      if (count <= 0) {
        ended_ = true;
        break;
      }
      read_.append(buffer, std::size_t(count));
    }
    return std::exchange(read_, {});
  }

  std::string read_to_end() { return read_until({}); }

  [[nodiscard]] bool ended() const { return ended_; }

 private:
  int fd_;
  bool connected_ = false;
  bool ended_ = false;
  std::string read_;
};

/// What a GET of `path` gives, as it comes over the wire.
inline std::string get_once(const std::string& socket, const std::string& path) {
  RawClient client(socket);
  client.send("GET " + path + " HTTP/1.1\r\nConnection: close\r\n\r\n");
  return client.read_to_end();
}

} // namespace slat::test
