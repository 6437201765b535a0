#include "kvm/system.hpp"

#include "kvm/flex_buffer.hpp"
#include "kvm/ioctl.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>

namespace slat::kvm {

namespace {

constexpr std::size_t max_cpuid_entries = 4096; // far above any kernel's own limit

tl::unexpected<Error> open_failed(const std::string& path, int err) {
  switch (err) {
  case ENOENT:
  case ENXIO:
  case ENODEV:
    return fail(Errc::no_device, err,
                fmt::format("{}: {}; load kvm_intel or kvm_amd, enable virtualisation in the "
                            "firmware, or run on a host that has it",
                            path, os_error_text(err)));
  case EACCES:
  case EPERM:
    return fail(
        Errc::no_permission, err,
        fmt::format(
            "{}: {}; run as root, let this user in (group kvm, or setfacl -m u:$USER:rw), or "
            "use --accel soft",
            path, os_error_text(err)));
  default:
    return call_failed(fmt::format("open {}", path), err);
  }
}

} // namespace

Result<System> System::open(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.valid()) return open_failed(path, errno);

  const int version = retry_ioctl(fd, KVM_GET_API_VERSION, 0);
  if (version < 0)
    return fail(
        Errc::not_supported, -version,
        fmt::format(
            "{}: not a KVM device ({}); the usual one is /dev/kvm (--kvm-device), and --accel "
            "soft needs none",
            path, os_error_text(-version)));
  if (version != KVM_API_VERSION)
    return fail(Errc::not_supported, 0,
                fmt::format("{}: KVM API version {}, but {} is needed; use Linux 6.1 or later",
                            path, version, KVM_API_VERSION));

  const int size = retry_ioctl(fd, KVM_GET_VCPU_MMAP_SIZE, 0);
  if (size < 0) return call_failed("KVM_GET_VCPU_MMAP_SIZE", -size);
  if (static_cast<std::size_t>(size) < sizeof(kvm_run))
    return fail(Errc::not_supported, 0,
                fmt::format("{}: run page of {} bytes, but {} are needed; use Linux 6.1 or later",
                            path, size, sizeof(kvm_run)));
  return System(std::move(fd), path, static_cast<std::size_t>(size));
}

int System::check_extension(int cap) const noexcept {
  return std::max(0, retry_ioctl(fd_, KVM_CHECK_EXTENSION, cap));
}

unsigned System::recommended_vcpus() const noexcept {
  const int count = check_extension(KVM_CAP_NR_VCPUS);
  return count > 0 ? static_cast<unsigned>(count)
                   : 4; // 4 is what the API promises where it cannot tell
}

unsigned System::max_vcpus() const noexcept {
  const int count = check_extension(KVM_CAP_MAX_VCPUS);
  return count > 0 ? static_cast<unsigned>(count) : recommended_vcpus();
}

unsigned System::max_vcpu_ids() const noexcept {
  const int count = check_extension(KVM_CAP_MAX_VCPU_ID);
  return count > 0 ? static_cast<unsigned>(count) : max_vcpus();
}

unsigned System::max_memslots() const noexcept {
  const int count = check_extension(KVM_CAP_NR_MEMSLOTS);
  return count > 0 ? static_cast<unsigned>(count) : 32; // likewise
}

Result<std::vector<kvm_cpuid_entry2>> System::supported_cpuid() const {
  for (std::size_t room = 128; room <= max_cpuid_entries; room *= 2) {
    FlexBuffer<kvm_cpuid2, kvm_cpuid_entry2> buffer(room);
    buffer.header()->nent = static_cast<__u32>(room);
    const int rc = retry_ioctl(fd_, KVM_GET_SUPPORTED_CPUID, buffer.header());
    if (rc == -E2BIG) continue;
    if (rc < 0) return call_failed("KVM_GET_SUPPORTED_CPUID", -rc);
    const auto entries = buffer.entries().first(std::min<std::size_t>(room, buffer.header()->nent));
    return std::vector<kvm_cpuid_entry2>(entries.begin(), entries.end());
  }
  return call_failed("KVM_GET_SUPPORTED_CPUID", E2BIG);
}

Result<std::vector<std::uint32_t>> System::msr_indices() const {
  // Asked with no room, the kernel answers E2BIG and how much it needs.
  kvm_msr_list count{};
  int rc = retry_ioctl(fd_, KVM_GET_MSR_INDEX_LIST, &count);
  if (rc < 0 && rc != -E2BIG) return call_failed("KVM_GET_MSR_INDEX_LIST", -rc);
  FlexBuffer<kvm_msr_list, __u32> buffer(count.nmsrs);
  buffer.header()->nmsrs = count.nmsrs;
  rc = retry_ioctl(fd_, KVM_GET_MSR_INDEX_LIST, buffer.header());
  if (rc < 0) return call_failed("KVM_GET_MSR_INDEX_LIST", -rc);
  const auto indices =
      buffer.entries().first(std::min<std::size_t>(count.nmsrs, buffer.header()->nmsrs));
  return std::vector<std::uint32_t>(indices.begin(), indices.end());
}

Result<Vm> System::create_vm() const {
  const int rc = retry_ioctl(fd_, KVM_CREATE_VM, 0);
  if (rc == -ENOMEM || rc == -ENOSPC)
    return fail(
        Errc::limit_exceeded, -rc,
        fmt::format("KVM_CREATE_VM: {}; free host memory or end another VM", os_error_text(-rc)));
  if (rc == -EBUSY)
    return fail(Errc::call_failed, -rc,
                fmt::format("KVM_CREATE_VM: {}; another hypervisor holds the processor's "
                            "virtualisation, end it first",
                            os_error_text(-rc)));
  if (rc < 0) return call_failed("KVM_CREATE_VM", -rc);
  return Vm(Fd(rc), Vm::Limits{max_vcpus(), max_vcpu_ids(), max_memslots(), vcpu_mmap_size_});
}

} // namespace slat::kvm
