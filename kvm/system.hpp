// System: the handle on /dev/kvm.
#pragma once

#include "kvm/error.hpp"
#include "kvm/fd.hpp"
#include "kvm/uapi.hpp"
#include "kvm/vm.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace slat::kvm {

/// Owns /dev/kvm. Every method is thread-safe and takes no lock of ours; a Vm outlives its System.
class System {
 public:
  /// Opens the device and checks that it speaks API version 12. May sleep.
  /// Errors: no_device, no_permission, not_supported (not KVM, or another version), call_failed.
  [[nodiscard]] static Result<System> open(const std::string& path = "/dev/kvm");

  /// What KVM_CHECK_EXTENSION answers for a KVM_CAP_*: 0 is "not there", larger is "there", or a
  /// count.
  [[nodiscard]] int check_extension(int cap) const noexcept;

  /// vCPUs of one VM that perform well here, and that are allowed.
  [[nodiscard]] unsigned recommended_vcpus() const noexcept;
  [[nodiscard]] unsigned max_vcpus() const noexcept;
  /// A vCPU's id is less than this.
  [[nodiscard]] unsigned max_vcpu_ids() const noexcept;
  /// A slot's number is less than this.
  [[nodiscard]] unsigned max_memslots() const noexcept;

  /// Bytes of a vCPU's run page.
  [[nodiscard]] std::size_t vcpu_mmap_size() const noexcept { return vcpu_mmap_size_; }

  /// The CPUID leaves that KVM can show to a guest on this host. Allocates. Errors: call_failed.
  [[nodiscard]] Result<std::vector<kvm_cpuid_entry2>> supported_cpuid() const;
  /// The MSRs that have to be saved with a guest. Allocates. Errors: call_failed.
  [[nodiscard]] Result<std::vector<std::uint32_t>> msr_indices() const;

  /// Makes a VM without memory and without vCPUs. May sleep for some milliseconds.
  /// Errors: limit_exceeded, call_failed.
  [[nodiscard]] Result<Vm> create_vm() const;

 private:
  System(Fd fd, std::string path, std::size_t vcpu_mmap_size)
      : fd_(std::move(fd)), path_(std::move(path)), vcpu_mmap_size_(vcpu_mmap_size) {}

  Fd fd_;
  std::string path_;
  std::size_t vcpu_mmap_size_;
};

} // namespace slat::kvm
