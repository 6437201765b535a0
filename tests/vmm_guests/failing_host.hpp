// A host that fails by chance: the test is linked with --wrap for the system calls that slat makes, and they come here
// before the kernel has them.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace slat::vmm {

/// While it lives, one in so many calls of a kind fails, without effect. One at a time; any thread calls.
class FailingHost {
 public:
  enum class Call : unsigned {
    uffd_continue,
    uffd_write_protect,
    uffd_read,
    populate, // MADV_POPULATE_WRITE
    allocate, // fallocate() that makes pages
    last_
  };

  FailingHost();
  ~FailingHost();
  FailingHost(const FailingHost&) = delete;
  FailingHost& operator=(const FailingHost&) = delete;

  /// 1: all of them; 0: none. One of `errors` (four at most), by chance.
  void fail(Call call, std::uint32_t one_in, std::initializer_list<int> errors);

  /// Each call takes up to `microseconds` longer, by chance. 0: none does.
  void delay(Call call, std::uint32_t microseconds);

  /// So far.
  [[nodiscard]] std::uint64_t failures(Call call) const;
};

} // namespace slat::vmm
