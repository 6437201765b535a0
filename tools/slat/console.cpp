#include "slat/console.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>
#include <sys/ioctl.h>
#include <unistd.h>

namespace slat::tool {

namespace {

constexpr char end_key = 0x1d; // Ctrl-]

} // namespace

Console::Console(vmm::ConsoleInput& guest) : guest_(&guest) {
  termios now{};
  if (tcgetattr(STDIN_FILENO, &now) != 0) return; // not a terminal
  if (tcgetpgrp(STDIN_FILENO) != getpgrp()) { // in the background: to read would stop this process
    at_end_ = true;
    return;
  }
  before_ = now;
  cfmakeraw(&now);
  now.c_oflag |= OPOST; // our own lines end in a newline alone
  tcsetattr(STDIN_FILENO, TCSANOW, &now);
}

Console::~Console() {
  if (before_) tcsetattr(STDIN_FILENO, TCSANOW, &*before_);
}

int Console::fd() const {
  return at_end_ || !guest_->has_room() ? -1 : STDIN_FILENO;
}

bool Console::pump() {
  std::array<char, vmm::ConsoleInput::input_piece> bytes{};
  const ssize_t count = ::read(STDIN_FILENO, bytes.data(), bytes.size());
  if (count <= 0) {
    at_end_ = count == 0 || (errno != EINTR && errno != EAGAIN);
    return true;
  }
  const std::span<const char> all(bytes.data(), std::size_t(count));
  const auto end = is_terminal() ? std::ranges::find(all, end_key) : all.end();
  guest_->receive({all.begin(), end});
  return end == all.end();
}

} // namespace slat::tool
