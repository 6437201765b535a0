// The numbers and layouts that this build would hand to the kernel, against those of the kernel's
// ABI. They are compile-time checks: a header that is laid out wrongly does not build.
#include "kvm/uapi.hpp"
#include "kvm/uapi_newer.hpp"

#include <gtest/gtest.h>

namespace slat::kvm {
namespace {

static_assert(KVM_GET_API_VERSION == 0xAE00 && KVM_CREATE_VM == 0xAE01);
static_assert(KVM_CHECK_EXTENSION == 0xAE03 && KVM_GET_VCPU_MMAP_SIZE == 0xAE04);
static_assert(KVM_GET_MSR_INDEX_LIST == 0xC004AE02);
static_assert(KVM_GET_SUPPORTED_CPUID == 0xC008AE05);
static_assert(KVM_CREATE_VCPU == 0xAE41 && KVM_GET_DIRTY_LOG == 0x4010AE42);
static_assert(KVM_SET_USER_MEMORY_REGION == 0x4020AE46);
static_assert(KVM_RUN == 0xAE80);
static_assert(KVM_GET_REGS == 0x8090AE81 && KVM_SET_REGS == 0x4090AE82);
static_assert(KVM_GET_SREGS == 0x8138AE83 && KVM_SET_SREGS == 0x4138AE84);
static_assert(KVM_GET_MSRS == 0xC008AE88 && KVM_SET_MSRS == 0x4008AE89);
static_assert(KVM_SET_SIGNAL_MASK == 0x4004AE8B);
static_assert(KVM_SET_CPUID2 == 0x4008AE90);
static_assert(KVM_GET_XSAVE == 0x9000AEA4 && KVM_SET_XSAVE == 0x5000AEA5);

static_assert(USERFAULTFD_IOC_NEW == 0xAA00 && UFFDIO_API == 0xC018AA3F);
static_assert(UFFDIO_REGISTER == 0xC020AA00 && UFFDIO_UNREGISTER == 0x8010AA01);
static_assert(UFFDIO_WAKE == 0x8010AA02 && UFFDIO_COPY == 0xC028AA03);
static_assert(UFFDIO_ZEROPAGE == 0xC020AA04 && UFFDIO_WRITEPROTECT == 0xC018AA06);
static_assert(UFFDIO_CONTINUE == 0xC020AA07);

static_assert(offsetof(kvm_run, immediate_exit) == 1 && offsetof(kvm_run, exit_reason) == 8);
static_assert(offsetof(kvm_run, io) == 32 && offsetof(kvm_run, padding) == 32);
static_assert(sizeof(kvm_cpuid_entry2) == 40 && sizeof(kvm_msr_entry) == 16);

TEST(Layout, FlexibleArraysStartRightAfterTheirHeader) {
  alignas(8) std::byte bytes[sizeof(kvm_cpuid2) + 2 * sizeof(kvm_cpuid_entry2)]{};
  auto* cpuid = reinterpret_cast<kvm_cpuid2*>(bytes);
  EXPECT_EQ(reinterpret_cast<std::byte*>(&cpuid->entries[1]), bytes + 8 + 40);
}

} // namespace
} // namespace slat::kvm
