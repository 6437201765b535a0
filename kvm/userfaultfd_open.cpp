#include "kvm/ioctl.hpp"
#include "kvm/uapi_newer.hpp"
#include "kvm/userfaultfd.hpp"

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace slat::kvm {

namespace {

constexpr int open_flags = O_CLOEXEC | O_NONBLOCK;

struct Opened {
  Fd fd;
  Userfaultfd::Source source = Userfaultfd::Source::device;
  int device_error = 0; // 0, or why the device did not do
  int call_error = 0;   // 0, or why the system call did not do
};

bool is_permission(int err) {
  return err == EACCES || err == EPERM;
}

bool is_absent(int err) {
  return err == ENOENT || err == ENXIO || err == ENODEV;
}

int open_device(const std::string& path, Fd& out) {
  const Fd device(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!device.valid()) return errno;
  const int rc = retry_ioctl(device, USERFAULTFD_IOC_NEW, open_flags);
  if (rc < 0) return -rc;
  out.reset(rc);
  return 0;
}

// The device first: its file mode is the administrator's choice of who may have faults of the
// kernel too.
Opened open_either(const UffdOptions& options) {
  Opened opened;
  opened.device_error = open_device(options.device, opened.fd);
  if (opened.device_error == 0 || !options.system_call) return opened;
  opened.source = Userfaultfd::Source::system_call;
  const long rc = ::syscall(SYS_userfaultfd, open_flags);
  if (rc >= 0)
    opened.fd.reset(static_cast<int>(rc));
  else
    opened.call_error = errno;
  return opened;
}

tl::unexpected<Error> open_failed(const UffdOptions& options, const Opened& opened) {
  const int device = opened.device_error;
  const int call = opened.call_error;
  std::string tried = fmt::format("{}: {}", options.device, os_error_text(device));
  if (call != 0) tried += fmt::format(", userfaultfd(2): {}", os_error_text(call));
  if (is_permission(device) || is_permission(call))
    return fail(Errc::no_permission, is_permission(device) ? device : call,
                fmt::format("userfaultfd: {}; give this user access to {}, or the process "
                            "CAP_SYS_PTRACE, or set sysctl vm.unprivileged_userfaultfd=1",
                            tried, options.device));
  if (call == ENOSYS || (call == 0 && device == ENOTTY))
    return fail(Errc::not_supported, call != 0 ? call : device,
                fmt::format("userfaultfd: {}; use a kernel with CONFIG_USERFAULTFD=y", tried));
  if (is_absent(device) && call == 0)
    return fail(Errc::no_device, device,
                fmt::format("userfaultfd: {}; the device came with Linux 6.1, permit the system "
                            "call instead",
                            tried));
  return call_failed("userfaultfd: " + tried, call != 0 ? call : device);
}

// Each descriptor takes UFFDIO_API once, and one that names an unknown feature fails: so what there
// is is asked of a descriptor that is thrown away.
Result<std::uint64_t> handshake(const Fd& fd, std::uint64_t features) {
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = features;
  const int rc = retry_ioctl(fd, UFFDIO_API, &api);
  if (rc == -EPERM)
    return fail(Errc::no_permission, -rc,
                fmt::format("UFFDIO_API with features {:#x}: {}; the process needs CAP_SYS_PTRACE",
                            features, os_error_text(-rc)));
  if (rc == -EINVAL)
    return fail(Errc::not_supported, -rc,
                fmt::format("UFFDIO_API with features {:#x}: {}; this kernel speaks another "
                            "version",
                            features, os_error_text(-rc)));
  if (rc < 0) return call_failed("UFFDIO_API", -rc);
  return std::uint64_t{api.features};
}

} // namespace

Result<Userfaultfd> Userfaultfd::open(const UffdOptions& options) {
  const std::uint64_t asked = options.wanted | options.required;
  if ((asked & UFFD_FEATURE_EVENT_FORK) != 0)
    return fail(Errc::not_supported, 0,
                "userfaultfd: UFFD_FEATURE_EVENT_FORK is not supported; guest memory is not to be "
                "inherited, use MADV_DONTFORK");

  Opened probe = open_either(options);
  if (!probe.fd.valid()) return open_failed(options, probe);
  Result<std::uint64_t> offered = handshake(probe.fd, 0);
  if (!offered) return forward(offered);
  const std::uint64_t lacking = options.required & ~*offered;
  if (lacking != 0)
    return fail(Errc::not_supported, 0,
                fmt::format("userfaultfd: this kernel lacks features {:#x} of {:#x}; use a newer "
                            "one",
                            lacking, options.required));

  Opened opened = open_either(options);
  if (!opened.fd.valid()) return open_failed(options, opened);
  const std::uint64_t features = asked & *offered;
  Result<std::uint64_t> again = handshake(opened.fd, features);
  if (!again) return forward(again);
  return Userfaultfd(std::move(opened.fd), opened.source, *offered, features);
}

} // namespace slat::kvm
