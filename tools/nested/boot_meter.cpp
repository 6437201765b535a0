// Measures one boot: starts a VMM, waits for a line of its guest, and says what that took.
//
// slat-nested-boot-meter MARKER SECONDS COMMAND...   prints: milliseconds, KiB of the VMM beyond guest RAM, KiB of its
// page tables. Exit code 1 where the marker does not come. Guest RAM is what the VMM has mapped of memfds: slat has no
// other way, QEMU has memory-backend-memfd.
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace {

double now_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return double(now.tv_sec) * 1e3 + double(now.tv_nsec) / 1e6;
}

struct Memory {
  long rss = 0;    // KiB, without guest RAM
  long tables = 0; // KiB
};

long number_in(const std::string& line) {
  return std::strtol(line.c_str() + line.find(':') + 1, nullptr, 10);
}

Memory memory_of(pid_t pid) {
  Memory memory;
  const std::string folder = "/proc/" + std::to_string(pid);
  std::ifstream maps(folder + "/smaps");
  bool guest_ram = false;
  for (std::string line; std::getline(maps, line);) {
    // "start-end permissions offset device inode path" starts a mapping, "Name: value" belongs to it.
    const auto first = line.substr(0, line.find(' '));
    if (first.find('-') != std::string::npos && first.back() != ':')
      guest_ram = line.find("/memfd:") != std::string::npos;
    else if (!guest_ram && first == "Rss:")
      memory.rss += number_in(line);
  }
  std::ifstream status(folder + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmPTE:")) memory.tables = number_in(line);
  return memory;
}

[[noreturn]] void become(char** command, int output) {
  const int nothing = open("/dev/null", O_RDWR);
  if (dup2(nothing, STDIN_FILENO) >= 0 && dup2(output, STDOUT_FILENO) >= 0) {
    execvp(command[0], command);
  }
  std::perror(command[0]);
  _exit(127);
}

} // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fputs("usage: slat-nested-boot-meter MARKER SECONDS COMMAND...\n", stderr);
    return 64;
  }
  const std::string_view marker = argv[1];
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    std::perror("pipe2");
    return 71;
  }
  const double start = now_ms();
  const pid_t vmm = fork();
  if (vmm == 0) become(argv + 3, ends[1]);
  close(ends[1]);
  const double deadline = start + std::atof(argv[2]) * 1e3;
  std::string output;
  bool found = false;
  for (;;) {
    pollfd wait{ends[0], POLLIN, 0};
    const double left = deadline - now_ms();
    if (left <= 0 || poll(&wait, 1, int(left) + 1) <= 0) break;
    char bytes[4096];
    const ssize_t count = read(ends[0], bytes, sizeof bytes);
    if (count <= 0) break;
    output.append(bytes, std::size_t(count));
    found = output.find(marker) != std::string::npos;
    if (found) break;
  }
  const double took = now_ms() - start;
  const Memory memory = memory_of(vmm);
  kill(vmm, SIGKILL); // its guest is not needed any more
  waitpid(vmm, nullptr, 0);
  if (!found) {
    std::fprintf(stderr,
                 "slat-nested-boot-meter: '%s' of %s did not come in %.0f ms; what came:\n%s\n",
                 argv[1], argv[3], took, output.c_str());
    return 1;
  }
  std::printf("%.1f %ld %ld\n", took, memory.rss, memory.tables);
  return 0;
}
