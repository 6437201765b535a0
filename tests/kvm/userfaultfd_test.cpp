// Each install on real memory, and each way in which it can be refused.
#include "kvm/uapi_newer.hpp"
#include "kvm/userfaultfd.hpp"
#include "uffd_memory.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

namespace slat::kvm {
namespace {

class Uffd : public testing::Test {
 protected:
  void SetUp() override {
    UffdOptions options;
    options.wanted = UFFD_FEATURE_THREAD_ID | uapi::uffd_feature_poison | uapi::uffd_feature_move |
                     UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
    options.required = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM;
    auto opened = Userfaultfd::open(options);
    if (!opened) GTEST_SKIP() << opened.error().message;
    uffd_.emplace(std::move(*opened));
  }

  void guard(const TwoViews& memory, Modes modes) {
    const auto result = uffd_->register_range(memory.address(), memory.pages * page, modes);
    ASSERT_TRUE(result) << result.error().message;
  }

  [[nodiscard]] bool offers(std::uint64_t feature) const {
    return (uffd_->enabled() & feature) == feature;
  }

  std::optional<Userfaultfd> uffd_;
};

constexpr Modes missing{.missing = true, .minor = false, .wp = false};
constexpr Modes minor_faults{.missing = false, .minor = true, .wp = false};
constexpr Modes wp{.missing = false, .minor = false, .wp = true};

TEST_F(Uffd, AMissingPageIsFilledByACopy) {
  const TwoViews memory(2);
  guard(memory, missing);
  Toucher reader = Toucher::read(memory, 1);
  const auto fault = next_fault(*uffd_);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->address, memory.address(1));
  EXPECT_FALSE(fault->write || fault->minor || fault->wp);
  EXPECT_NE(fault->thread_id, 0u);
  std::array<std::uint8_t, page> bytes{};
  bytes[0] = 0x77;
  const Installed installed = uffd_->copy(memory.address(1), bytes.data(), page);
  EXPECT_TRUE(installed.ok());
  EXPECT_EQ(installed.bytes, page);
  EXPECT_EQ(reader.value(), 0x77);
  EXPECT_EQ(memory.host_byte(1).load(), 0x77) << "the page is in the file";
}

TEST_F(Uffd, AMissingPageIsFilledWithZeroes) {
  const TwoViews memory(1);
  guard(memory, missing);
  Toucher writer = Toucher::write(memory, 0, 5);
  const auto fault = next_fault(*uffd_);
  ASSERT_TRUE(fault);
  EXPECT_TRUE(fault->write);
  EXPECT_TRUE(uffd_->zeropage(memory.address(), page).ok());
  EXPECT_EQ(writer.value(), 5);
  EXPECT_EQ(memory.host_byte(0).load(), 5);
}

TEST_F(Uffd, AMinorFaultIsResolvedByContinue) {
  const TwoViews memory(2);
  memory.host_byte(1).store(0x31);
  guard(memory, minor_faults);
  Toucher reader = Toucher::read(memory, 1);
  const auto fault = next_fault(*uffd_);
  ASSERT_TRUE(fault);
  EXPECT_TRUE(fault->minor);
  EXPECT_EQ(uffd_->continue_range(memory.address(1), page).bytes, page);
  EXPECT_EQ(reader.value(), 0x31);
}

TEST_F(Uffd, ABatchOfPagesIsInstalledByOneContinueAndNeverFaults) {
  const TwoViews memory(16);
  for (std::uint64_t i = 0; i < 16; ++i) memory.host_byte(i).store(static_cast<std::uint8_t>(i));
  guard(memory, minor_faults);
  EXPECT_EQ(uffd_->continue_range(memory.address(), 16 * page).bytes, 16 * page);
  for (std::uint64_t i = 0; i < 16; ++i) EXPECT_EQ(memory.guarded_byte(i).load(), i);
  EXPECT_TRUE(stays_quiet(*uffd_));
}

TEST_F(Uffd, ABatchStopsAtAPageThatIsThereAndTellsHowFarItCame) {
  const TwoViews memory(4);
  for (std::uint64_t i = 0; i < 4; ++i) memory.host_byte(i).store(1);
  guard(memory, minor_faults);
  ASSERT_TRUE(uffd_->continue_range(memory.address(2), page).ok());
  const Installed installed = uffd_->continue_range(memory.address(), 4 * page);
  EXPECT_EQ(installed.bytes, 2 * page);
  EXPECT_EQ(installed.error, EEXIST);
  const Installed again = uffd_->continue_range(memory.address(2), page);
  EXPECT_EQ(again.bytes, 0u);
  EXPECT_EQ(again.error, EEXIST);
  EXPECT_TRUE(uffd_->continue_range(memory.address(3), page).ok());
}

TEST_F(Uffd, ContinueOfAPageThatIsNotInTheFileIsEfault) {
  const TwoViews memory(4);
  memory.host_byte(0).store(1);
  guard(memory, minor_faults);
  const Installed installed = uffd_->continue_range(memory.address(), 4 * page);
  EXPECT_EQ(installed.bytes, page);
  EXPECT_EQ(installed.error, EFAULT);
}

TEST_F(Uffd, AnInstallIntoARangeThatIsNotGuardedIsEnoent) {
  const TwoViews memory(1);
  const TwoViews other(1);
  memory.host_byte(0).store(1);
  guard(other, minor_faults);
  EXPECT_EQ(uffd_->continue_range(memory.address(), page).error, ENOENT);
}

TEST_F(Uffd, AnInstallThatIsNotWholePagesIsEinval) {
  const TwoViews memory(1);
  guard(memory, minor_faults);
  EXPECT_EQ(uffd_->continue_range(memory.address() + 1, page).error, EINVAL);
  EXPECT_EQ(uffd_->wake(memory.address(), page + 1), EINVAL);
}

TEST_F(Uffd, AnInstallWithoutWakeLeavesTheThreadWaitingUntilItIsWoken) {
  const TwoViews memory(1);
  memory.host_byte(0).store(3);
  guard(memory, minor_faults);
  Toucher reader = Toucher::read(memory, 0);
  ASSERT_TRUE(next_fault(*uffd_));
  ASSERT_TRUE(uffd_->continue_range(memory.address(), page, Wake::no).ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(reader.done());
  EXPECT_EQ(uffd_->wake(memory.address(), page), 0);
  EXPECT_EQ(reader.value(), 3);
}

TEST_F(Uffd, AWriteToAProtectedPageWaitsUntilItIsPermitted) {
  if (!offers(UFFD_FEATURE_WP_HUGETLBFS_SHMEM))
    GTEST_SKIP() << "this kernel cannot write-protect shared memory (Linux 5.19)";
  const TwoViews memory(2);
  guard(memory, wp);
  memory.guarded_byte(0).store(1);
  ASSERT_TRUE(uffd_->write_protect(memory.address(), page, Protect::yes).ok());
  EXPECT_EQ(memory.guarded_byte(0).load(), 1) << "reads go on";
  Toucher writer = Toucher::write(memory, 0, 2);
  const auto fault = next_fault(*uffd_);
  ASSERT_TRUE(fault);
  EXPECT_TRUE(fault->wp && fault->write);
  EXPECT_EQ(memory.host_byte(0).load(), 1) << "not written before it was permitted";
  EXPECT_TRUE(uffd_->write_protect(memory.address(), page, Protect::no).ok());
  EXPECT_EQ(writer.value(), 2);
  EXPECT_EQ(memory.host_byte(0).load(), 2);
}

TEST_F(Uffd, APageCanBeInstalledProtected) {
  if (!offers(UFFD_FEATURE_WP_HUGETLBFS_SHMEM))
    GTEST_SKIP() << "this kernel cannot write-protect shared memory (Linux 5.19)";
  const TwoViews memory(1);
  memory.host_byte(0).store(1);
  guard(memory, {.missing = false, .minor = true, .wp = true});
  const Installed installed =
      uffd_->continue_range(memory.address(), page, Wake::yes, Protect::yes);
  if (installed.error == EINVAL)
    GTEST_SKIP() << "this kernel has no protected continue (Linux 6.4)";
  ASSERT_TRUE(installed.ok());
  EXPECT_EQ(memory.guarded_byte(0).load(), 1);
  Toucher writer = Toucher::write(memory, 0, 2);
  const auto fault = next_fault(*uffd_);
  ASSERT_TRUE(fault);
  EXPECT_TRUE(fault->wp);
  EXPECT_TRUE(uffd_->write_protect(memory.address(), page, Protect::no).ok());
  EXPECT_EQ(writer.value(), 2);
}

TEST_F(Uffd, APoisonedPageFailsTheKernelsAccess) {
  if (!offers(uapi::uffd_feature_poison))
    GTEST_SKIP() << "this kernel cannot poison pages (Linux 6.6)";
  const TwoViews memory(1);
  guard(memory, missing);
  ASSERT_EQ(uffd_->poison(memory.address(), page).bytes, page);
  const Fd null(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  // A read into it, and not a plain access, which would be a SIGBUS.
  EXPECT_EQ(::read(null.get(), memory.guarded.data(), 1), -1);
  EXPECT_EQ(errno, EFAULT);
}

TEST_F(Uffd, APrivatePageIsMoved) {
  if (!offers(uapi::uffd_feature_move)) GTEST_SKIP() << "this kernel cannot move pages (Linux 6.8)";
  void* both =
      ::mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(both, MAP_FAILED);
  auto* bytes = static_cast<std::uint8_t*>(both);
  bytes[page] = 0x44;
  const auto to = reinterpret_cast<std::uint64_t>(both);
  ASSERT_TRUE(uffd_->register_range(to, page, missing));
  const Installed moved = uffd_->move(to, to + page, page);
  EXPECT_TRUE(moved.ok()) << moved.error;
  EXPECT_EQ(bytes[0], 0x44);
  EXPECT_EQ(bytes[page], 0) << "the page left its old place";
  ::munmap(both, 2 * page);
}

TEST_F(Uffd, AFaultOfTheKernelIsReportedToo) {
  const TwoViews memory(1);
  guard(memory, missing);
  std::atomic<bool> done = false;
  std::thread reader([&] {
    const Fd zero(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(::read(zero.get(), memory.guarded.data(), 8), 8);
    done = true;
  });
  ASSERT_TRUE(next_fault(*uffd_)) << "the kernel did not wait";
  EXPECT_FALSE(done);
  EXPECT_TRUE(uffd_->zeropage(memory.address(), page).ok());
  reader.join();
}

TEST_F(Uffd, UnregisteringWakesWhoWaits) {
  const TwoViews memory(1);
  memory.host_byte(0).store(8);
  guard(memory, minor_faults);
  Toucher reader = Toucher::read(memory, 0);
  ASSERT_TRUE(next_fault(*uffd_));
  ASSERT_TRUE(uffd_->unregister_range(memory.address(), page));
  EXPECT_EQ(reader.value(), 8);
}

TEST_F(Uffd, RangesThatCannotBeGuardedAreRefusedInWords) {
  const TwoViews memory(1);
  const auto unaligned = uffd_->register_range(memory.address() + 1, page, missing);
  ASSERT_FALSE(unaligned);
  EXPECT_EQ(unaligned.error().code, Errc::invalid_argument);
  EXPECT_FALSE(uffd_->register_range(memory.address(), page, Modes{}));

  void* anonymous =
      ::mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const auto start = reinterpret_cast<std::uint64_t>(anonymous);
  EXPECT_EQ(uffd_->register_range(start, page, minor_faults).error().code, Errc::invalid_argument)
      << "there are no minor faults without a file";
  ::munmap(anonymous, page);
  EXPECT_EQ(uffd_->register_range(start, page, missing).error().code, Errc::invalid_argument);

  guard(memory, missing);
  auto second = Userfaultfd::open();
  ASSERT_TRUE(second);
  const auto taken = second->register_range(memory.address(), page, missing);
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().os_error, EBUSY);
}

TEST_F(Uffd, NoEventsAreZeroAndNotAnError) {
  uffd_msg message;
  const auto count = uffd_->read_events({&message, 1});
  ASSERT_TRUE(count);
  EXPECT_EQ(*count, 0u);
}

TEST_F(Uffd, WithoutTheDeviceTheSystemCallIsUsed) {
  UffdOptions options;
  options.device = "/dev/there-is-no-userfaultfd";
  const auto uffd = Userfaultfd::open(options);
  if (!uffd) GTEST_SKIP() << uffd.error().message;
  EXPECT_EQ(uffd->source(), Userfaultfd::Source::system_call);
  EXPECT_NE(uffd->offered(), 0u);
}

TEST_F(Uffd, TheDescriptorIsNonBlockingAndNotInherited) {
  EXPECT_NE(::fcntl(uffd_->fd(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(uffd_->fd(), F_GETFD) & FD_CLOEXEC, 0);
}

} // namespace
} // namespace slat::kvm
