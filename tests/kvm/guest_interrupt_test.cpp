// How a running guest is stopped: requests, signals, masks. Every guest here would run for ever.
#include "guest.hpp"

#include <atomic>
#include <chrono>
#include <csignal>
#include <ctime>
#include <gtest/gtest.h>
#include <pthread.h>
#include <thread>

namespace slat::kvm {
namespace {

constexpr std::initializer_list<std::uint8_t> counting = {0x48, 0xff, 0x07, // 1: incq (%rdi)
                                                          0xeb, 0xfb};      // jmp 1b

std::atomic<Vcpu*> kicked_vcpu = nullptr;

extern "C" void kick_handler(int) {
  // acquire: pairs with the release store of the test, so that the vCPU is whole.
  if (Vcpu* vcpu = kicked_vcpu.load(std::memory_order_acquire)) vcpu->request_exit();
}

class KickSignal {
 public:
  explicit KickSignal(void (*handler)(int)) {
    struct sigaction action{};
    action.sa_handler = handler; // no SA_RESTART
    EXPECT_EQ(::sigaction(SIGUSR1, &action, &before_), 0);
  }

  KickSignal(const KickSignal&) = delete;
  KickSignal& operator=(const KickSignal&) = delete;

  ~KickSignal() { ::sigaction(SIGUSR1, &before_, nullptr); }

 private:
  struct sigaction before_{};
};

std::uint64_t count_of(const Guest& guest) {
  return std::atomic_ref(*reinterpret_cast<std::uint64_t*>(guest.ram() + Guest::data_gpa)).load();
}

void count_at_data(Guest& guest) {
  guest.with_regs([](kvm_regs& regs) { regs.rdi = Guest::data_gpa; });
}

void wait_until_it_counts(const Guest& guest) {
  const std::uint64_t before = count_of(guest);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (count_of(guest) == before && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

TEST(Interrupt, ARequestBeforeTheRunEndsItAtOnceUntilItIsTaken) {
  SLAT_NEEDS_KVM();
  Guest guest({0xe6, 0xe9, // out %al, $0xe9
               0xf4});     // hlt
  guest.vcpu.request_exit();
  guest.run_to<Interrupted>();
  guest.run_to<Interrupted>();
  EXPECT_EQ(guest.vcpu.get_regs()->rip, Guest::code_gpa);
  EXPECT_TRUE(guest.vcpu.take_exit_request());
  guest.run_to<IoOut>();
}

TEST(Interrupt, AKickFromAnotherThreadStopsARunningGuest) {
  SLAT_NEEDS_KVM();
  Guest guest(counting);
  count_at_data(guest);
  const KickSignal signal([](int) {});
  const pthread_t runner = ::pthread_self();
  std::thread kicker([&] {
    wait_until_it_counts(guest);
    guest.vcpu.request_exit();
    ::pthread_kill(runner, SIGUSR1);
  });
  guest.run_to<Interrupted>();
  kicker.join();
  EXPECT_TRUE(guest.vcpu.take_exit_request());
  EXPECT_GT(count_of(guest), 0u);
}

TEST(Interrupt, AHandlerMayMakeTheRequest) {
  SLAT_NEEDS_KVM();
  Guest guest(counting);
  count_at_data(guest);
  const KickSignal signal(kick_handler);
  kicked_vcpu.store(&guest.vcpu, std::memory_order_release); // pairs with the handler's acquire
  const pthread_t runner = ::pthread_self();
  std::thread kicker([&] {
    wait_until_it_counts(guest);
    ::pthread_kill(runner, SIGUSR1);
  });
  guest.run_to<Interrupted>();
  kicker.join();
  kicked_vcpu.store(nullptr, std::memory_order_release); // likewise
  EXPECT_TRUE(guest.vcpu.take_exit_request());
}

TEST(Interrupt, KicksAtAnyMomentAreNeverLost) {
  SLAT_NEEDS_KVM();
  Guest guest(counting);
  count_at_data(guest);
  const KickSignal signal([](int) {});
  constexpr int last = -1;
  constexpr int most_kicks = 1000; // or as many as a busy host does in two seconds
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  std::atomic<int> posted = 0;
  std::atomic<int> seen = 0;
  const pthread_t runner = ::pthread_self();
  std::thread kicker([&] {
    const auto kick = [&](int number) {
      posted.store(number, std::memory_order_relaxed); // published by request_exit()
      guest.vcpu.request_exit();
      ::pthread_kill(runner, SIGUSR1);
      while (seen.load() != number) std::this_thread::yield();
    };
    for (int i = 1; i <= most_kicks && std::chrono::steady_clock::now() < deadline; ++i) kick(i);
    kick(last);
  });
  while (seen.load() != last) { // a lost kick hangs here, and the test's time limit ends it
    guest.run_to<Interrupted>();
    guest.vcpu.take_exit_request();
    seen.store(posted.load(std::memory_order_relaxed));
  }
  kicker.join();
}

TEST(Interrupt, ASignalThatIsBlockedInTheThreadEndsARunWhoseMaskLetsItThrough) {
  SLAT_NEEDS_KVM();
  Guest guest(counting);
  count_at_data(guest);
  sigset_t kick;
  sigemptyset(&kick);
  sigaddset(&kick, SIGUSR1);
  sigset_t before;
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &kick, &before), 0);
  ASSERT_TRUE(guest.vcpu.set_signal_mask(before));

  const KickSignal signal([](int) {});
  ::pthread_kill(::pthread_self(),
                 SIGUSR1); // pending before the run: a plain handler would miss it
  guest.run_to<Interrupted>();
  const timespec at_once{};
  EXPECT_EQ(::sigtimedwait(&kick, nullptr, &at_once), SIGUSR1) << "it stays pending";
  EXPECT_TRUE(guest.vcpu.clear_signal_mask());
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

} // namespace
} // namespace slat::kvm
