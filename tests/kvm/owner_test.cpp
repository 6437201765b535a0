#include "kvm/fd.hpp"
#include "kvm/mapping.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

namespace slat::kvm {
namespace {

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

TEST(Fd, ClosesWhatItOwns) {
  int number = -1;
  {
    const Fd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    number = fd.get();
    ASSERT_TRUE(is_open(number));
  }
  EXPECT_FALSE(is_open(number));
}

TEST(Fd, MovingPassesTheOwnershipOnAndClosesTheTarget) {
  Fd a(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  Fd b(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int a_number = a.get();
  const int b_number = b.get();
  b = std::move(a);
  EXPECT_EQ(b.get(), a_number);
  EXPECT_FALSE(is_open(b_number));
  EXPECT_TRUE(is_open(a_number));
}

TEST(Fd, ReleaseLeavesTheDescriptorOpen) {
  Fd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int number = fd.release();
  EXPECT_FALSE(fd.valid());
  fd.reset();
  EXPECT_TRUE(is_open(number));
  const Fd again(number);
}

TEST(Mapping, KeepsItsAddressWhenMovedAndUnmapsOnce) {
  const Fd file(::memfd_create("mapping", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(file.get(), 4096), 0);
  void* address = nullptr;
  {
    Mapping first(file.get(), 4096);
    ASSERT_TRUE(first.valid());
    address = first.data();
    const Mapping second = std::move(first);
    EXPECT_EQ(second.data(), address);
    EXPECT_EQ(::msync(address, 4096, MS_ASYNC), 0);
  }
  EXPECT_NE(::msync(address, 4096, MS_ASYNC), 0) << "still mapped";
}

TEST(Mapping, OfABadDescriptorIsNotValid) {
  const Mapping none(-1, 4096);
  EXPECT_FALSE(none.valid());
  EXPECT_EQ(errno, EBADF);
}

} // namespace
} // namespace slat::kvm
