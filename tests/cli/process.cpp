#include "process.hpp"

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

namespace slat::test {

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void give_up(const char* what) {
  std::perror(what);
  std::abort();
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (const std::string& string : strings) result.push_back(const_cast<char*>(string.c_str()));
  result.push_back(nullptr);
  return result;
}

/// Reads what is there; closes at the end.
void drain(int& fd, std::string& text) {
  char buffer[4096];
  const ssize_t count = ::read(fd, buffer, sizeof buffer);
  if (count > 0) {
    text.append(buffer, std::size_t(count));
  } else if (count == 0 || errno != EINTR) {
    ::close(fd);
    fd = -1;
  }
}

} // namespace

Process::Process(const ProcessOptions& options) {
  int out[2], err[2];
  if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) give_up("pipe2");
  // Opened by this user: another one may not be able to walk to it.
  const int program = open(options.arguments.at(0).c_str(), O_PATH | O_CLOEXEC);
  if (program < 0) give_up(options.arguments.at(0).c_str());
  std::vector<std::string> environment;
  for (char** variable = environ; *variable != nullptr; ++variable)
    environment.emplace_back(*variable);
  environment.insert(environment.end(), options.environment.begin(), options.environment.end());
  const std::vector<char*> argv = pointers(options.arguments);
  const std::vector<char*> envp = pointers(environment);
  if (options.close_stdout) ::close(out[0]);

  pid_ = fork();
  if (pid_ < 0) give_up("fork");
  if (pid_ == 0) {
    setpgid(0, 0);
    dup2(out[1], STDOUT_FILENO);
    dup2(err[1], STDERR_FILENO);
    const int null = open("/dev/null", O_RDONLY);
    dup2(null, STDIN_FILENO);
    // Whatever runs the tests may have left descriptors open: the child starts with three.
    close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
    if (!options.prepare()) _exit(126);
    fexecve(program, argv.data(), envp.data());
    _exit(127);
  }
  setpgid(pid_, pid_); // whichever of the two comes first
  ::close(program);
  ::close(out[1]);
  ::close(err[1]);
  out_ = options.close_stdout ? -1 : out[0];
  err_ = err[0];
}

Process::~Process() {
  kill(-pid_, SIGKILL);
  if (!reaped_) waitpid(pid_, nullptr, 0);
  if (out_ >= 0) ::close(out_);
  if (err_ >= 0) ::close(err_);
}

bool Process::read_some(int wait_ms) {
  pollfd fds[] = {{out_, POLLIN, 0}, {err_, POLLIN, 0}};
  poll(fds, 2, wait_ms);
  if (fds[0].revents != 0) drain(out_, ended_.out);
  if (fds[1].revents != 0) drain(err_, ended_.err);
  return out_ >= 0 || err_ >= 0;
}

bool Process::wait_for_output(const std::string& text) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
  const auto there = [&] {
    return ended_.out.find(text) != std::string::npos || ended_.err.find(text) != std::string::npos;
  };
  while (!there() && Clock::now() < deadline)
    if (!read_some(1000)) break;
  return there();
}

void Process::send(int signal) const {
  kill(pid_, signal);
}

Ended Process::finish() {
  const auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
  while (read_some(1000))
    if (Clock::now() >= deadline) {
      ended_.timed_out = true;
      kill(-pid_, SIGKILL);
    }
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  reaped_ = true;
  ended_.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return ended_;
}

bool Process::leaves_processes() const {
  return kill(-pid_, 0) == 0;
}

} // namespace slat::test
