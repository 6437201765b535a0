#include "failing_host.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdarg>
#include <cstddef>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <thread>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace slat::vmm {
namespace {

struct Rule {
  std::atomic<std::uint32_t> one_in{0};
  std::array<std::atomic<int>, 4> errors{};
  std::atomic<unsigned> kinds{0};
  std::atomic<std::uint64_t> failures{0};
  std::atomic<std::uint32_t> delay_us{0};
};

std::array<Rule, std::size_t(FailingHost::Call::last_)> rules;
std::atomic<int> uffd{-1}; // the descriptor that messages are read from

/// 0, or the error of this call.
int verdict(FailingHost::Call call) {
  Rule& rule = rules[std::size_t(call)];
  const std::uint32_t one_in = rule.one_in.load();
  const std::uint32_t delay_us = rule.delay_us.load();
  if (one_in == 0 && delay_us == 0) return 0;
  static thread_local std::uint64_t state = reinterpret_cast<std::uintptr_t>(&state);
  state = state * 6364136223846793005 + 1442695040888963407;
  const std::uint64_t random = state >> 33;
  if (delay_us != 0) std::this_thread::sleep_for(std::chrono::microseconds(random % delay_us));
  if (one_in == 0 || random % one_in != 0) return 0;
  ++rule.failures;
  return rule.errors[random / one_in % rule.kinds.load()].load();
}

int fail_with(int error) {
  errno = error;
  return -1;
}

} // namespace

FailingHost::FailingHost() = default;

FailingHost::~FailingHost() {
  for (Rule& rule : rules) {
    rule.one_in = 0;
    rule.delay_us = 0;
    rule.failures = 0;
  }
}

void FailingHost::fail(Call call, std::uint32_t one_in, std::initializer_list<int> errors) {
  Rule& rule = rules[std::size_t(call)];
  rule.one_in = 0;
  unsigned kinds = 0;
  for (const int error : errors) rule.errors[kinds++] = error;
  rule.kinds = kinds;
  rule.one_in = one_in;
}

void FailingHost::delay(Call call, std::uint32_t microseconds) {
  rules[std::size_t(call)].delay_us = microseconds;
}

std::uint64_t FailingHost::failures(Call call) const {
  return rules[std::size_t(call)].failures.load();
}

} // namespace slat::vmm

extern "C" {
int __real_ioctl(int fd, unsigned long request, void* argument);
int __real_madvise(void* address, std::size_t length, int advice);
ssize_t __real_read(int fd, void* buffer, std::size_t size);

int __real_fallocate(int fd, int mode, off_t offset, off_t length);

int __wrap_fallocate(int fd, int mode, off_t offset, off_t length) {
  using namespace slat::vmm;
  const int error = mode == FALLOC_FL_KEEP_SIZE ? verdict(FailingHost::Call::allocate) : 0;
  return error != 0 ? fail_with(error) : __real_fallocate(fd, mode, offset, length);
}

int __wrap_ioctl(int fd, unsigned long request, ...) {
  using namespace slat::vmm;
  va_list rest;
  va_start(rest, request);
  void* const argument = va_arg(rest, void*);
  va_end(rest);
  int error = 0;
  if (request == UFFDIO_REGISTER) {
    uffd = fd;
  } else if (request == UFFDIO_CONTINUE) {
    error = verdict(FailingHost::Call::uffd_continue);
    if (error != 0) static_cast<uffdio_continue*>(argument)->mapped = -error; // as the kernel
  } else if (request == UFFDIO_WRITEPROTECT) {
    error = verdict(FailingHost::Call::uffd_write_protect);
  }
  return error != 0 ? fail_with(error) : __real_ioctl(fd, request, argument);
}

int __wrap_madvise(void* address, std::size_t length, int advice) {
  using namespace slat::vmm;
  const int error = advice == MADV_POPULATE_WRITE ? verdict(FailingHost::Call::populate) : 0;
  return error != 0 ? fail_with(error) : __real_madvise(address, length, advice);
}

ssize_t __wrap_read(int fd, void* buffer, std::size_t size) {
  using namespace slat::vmm;
  const int error = fd == uffd ? verdict(FailingHost::Call::uffd_read) : 0;
  return error != 0 ? fail_with(error) : __real_read(fd, buffer, size);
}
}
