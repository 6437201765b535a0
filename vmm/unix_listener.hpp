// UnixListener: a listening Unix stream socket at a path, which only this user (and root) can reach.
//
// Its file is made with mode 0600: fchmod() on the descriptor before bind() gives Linux the mode of the file, so that it is
// never open to others, not even for a moment, and no umask has to be changed under other threads. What a dead process left
// there is replaced; where a live one listens, or where something else than a socket is, nothing is touched. Several
// processes that start at once see each other by a lock on the directory, which leaves no file behind.
#pragma once

#include "kvm/fd.hpp"
#include "vmm/error.hpp"

#include <filesystem>
#include <sys/types.h>

namespace slat::vmm {

class UnixListener {
 public:
  /// Errors: invalid_argument: the path is too long for a socket, or somebody listens there, or it is no socket;
  /// no_such_file, no_permission: its directory; host_limit, host_failed. Sleeps, for a lock 2 s at most.
  static Result<UnixListener> open(const std::filesystem::path& path);

  /// remove().
  ~UnixListener() { remove(); }

  UnixListener(UnixListener&& other) noexcept;
  UnixListener& operator=(UnixListener&&) = delete;

  /// Removes the file, if it is still its own. Any number of times.
  void remove();

  /// Non-blocking, for poll and accept4.
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  UnixListener() = default;

  kvm::Fd fd_;
  std::filesystem::path path_;
  dev_t device_ = 0; // of the file
  ino_t inode_ = 0;
};

/// Whether who has connected may ask: the same user, or root.
[[nodiscard]] bool may_control(uid_t peer, uid_t own);

/// The same, of the user at the other end (SO_PEERCRED), who was there when it connected.
[[nodiscard]] bool peer_may_control(int connection);

} // namespace slat::vmm
