#include "slat/progress.hpp"

#include <cstdio>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace slat::tool {

Progress::Progress()
    : terminal_(isatty(STDERR_FILENO) == 1), last_(std::chrono::steady_clock::now()) {}

void Progress::show(const std::string& line) {
  if (terminal_) {
    winsize size{};
    const std::size_t columns =
        ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1u : 79u;
    fmt::print(stderr, "\r{}\x1b[K", line.substr(0, columns));
    std::fflush(stderr);
    shown_ = true;
    return;
  }
  const auto now = std::chrono::steady_clock::now();
  if (now - last_ < quiet_interval) return;
  last_ = now;
  fmt::print(stderr, "{}\n", line);
}

void Progress::clear() {
  if (!shown_) return;
  fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
  shown_ = false;
}

} // namespace slat::tool
