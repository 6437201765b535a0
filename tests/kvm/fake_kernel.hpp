// A kernel made of a function: the tests link with --wrap=ioctl, and every ioctl of slat comes
// here.
#pragma once

#include "kvm/fd.hpp"

#include <functional>
#include <vector>

namespace slat::kvm {

/// While it lives, ioctl() calls `handler`, which answers 0 or more, or -errno. One at a time.
class FakeKernel {
 public:
  using Handler = std::function<int(int fd, unsigned long request, void* argument)>;

  explicit FakeKernel(Handler handler);
  ~FakeKernel();
  FakeKernel(const FakeKernel&) = delete;
  FakeKernel& operator=(const FakeKernel&) = delete;

  /// The requests in the order in which they came.
  [[nodiscard]] const std::vector<unsigned long>& requests() const { return requests_; }

  [[nodiscard]] int answer(int fd, unsigned long request, void* argument);

 private:
  Handler handler_;
  std::vector<unsigned long> requests_;
};

/// A descriptor that can be mapped, in place of a VM's or a vCPU's.
[[nodiscard]] Fd fake_fd(std::size_t size = 3 * 4096);

} // namespace slat::kvm
