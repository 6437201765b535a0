#include "slat/programs.hpp"

#include "slat/exit_codes.hpp"
#include "vmm/printable.hpp"

#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>
#include <string_view>
#include <unistd.h>

namespace slat::tool {

namespace {

/// `name` beside this program, or else in `elsewhere`, which is relative to this program's folder. Empty if it is in
/// neither.
std::string find_program(const std::string& name, const std::string& elsewhere) {
  std::array<char, PATH_MAX> self{};
  const ssize_t length = readlink("/proc/self/exe", self.data(), self.size());
  if (length <= 0) return {};
  const std::string_view path(self.data(), std::size_t(length));
  const std::string folder(path.substr(0, path.rfind('/') + 1));
  for (const std::string& file : {folder + name, folder + elsewhere + "/" + name})
    if (access(file.c_str(), X_OK) == 0) return file;
  return {};
}

} // namespace

std::string vmm_program() {
  if (std::string path = find_program("slat", SLAT_BIN_FROM_LIBEXEC); !path.empty()) return path;
  return access("/proc/self/exe", X_OK) == 0 ? "/proc/self/exe" : "";
}

int become_full_program(char** argv) {
  const std::string path = find_program("slat-full", SLAT_LIBEXEC_FROM_BIN);
  if (path.empty()) {
    fmt::print(stderr,
               "slat: cannot find slat-full, which has all commands but boot and stress: it "
               "is neither beside slat "
               "nor in {}; install the whole of slat, and mount /proc\n",
               SLAT_LIBEXEC_FROM_BIN);
    return exit_unavailable;
  }
  execv(path.c_str(), argv);
  const int error = errno;
  fmt::print(stderr, "slat: cannot start {}: {}\n", vmm::printable(path), strerror(error));
  return exit_host_failed;
}

} // namespace slat::tool
