#include "slat/bench_child.hpp"

#include "guests/builtin.hpp"
#include "kvm/fd.hpp"
#include "slat/programs.hpp"

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace slat::tool {

namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// posix_spawn's lists, freed at the end of the scope.
struct SpawnSetup {
  SpawnSetup() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigemptyset(&none); // Ctrl-C is blocked here (block_signals()), and not to be there
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  }

  ~SpawnSetup() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }

  SpawnSetup(const SpawnSetup&) = delete;
  SpawnSetup& operator=(const SpawnSetup&) = delete;

  posix_spawn_file_actions_t actions{};
  posix_spawnattr_t attributes{};
};

} // namespace

vmm::Result<ChildRun> run_slat(const std::vector<std::string>& arguments) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0)
    return vmm::fail(vmm::Errc::host_limit, errno,
                     "cannot create a pipe; raise the limit on open files (ulimit -n)");
  const kvm::Fd reader(ends[0]);
  kvm::Fd writer(ends[1]);
  SpawnSetup setup;
  posix_spawn_file_actions_adddup2(&setup.actions, writer.get(), STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&setup.actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&setup.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  std::vector<char*> argv = {const_cast<char*>("slat")};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  ChildRun run;
  const auto start = Clock::now();
  pid_t pid = -1;
  if (const int error = posix_spawn(&pid, vmm_program().c_str(), &setup.actions, &setup.attributes,
                                    argv.data(), environ);
      error != 0)
    return vmm::fail(vmm::Errc::host_failed, error, "cannot start another slat; is /proc mounted?");
  writer = kvm::Fd();
  std::array<char, 65536> buffer{};
  for (;;) {
    const ssize_t got = read(reader.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (run.first_byte_ms == 0) run.first_byte_ms = milliseconds_since(start);
    if (got <= 0) break;
    run.output.append(buffer.data(), std::size_t(got));
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  run.end_ms = milliseconds_since(start);
  run.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return run;
}

ImageForChildren::ImageForChildren() : fd_(memfd_create("memstress", 0)) { // children inherit it
  const auto image = guest::builtin_memstress();
  if (fd_ < 0 || write(fd_, image.data(), image.size()) == ssize_t(image.size())) return;
  close(fd_);
  fd_ = -1;
}

ImageForChildren::~ImageForChildren() {
  if (fd_ >= 0) close(fd_);
}

std::string ImageForChildren::path() const {
  return fd_ < 0 ? std::string() : fmt::format("/proc/self/fd/{}", fd_);
}

} // namespace slat::tool
