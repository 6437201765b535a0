// What KVM answers rarely: other versions, interrupted calls, limits, partial lists, described
// memory faults.
#include "fake_kernel.hpp"
#include "kvm/system.hpp"
#include "kvm/uapi_newer.hpp"

#include <cerrno>
#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <thread>

namespace slat::kvm {
namespace {

using testing::HasSubstr;

constexpr std::size_t mmap_size = 3 * 4096;

Vm fake_vm() {
  return Vm(fake_fd(), Vm::Limits{8, 16, 32, mmap_size});
}

Vcpu fake_vcpu(int run_page_fd) {
  return *Vcpu::adopt(Fd(run_page_fd), 0, mmap_size);
}

TEST(FakeSystem, AnotherApiVersionIsNotSupported) {
  FakeKernel kernel([](int, unsigned long, void*) { return 11; });
  const auto system = System::open("/dev/null");
  ASSERT_FALSE(system);
  EXPECT_EQ(system.error().code, Errc::not_supported);
  EXPECT_THAT(system.error().message, HasSubstr("API version 11, but 12"));
}

TEST(FakeSystem, ARunPageThatIsTooSmallIsNotSupported) {
  FakeKernel kernel(
      [](int, unsigned long request, void*) { return request == KVM_GET_API_VERSION ? 12 : 2048; });
  EXPECT_EQ(System::open("/dev/null").error().code, Errc::not_supported);
}

int twelve_and_mmap_size(unsigned long request) {
  return request == KVM_GET_API_VERSION ? 12 : static_cast<int>(mmap_size);
}

TEST(FakeSystem, CpuidIsAskedWithMoreRoomUntilItFits) {
  FakeKernel kernel([](int, unsigned long request, void* argument) {
    if (request != KVM_GET_SUPPORTED_CPUID) return twelve_and_mmap_size(request);
    auto* cpuid = static_cast<kvm_cpuid2*>(argument);
    if (cpuid->nent < 300) return -E2BIG;
    for (__u32 i = 0; i < 300; ++i) cpuid->entries[i].function = i;
    cpuid->nent = 300;
    return 0;
  });
  const auto system = System::open("/dev/null");
  ASSERT_TRUE(system);
  const auto cpuid = system->supported_cpuid();
  ASSERT_TRUE(cpuid);
  ASSERT_EQ(cpuid->size(), 300u);
  EXPECT_EQ(cpuid->back().function, 299u);
}

TEST(FakeSystem, ACpuidThatNeverFitsEnds) {
  FakeKernel kernel([](int, unsigned long request, void*) {
    return request == KVM_GET_SUPPORTED_CPUID ? -E2BIG : twelve_and_mmap_size(request);
  });
  EXPECT_EQ(System::open("/dev/null")->supported_cpuid().error().os_error, E2BIG);
}

TEST(FakeSystem, CreatingAVmGoesOnAfterASignal) {
  int calls = 0;
  FakeKernel kernel([&calls](int, unsigned long request, void*) {
    if (request == KVM_CHECK_EXTENSION) return 4;
    if (request != KVM_CREATE_VM) return twelve_and_mmap_size(request);
    return ++calls < 3 ? -EINTR : fake_fd().release();
  });
  EXPECT_TRUE(System::open("/dev/null")->create_vm());
  EXPECT_EQ(calls, 3);
}

TEST(FakeSystem, WhereTheKernelCannotTellALimitTheApisMinimumHolds) {
  FakeKernel kernel([](int, unsigned long request, void*) {
    return request == KVM_CHECK_EXTENSION ? 0 : twelve_and_mmap_size(request);
  });
  const auto system = System::open("/dev/null");
  EXPECT_EQ(system->recommended_vcpus(), 4u);
  EXPECT_EQ(system->max_vcpus(), 4u);
  EXPECT_EQ(system->max_vcpu_ids(), 4u);
  EXPECT_EQ(system->max_memslots(), 32u);
}

TEST(FakeVm, TooManyVcpusNamesTheLimit) {
  Vm vm = fake_vm();
  FakeKernel kernel([](int, unsigned long, void*) { return -EINVAL; });
  const auto vcpu = vm.create_vcpu(8);
  ASSERT_FALSE(vcpu);
  EXPECT_EQ(vcpu.error().code, Errc::limit_exceeded);
  EXPECT_THAT(vcpu.error().message, HasSubstr("8 vCPUs"));
}

TEST(FakeVm, ASlotThatTheKernelRefusedIsNotInTheTable) {
  Vm vm = fake_vm();
  int answer = -EEXIST;
  FakeKernel kernel([&answer](int, unsigned long, void*) { return answer; });
  EXPECT_EQ(vm.set_memslot(0, 0, 65 * 4096, 0x10000).error().code, Errc::invalid_argument);
  EXPECT_EQ(vm.dirty_log_words(0), 0u);
  answer = 0;
  ASSERT_TRUE(vm.set_memslot(0, 0, 65 * 4096, 0x10000));
  EXPECT_EQ(vm.dirty_log_words(0), 2u);
  answer = -ENOMEM;
  EXPECT_FALSE(vm.delete_memslot(0));
  EXPECT_EQ(vm.dirty_log_words(0), 2u) << "a slot that could not be deleted is still there";
}

TEST(FakeVm, ABitmapThatIsTooSmallNeverReachesTheKernel) {
  Vm vm = fake_vm();
  FakeKernel kernel([](int, unsigned long, void*) { return 0; });
  ASSERT_TRUE(vm.set_memslot(0, 0, 65 * 4096, 0x10000, KVM_MEM_LOG_DIRTY_PAGES));
  std::uint64_t words[2];
  EXPECT_EQ(vm.get_dirty_log(0, std::span(words, 1)).error().code, Errc::invalid_argument);
  EXPECT_EQ(kernel.requests().back(), KVM_SET_USER_MEMORY_REGION);
  EXPECT_TRUE(vm.get_dirty_log(0, words));
}

TEST(FakeVm, ReadOnlySlotsAreProbedForAndOtherFlagsRefused) {
  Vm vm = fake_vm();
  FakeKernel kernel([](int, unsigned long, void*) { return 0; }); // no extension
  EXPECT_EQ(vm.set_memslot(0, 0, 4096, 0x1000, KVM_MEM_READONLY).error().code, Errc::not_supported);
  EXPECT_EQ(vm.set_memslot(0, 0, 4096, 0x1000, 1u << 31).error().code, Errc::not_supported);
}

TEST(FakeVcpu, AMemoryFaultThatTheKernelDescribesHasItsAddressAndIsForgottenByTheNext) {
  const int fd = fake_fd().release();
  Vcpu vcpu = fake_vcpu(fd);
  Mapping page(fd, mmap_size);
  auto& run = *static_cast<kvm_run*>(page.data());
  bool describe = true;
  FakeKernel kernel([&](int, unsigned long, void*) {
    if (describe) {
      run.exit_reason = uapi::kvm_exit_memory_fault;
      const uapi::KvmMemoryFault raw{0, 0x7000, 0x1000};
      std::memcpy(run.padding, &raw, sizeof(raw));
    }
    return -EFAULT;
  });
  auto exit = vcpu.run();
  ASSERT_TRUE(exit && std::holds_alternative<MemoryFault>(*exit));
  EXPECT_TRUE(std::get<MemoryFault>(*exit).described);
  EXPECT_EQ(std::get<MemoryFault>(*exit).gpa, 0x7000u);
  describe = false;
  exit = vcpu.run();
  ASSERT_TRUE(exit && std::holds_alternative<MemoryFault>(*exit));
  EXPECT_FALSE(std::get<MemoryFault>(*exit).described) << "the description is the last fault's";
}

TEST(FakeVcpu, RunIsNotRepeatedAfterASignal) {
  Vcpu vcpu = fake_vcpu(fake_fd().release());
  FakeKernel kernel([](int, unsigned long, void*) { return -EINTR; });
  const auto exit = vcpu.run();
  ASSERT_TRUE(exit);
  EXPECT_TRUE(std::holds_alternative<Interrupted>(*exit));
  EXPECT_EQ(kernel.requests().size(), 1u);
}

TEST(FakeVcpu, AWokenVcpuThatIsNotStartedRunsAgainAndOtherFailuresAreErrors) {
  Vcpu vcpu = fake_vcpu(fake_fd().release());
  int answer = -EAGAIN;
  FakeKernel kernel([&answer](int, unsigned long, void*) { return answer; });
  EXPECT_TRUE(std::holds_alternative<Interrupted>(*vcpu.run()));
  answer = -EINVAL;
  EXPECT_THAT(vcpu.run().error().message, HasSubstr("valid processor state"));
  answer = -EIO;
  EXPECT_THAT(vcpu.run().error().message, HasSubstr("process that made it"));
}

TEST(FakeVcpu, ARequestThatArrivesWhileAnAccessCompletesIsNotLost) {
  const int fd = fake_fd().release();
  Vcpu vcpu = fake_vcpu(fd);
  Mapping page(fd, mmap_size);
  auto& run = *static_cast<kvm_run*>(page.data());
  std::uint8_t seen = 0;
  FakeKernel kernel([&](int, unsigned long, void*) {
    seen = run.immediate_exit;
    vcpu.request_exit();
    return -EINTR;
  });
  ASSERT_TRUE(vcpu.complete_pending_io());
  EXPECT_NE(seen, 0) << "the guest would have been entered";
  EXPECT_NE(run.immediate_exit, 0) << "the request is lost";
  EXPECT_TRUE(vcpu.take_exit_request());
  EXPECT_EQ(run.immediate_exit, 0);
  EXPECT_FALSE(vcpu.take_exit_request());
}

TEST(FakeVcpu, ARefusedMsrIsNamed) {
  Vcpu vcpu = fake_vcpu(fake_fd().release());
  FakeKernel kernel([](int, unsigned long, void*) { return 1; });
  const kvm_msr_entry msrs[] = {{0x10, 0, 1}, {0xc0000080, 0, 2}};
  const auto result = vcpu.set_msrs(msrs);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("0xc0000080"));
}

TEST(FakeVcpu, TheSignalMaskIsTheKernelsEightBytes) {
  Vcpu vcpu = fake_vcpu(fake_fd().release());
  std::uint64_t mask = 0;
  std::uint32_t bytes = 0;
  FakeKernel kernel([&](int, unsigned long request, void* argument) {
    EXPECT_EQ(request, KVM_SET_SIGNAL_MASK);
    std::memcpy(&bytes, argument, 4);
    std::memcpy(&mask, static_cast<char*>(argument) + 4, 8);
    return 0;
  });
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, 64);
  ASSERT_TRUE(vcpu.set_signal_mask(set));
  EXPECT_EQ(bytes, 8u);
  EXPECT_EQ(mask, (1ull << (SIGUSR1 - 1)) | (1ull << 63));
}

} // namespace
} // namespace slat::kvm
