// What a userfaultfd answers rarely, or on other kernels: partial progress, changing address
// spaces, fewer features.
#include "fake_kernel.hpp"
#include "kvm/uapi_newer.hpp"
#include "kvm/userfaultfd.hpp"

#include <cerrno>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slat::kvm {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t page = 4096;

// A userfaultfd device: opens, shakes hands, and passes every other request on.
class FakeUffd {
 public:
  explicit FakeUffd(FakeKernel::Handler handler, std::uint64_t offered = 0xffff)
      : kernel_([handler, offered](int fd, unsigned long request, void* argument) {
          if (request == USERFAULTFD_IOC_NEW) return fake_fd().release();
          if (request != UFFDIO_API) return handler(fd, request, argument);
          auto* api = static_cast<uffdio_api*>(argument);
          if ((api->features & ~offered) != 0) return -EINVAL;
          api->features = offered; // the kernel tells all it has, whatever was asked
          return 0;
        }) {}

  static Userfaultfd open(std::uint64_t wanted = 0) {
    UffdOptions options;
    options.device = "/dev/null";
    options.system_call = false;
    options.wanted = wanted;
    return *Userfaultfd::open(options);
  }

  [[nodiscard]] std::size_t count(unsigned long request) const {
    return static_cast<std::size_t>(std::ranges::count(kernel_.requests(), request));
  }

 private:
  FakeKernel kernel_;
};

TEST(FakeUserfaultfd, FeaturesThatAreWantedAndNotOfferedStayOff) {
  FakeUffd kernel([](int, unsigned long, void*) { return 0; }, UFFD_FEATURE_MINOR_SHMEM | 1);
  const Userfaultfd uffd =
      FakeUffd::open(UFFD_FEATURE_MINOR_SHMEM | uapi::uffd_feature_wp_unpopulated);
  EXPECT_EQ(uffd.offered(), UFFD_FEATURE_MINOR_SHMEM | 1u);
  EXPECT_EQ(uffd.enabled(), std::uint64_t{UFFD_FEATURE_MINOR_SHMEM});
  EXPECT_EQ(uffd.source(), Userfaultfd::Source::device);
}

TEST(FakeUserfaultfd, FeaturesThatAreRequiredAndNotOfferedAreAnErrorThatNamesThem) {
  FakeUffd kernel([](int, unsigned long, void*) { return 0; }, 1);
  UffdOptions options;
  options.device = "/dev/null";
  options.system_call = false;
  options.required = UFFD_FEATURE_MINOR_SHMEM;
  const auto uffd = Userfaultfd::open(options);
  ASSERT_FALSE(uffd);
  EXPECT_EQ(uffd.error().code, Errc::not_supported);
  EXPECT_THAT(uffd.error().message, HasSubstr("lacks features 0x400"));
}

TEST(FakeUserfaultfd, ABatchGoesOnAfterPartialProgressAndTellsWhatStoppedIt) {
  // Pages 0 and 1 can be installed, page 2 is there already: the kernel says "2 pages, EAGAIN",
  // then EEXIST.
  FakeUffd kernel([](int, unsigned long request, void* argument) {
    if (request != UFFDIO_CONTINUE) return 0;
    auto* arg = static_cast<uffdio_continue*>(argument);
    if (arg->range.start == 0x100000) {
      EXPECT_EQ(arg->range.len, 4 * page);
      arg->mapped = 2 * page;
      return -EAGAIN;
    }
    EXPECT_EQ(arg->range.start, 0x100000 + 2 * page);
    EXPECT_EQ(arg->range.len, 2 * page);
    arg->mapped = -EEXIST;
    return -EEXIST;
  });
  Userfaultfd uffd = FakeUffd::open();
  const Installed installed = uffd.continue_range(0x100000, 4 * page);
  EXPECT_EQ(installed.bytes, 2 * page);
  EXPECT_EQ(installed.error, EEXIST);
  EXPECT_EQ(kernel.count(UFFDIO_CONTINUE), 2u);
}

TEST(FakeUserfaultfd, AnInstallThatIsCutInPiecesIsFinished) {
  const char from[4 * page] = {};
  FakeUffd kernel([&from](int, unsigned long request, void* argument) {
    if (request != UFFDIO_COPY) return 0;
    auto* arg = static_cast<uffdio_copy*>(argument);
    EXPECT_EQ(arg->src - reinterpret_cast<std::uint64_t>(from), arg->dst - 0x100000);
    arg->copy = page;
    return arg->len == page ? 0 : -EAGAIN;
  });
  Userfaultfd uffd = FakeUffd::open();
  const Installed installed = uffd.copy(0x100000, from, 4 * page);
  EXPECT_EQ(installed.bytes, 4 * page);
  EXPECT_TRUE(installed.ok());
  EXPECT_EQ(kernel.count(UFFDIO_COPY), 4u);
}

TEST(FakeUserfaultfd, AChangingAddressSpaceIsEagainAndNotALoop) {
  // Kernels differ in whether they write the count on this path: both must end.
  for (const bool written : {false, true}) {
    FakeUffd kernel([written](int, unsigned long request, void* argument) {
      if (request != UFFDIO_ZEROPAGE) return 0;
      if (written) static_cast<uffdio_zeropage*>(argument)->zeropage = -EAGAIN;
      return -EAGAIN;
    });
    Userfaultfd uffd = FakeUffd::open();
    const Installed installed = uffd.zeropage(0x100000, page);
    EXPECT_EQ(installed.bytes, 0u);
    EXPECT_EQ(installed.error, EAGAIN);
    EXPECT_EQ(kernel.count(UFFDIO_ZEROPAGE), 1u);
  }
}

TEST(FakeUserfaultfd, AnInterruptedInstallIsRepeated) {
  int calls = 0;
  FakeUffd kernel([&calls](int, unsigned long request, void*) {
    if (request != uapi::uffdio_poison) return 0;
    return ++calls == 1 ? -EINTR : 0;
  });
  Userfaultfd uffd = FakeUffd::open();
  EXPECT_TRUE(uffd.poison(0x100000, page).ok());
  EXPECT_EQ(calls, 2);
}

TEST(FakeUserfaultfd, ModesOfInstallsReachTheKernel) {
  std::uint64_t mode = 0;
  FakeUffd kernel([&mode](int, unsigned long request, void* argument) {
    if (request == UFFDIO_CONTINUE) mode = static_cast<uffdio_continue*>(argument)->mode;
    if (request == UFFDIO_COPY) mode = static_cast<uffdio_copy*>(argument)->mode;
    if (request == UFFDIO_WRITEPROTECT) mode = static_cast<uffdio_writeprotect*>(argument)->mode;
    return 0;
  });
  Userfaultfd uffd = FakeUffd::open();
  EXPECT_TRUE(uffd.continue_range(0, page, Wake::no, Protect::yes).ok());
  EXPECT_EQ(mode, UFFDIO_CONTINUE_MODE_DONTWAKE | uapi::uffdio_continue_mode_wp);
  EXPECT_TRUE(uffd.copy(0, nullptr, page, Wake::yes, Protect::yes).ok());
  EXPECT_EQ(mode, UFFDIO_COPY_MODE_WP);
  EXPECT_TRUE(uffd.write_protect(0, page, Protect::yes, Wake::no).ok());
  EXPECT_EQ(mode, UFFDIO_WRITEPROTECT_MODE_WP) << "the kernel refuses WP with DONTWAKE";
  EXPECT_TRUE(uffd.write_protect(0, page, Protect::no, Wake::no).ok());
  EXPECT_EQ(mode, UFFDIO_WRITEPROTECT_MODE_DONTWAKE);
}

TEST(FakeUserfaultfd, MemoryWhereAFaultCouldNeverBeResolvedIsNotLeftRegistered) {
  FakeUffd kernel([](int, unsigned long request, void* argument) {
    if (request == UFFDIO_REGISTER)
      static_cast<uffdio_register*>(argument)->ioctls = 1u << _UFFDIO_WAKE;
    return 0;
  });
  Userfaultfd uffd = FakeUffd::open();
  Modes modes;
  modes.minor = true;
  EXPECT_EQ(uffd.register_range(0x100000, page, modes).error().code, Errc::not_supported);
  EXPECT_EQ(kernel.count(UFFDIO_UNREGISTER), 1u);
}

TEST(FakeUserfaultfd, EachReasonWhyARangeIsRefusedHasItsOwnWords) {
  int answer = 0;
  FakeUffd kernel([&answer](int, unsigned long, void*) { return answer; });
  Userfaultfd uffd = FakeUffd::open();
  Modes modes;
  modes.missing = true;
  const auto code = [&](int os_error) {
    answer = -os_error;
    return uffd.register_range(0x100000, page, modes).error().code;
  };
  EXPECT_EQ(code(EINVAL), Errc::invalid_argument);
  EXPECT_EQ(code(ENOMEM), Errc::invalid_argument);
  EXPECT_EQ(code(EPERM), Errc::no_permission);
  EXPECT_EQ(code(EBUSY), Errc::call_failed);
}

} // namespace
} // namespace slat::kvm
