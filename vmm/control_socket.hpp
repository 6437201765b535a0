// ControlSocket: serves HTTP requests on a Unix socket, on one thread, "slat-api". One request at a time is worked on; nobody
// who is slow, silent or wrong keeps others from being served.
#pragma once

#include "vmm/control_connection.hpp"
#include "vmm/seccomp.hpp"
#include "vmm/unix_listener.hpp"

#include <list>
#include <memory>
#include <thread>
#include <vector>

namespace slat::vmm {

class ControlSocket {
 public:
  /// More wait until one is closed; one that is idle is closed for them.
  static constexpr std::size_t max_connections = 16;

  /// Serves from here on. `handler` runs on the socket's thread, whose filter is that of ThreadKind::control;
  /// prepare_sandbox() first. Errors: those of UnixListener::open(); host_limit.
  static Result<std::unique_ptr<ControlSocket>> open(const std::filesystem::path& path,
                                                     ControlConnection::Handler handler,
                                                     SeccompMode seccomp,
                                                     const ControlConnection::Limits& limits = {});
  /// Removes the file, lets a handler come to its end, and closes what is open. Not on the handler's thread. Sleeps.
  ~ControlSocket();
  ControlSocket(const ControlSocket&) = delete;
  ControlSocket& operator=(const ControlSocket&) = delete;

 private:
  using Clock = ControlConnection::Clock;

  ControlSocket(UnixListener listener, kvm::Fd stop, ControlConnection::Handler handler,
                SeccompMode seccomp, const ControlConnection::Limits& limits);
  Result<void> start();
  void run();
  void serve(const std::vector<short>& events);
  void take_new_ones();
  [[nodiscard]] bool has_room() const;
  void make_room();
  [[nodiscard]] int wait_ms() const;

  UnixListener listener_;
  const kvm::Fd stop_; // an eventfd
  const ControlConnection::Handler handler_;
  const SeccompMode seccomp_;
  const ControlConnection::Limits limits_;
  // Of the thread:
  std::list<ControlConnection> connections_;
  Clock::time_point accept_again_; // after a failure that would come again at once
  std::thread thread_;
};

} // namespace slat::vmm
