#include "fake_kernel.hpp"

#include <cerrno>
#include <cstdarg>
#include <sys/mman.h>

namespace slat::kvm {

namespace {
FakeKernel* current = nullptr;
}

FakeKernel::FakeKernel(Handler handler) : handler_(std::move(handler)) {
  current = this;
}

FakeKernel::~FakeKernel() {
  current = nullptr;
}

int FakeKernel::answer(int fd, unsigned long request, void* argument) {
  requests_.push_back(request);
  return handler_(fd, request, argument);
}

Fd fake_fd(std::size_t size) {
  Fd fd(::memfd_create("fake", MFD_CLOEXEC));
  if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) fd.reset();
  return fd;
}

} // namespace slat::kvm

extern "C" {
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_ioctl(int fd, unsigned long request, ...) {
  va_list arguments;
  va_start(arguments, request);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  if (slat::kvm::current == nullptr) return __real_ioctl(fd, request, argument);
  const int rc = slat::kvm::current->answer(fd, request, argument);
  if (rc >= 0) return rc;
  errno = -rc;
  return -1;
}
}
