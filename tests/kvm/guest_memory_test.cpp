// Memory slots: their limits, their dirty log, and guest memory that is taken away or filled while
// a guest runs.
#include "guest.hpp"
#include "kvm/uapi_newer.hpp"
#include "kvm/userfaultfd.hpp"

#include <atomic>
#include <csignal>
#include <cstring>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <thread>
#include <vector>

namespace slat::kvm {
namespace {

constexpr std::uint64_t page = 4096;

TEST(Memslot, NumbersAndAlignmentAreCheckedHere) {
  SLAT_NEEDS_KVM();
  Guest guest({0xf4});
  const auto code = [&](std::uint32_t slot, std::uint64_t gpa, std::uint64_t size,
                        std::uint64_t hva) {
    return guest.vm.set_memslot(slot, gpa, size, hva).error().code;
  };
  const std::uint64_t hva = guest.hva(0);
  EXPECT_EQ(code(guest.system.max_memslots(), 1 << 30, page, hva), Errc::limit_exceeded);
  EXPECT_EQ(code(1, (1 << 30) + 1, page, hva), Errc::invalid_argument);
  EXPECT_EQ(code(1, 1 << 30, page + 1, hva), Errc::invalid_argument);
  EXPECT_EQ(code(1, 1 << 30, page, hva + 8), Errc::invalid_argument);
  EXPECT_EQ(code(1, 1 << 30, 0, hva), Errc::invalid_argument);
  EXPECT_EQ(code(1, ~0ull - page + 1, 2 * page, hva), Errc::invalid_argument);
}

TEST(Memslot, TheLastSlotNumberWorksAndGoesAwayOnce) {
  SLAT_NEEDS_KVM();
  Guest guest({0xf4});
  const std::uint32_t last = guest.system.max_memslots() - 1;
  const auto set = guest.vm.set_memslot(last, 1 << 30, page, guest.hva(0));
  ASSERT_TRUE(set) << set.error().message;
  EXPECT_TRUE(guest.vm.delete_memslot(last));
  EXPECT_EQ(guest.vm.dirty_log_words(last), 0u);
  EXPECT_EQ(guest.vm.delete_memslot(last).error().code, Errc::invalid_argument);
}

TEST(Memslot, AnOverlapIsNamed) {
  SLAT_NEEDS_KVM();
  Guest guest({0xf4});
  const auto overlap = guest.vm.set_memslot(1, Guest::ram_size - page, 2 * page, guest.hva(0));
  ASSERT_FALSE(overlap);
  EXPECT_EQ(overlap.error().code, Errc::invalid_argument);
  EXPECT_NE(overlap.error().message.find("overlaps another slot"), std::string::npos);
}

TEST(Memslot, AReadOnlySlotTurnsWritesIntoMmio) {
  SLAT_NEEDS_KVM();
  Guest guest({0x8b, 0x1f, // mov (%rdi), %ebx
               0x89, 0x1f, // mov %ebx, (%rdi)
               0xf4});     // hlt
  guest.ram()[Guest::data_gpa] = 0x33;
  const std::uint64_t gpa = 1 << 29;
  ASSERT_TRUE(guest.vm.set_memslot(1, gpa, page, guest.hva(Guest::data_gpa), KVM_MEM_READONLY));
  guest.with_regs([](kvm_regs& regs) { regs.rdi = 1 << 29; });
  const auto write = guest.run_to<MmioWrite>();
  EXPECT_EQ(write.gpa, gpa);
  EXPECT_EQ(write.data[0], std::byte{0x33}) << "the read did not reach the memory";
}

TEST(DirtyLog, HasTheWrittenPagesAndIsResetByReading) {
  SLAT_NEEDS_KVM();
  Guest guest({0x89, 0x07, // mov %eax, (%rdi)
               0x89, 0x06, // mov %eax, (%rsi)
               0xf4});     // hlt
  ASSERT_TRUE(guest.vm.set_memslot(0, 0, Guest::ram_size, guest.hva(0), KVM_MEM_LOG_DIRTY_PAGES));
  std::vector<std::uint64_t> bitmap(guest.vm.dirty_log_words(0));
  ASSERT_EQ(bitmap.size(), Guest::ram_size / page / 64);
  guest.with_regs([](kvm_regs& regs) {
    regs.rdi = 0x100000;
    regs.rsi = 0x1ff000;
  });
  guest.run_to<Hlt>();
  ASSERT_TRUE(guest.vm.get_dirty_log(0, bitmap));
  EXPECT_NE(bitmap[4] & 1, 0u) << "page 0x100";
  EXPECT_NE(bitmap[7] >> 63, 0u) << "page 0x1ff";
  EXPECT_EQ(bitmap[5], 0u);
  ASSERT_TRUE(guest.vm.get_dirty_log(0, bitmap));
  EXPECT_EQ(bitmap[4] & 1, 0u);
}

TEST(DirtyLog, OfASlotWithoutOneOrWithoutRoomIsAnError) {
  SLAT_NEEDS_KVM();
  Guest guest({0xf4});
  std::vector<std::uint64_t> bitmap(guest.vm.dirty_log_words(0));
  const auto none = guest.vm.get_dirty_log(0, bitmap);
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().message.find("KVM_MEM_LOG_DIRTY_PAGES"), std::string::npos);
  bitmap.pop_back();
  EXPECT_EQ(guest.vm.get_dirty_log(0, bitmap).error().code, Errc::invalid_argument);
  EXPECT_EQ(guest.vm.get_dirty_log(9, bitmap).error().code, Errc::invalid_argument);
}

TEST(GuestMemoryFault, MemoryThatIsForbiddenFailsTheRunAndWorksAgainWhenPermitted) {
  SLAT_NEEDS_KVM();
  Guest guest({0xe6, 0xe9,   // out %al, $0xe9
               0x8a, 0x07,   // mov (%rdi), %al
               0xe6, 0xe9}); // out %al, $0xe9
  guest.ram()[Guest::data_gpa] = 0x66;
  guest.enter_user_mode();
  guest.with_regs([](kvm_regs& regs) { regs.rdi = Guest::data_gpa; });
  guest.run_to<IoOut>();
  std::uint8_t* const data = guest.ram() + Guest::data_gpa;
  ASSERT_EQ(::mprotect(data, page, PROT_NONE), 0);
  for (int i = 0; i < 2; ++i) {
    const auto fault = guest.run_to<MemoryFault>();
    EXPECT_EQ(fault.os_error, EFAULT);
    if (fault.described) {
      EXPECT_EQ(fault.gpa & ~(page - 1), Guest::data_gpa);
    }
  }
  ASSERT_EQ(::mprotect(data, page, PROT_READ | PROT_WRITE), 0);
  EXPECT_EQ(guest.run_to<IoOut>().data[0], std::byte{0x66});
}

// Serves minor faults of a guest's data pages from a memfd until it is told to stop.
TEST(GuestUserfaultfd, AGuestWaitsForItsPagesAndSeesWhatWasPutThere) {
  SLAT_NEEDS_KVM();
  UffdOptions options;
  options.required = UFFD_FEATURE_MINOR_SHMEM;
  auto uffd = Userfaultfd::open(options);
  if (!uffd) GTEST_SKIP() << uffd.error().message;

  constexpr std::uint64_t pages = 8;
  const Fd file(::memfd_create("guest", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(file.get(), pages * page), 0);
  Mapping host_view(file.get(), pages * page);
  Mapping guest_view(file.get(), pages * page);
  for (std::uint64_t i = 0; i < pages; ++i)
    static_cast<std::uint8_t*>(host_view.data())[i * page] = static_cast<std::uint8_t>(i + 1);
  const auto start = reinterpret_cast<std::uint64_t>(guest_view.data());
  Modes modes;
  modes.minor = true;
  ASSERT_TRUE(uffd->register_range(start, pages * page, modes));

  // Adds the first byte of each page to ebx.
  Guest guest({0x31, 0xdb,                               // xor %ebx, %ebx
               0x0f, 0xb6, 0x07,                         // 1: movzbl (%rdi), %eax
               0x01, 0xc3,                               // add %eax, %ebx
               0x48, 0x81, 0xc7, 0x00, 0x10, 0x00, 0x00, // add $4096, %rdi
               0xff, 0xc9,                               // dec %ecx
               0x75, 0xf0,                               // jnz 1b
               0xf4});                                   // hlt
  constexpr std::uint64_t gpa = 1 << 29;
  ASSERT_TRUE(guest.vm.set_memslot(1, gpa, pages * page, start));
  guest.with_regs([](kvm_regs& regs) {
    regs.rdi = gpa;
    regs.rcx = pages;
  });

  std::atomic<bool> stop = false;
  std::atomic<unsigned> served = 0;
  std::thread service([&] {
    while (!stop) {
      pollfd ready{uffd->fd(), POLLIN, 0};
      ::poll(&ready, 1, 10);
      uffd_msg messages[4];
      const std::size_t count = uffd->read_events(messages).value();
      for (const uffd_msg& message : std::span(messages, count)) {
        const auto fault = std::get<FaultEvent>(decode_event(message));
        EXPECT_TRUE(fault.minor);
        EXPECT_TRUE(uffd->continue_range(fault.address & ~(page - 1), page).ok());
        ++served;
      }
    }
  });
  guest.run_to<Hlt>();
  stop = true;
  service.join();
  EXPECT_EQ(guest.vcpu.get_regs()->rbx, pages * (pages + 1) / 2);
  EXPECT_EQ(served, pages);
}

std::atomic<Vcpu*> vcpu_of_poison = nullptr;
std::atomic<void*> poisoned_address = nullptr;
std::atomic<int> poison_code = 0;

extern "C" void poison_handler(int, siginfo_t* info, void*) {
  poisoned_address = info->si_addr;
  poison_code = info->si_code;
  if (Vcpu* vcpu = vcpu_of_poison) vcpu->request_exit();
}

TEST(GuestUserfaultfd, APoisonedPageIsASignalToTheVcpusThreadWithItsAddress) {
  SLAT_NEEDS_KVM();
  UffdOptions options;
  options.required = UFFD_FEATURE_MISSING_SHMEM | uapi::uffd_feature_poison;
  auto uffd = Userfaultfd::open(options);
  if (!uffd) GTEST_SKIP() << uffd.error().message;
  Guest guest({0x8a, 0x07,   // mov (%rdi), %al
               0xe6, 0xe9}); // out %al, $0xe9
  guest.enter_user_mode();
  guest.with_regs([](kvm_regs& regs) { regs.rdi = Guest::data_gpa; });
  const std::uint64_t data = guest.hva(Guest::data_gpa);
  Modes modes;
  modes.missing = true;
  ASSERT_TRUE(uffd->register_range(data, page, modes));
  ASSERT_TRUE(uffd->poison(data, page).ok());

  struct sigaction action{};
  struct sigaction before{};
  action.sa_sigaction = poison_handler;
  action.sa_flags = SA_SIGINFO;
  ASSERT_EQ(::sigaction(SIGBUS, &action, &before), 0);
  vcpu_of_poison = &guest.vcpu;
  const auto exit = guest.vcpu.run();
  vcpu_of_poison = nullptr;
  ::sigaction(SIGBUS, &before, nullptr);

  ASSERT_TRUE(exit) << exit.error().message;
  EXPECT_TRUE(std::holds_alternative<Interrupted>(*exit)) << to_string(*exit);
  EXPECT_EQ(poison_code, BUS_MCEERR_AR);
  EXPECT_EQ(reinterpret_cast<std::uint64_t>(poisoned_address.load()) & ~(page - 1), data);
}

} // namespace
} // namespace slat::kvm
