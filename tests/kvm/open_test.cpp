// What a user sees who has no KVM or userfaultfd, or may not use it.
#include "kvm/system.hpp"
#include "kvm/userfaultfd.hpp"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <functional>
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <string>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace slat::kvm {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

template <class T> Error error_of(Result<T> result) {
  EXPECT_FALSE(result);
  if (result) return Error{Errc::call_failed, 0, "it worked"};
  EXPECT_THAT(result.error().message, Not(HasSubstr("\n")));
  return result.error();
}

class PrivateFile {
 public:
  PrivateFile() {
    char name[] = "/tmp/slat-private-XXXXXX";
    const Fd fd(::mkstemp(name));
    EXPECT_TRUE(fd.valid());
    EXPECT_EQ(::fchmod(fd.get(), 0), 0);
    path_ = name;
  }

  PrivateFile(const PrivateFile&) = delete;
  PrivateFile& operator=(const PrivateFile&) = delete;

  ~PrivateFile() { ::unlink(path_.c_str()); }

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Root may open everything: a child gives root up first. True if `check` holds there.
bool holds_without_privileges(const std::function<bool()>& check) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::geteuid() == 0 &&
        (::setgroups(0, nullptr) != 0 || ::setresgid(65534, 65534, 65534) != 0 ||
         ::setresuid(65534, 65534, 65534) != 0))
      ::_exit(2);
    ::_exit(check() ? 0 : 1);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) != 2) << "could not give up root";
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(OpenSystem, AMissingDeviceSaysWhatToLoad) {
  const Error error = error_of(System::open("/dev/there-is-no-kvm"));
  EXPECT_EQ(error.code, Errc::no_device);
  EXPECT_EQ(error.os_error, ENOENT);
  EXPECT_THAT(error.message, AllOf(HasSubstr("/dev/there-is-no-kvm"), HasSubstr("kvm_intel")));
}

TEST(OpenSystem, AForbiddenDeviceNamesTheGroup) {
  const PrivateFile file;
  EXPECT_TRUE(holds_without_privileges([&] {
    const auto system = System::open(file.path());
    return !system && system.error().code == Errc::no_permission &&
           system.error().os_error == EACCES &&
           system.error().message.find("group kvm") != std::string::npos;
  }));
}

TEST(OpenSystem, AnotherDeviceOrFileIsNotKvm) {
  for (const char* path : {"/dev/null", "/proc/self/mem"}) {
    const Error error = error_of(System::open(path));
    EXPECT_EQ(error.code, Errc::not_supported) << path;
    EXPECT_THAT(error.message, HasSubstr("not a KVM device"));
  }
}

TEST(OpenSystem, ADirectoryIsAnErrorToo) {
  EXPECT_EQ(error_of(System::open("/dev")).os_error, EISDIR);
}

TEST(OpenUserfaultfd, WithoutPrivilegesItSaysWhichThreeThingsHelp) {
  if (::access("/proc/sys/vm/unprivileged_userfaultfd", F_OK) != 0)
    GTEST_SKIP() << "this kernel has no userfaultfd";
  Fd sysctl(::open("/proc/sys/vm/unprivileged_userfaultfd", O_RDONLY | O_CLOEXEC));
  char value = '1';
  if (::read(sysctl.get(), &value, 1) != 1 || value == '1')
    GTEST_SKIP() << "vm.unprivileged_userfaultfd is on: everybody may";
  const PrivateFile file;
  EXPECT_TRUE(holds_without_privileges([&] {
    UffdOptions options;
    options.device = file.path();
    const auto uffd = Userfaultfd::open(options);
    return !uffd && uffd.error().code == Errc::no_permission &&
           uffd.error().message.find("vm.unprivileged_userfaultfd=1") != std::string::npos &&
           uffd.error().message.find("CAP_SYS_PTRACE") != std::string::npos &&
           uffd.error().message.find(file.path()) != std::string::npos;
  }));
}

TEST(OpenUserfaultfd, AMissingDeviceAloneIsNamed) {
  UffdOptions options;
  options.device = "/dev/there-is-no-userfaultfd";
  options.system_call = false;
  const Error error = error_of(Userfaultfd::open(options));
  EXPECT_EQ(error.code, Errc::no_device);
  EXPECT_THAT(error.message, HasSubstr("/dev/there-is-no-userfaultfd"));
}

TEST(OpenUserfaultfd, AnotherDeviceAloneIsNotSupported) {
  UffdOptions options;
  options.device = "/dev/null";
  options.system_call = false;
  EXPECT_EQ(error_of(Userfaultfd::open(options)).code, Errc::not_supported);
}

TEST(OpenUserfaultfd, ForkEventsAreRefusedBeforeAnythingIsOpened) {
  UffdOptions options;
  options.wanted = UFFD_FEATURE_EVENT_FORK;
  EXPECT_THAT(error_of(Userfaultfd::open(options)).message, HasSubstr("EVENT_FORK"));
}

TEST(AdoptVcpu, ARunPageThatCannotBeMappedIsAnError) {
  EXPECT_EQ(error_of(Vcpu::adopt(Fd(), 0, 4096)).os_error, EBADF);
  EXPECT_EQ(error_of(Vcpu::adopt(Fd(), 0, 16)).code, Errc::invalid_argument);
}

} // namespace
} // namespace slat::kvm
