// Guests on a host that fails now and then, or for good; and signals at any time. What is only for a moment must not be
// seen by the guest; what is for good ends the run with a line that says so.
#include "failing_host.hpp"
#include "machine_host.hpp"
#include "vmm/layout.hpp"
#include "vmm/storm.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gmock/gmock.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace slat::vmm {
namespace {

using mmu::Counter;
using Call = FailingHost::Call;
using testing::HasSubstr;

class HostFailure : public MachineTest {
 protected:
  void make(const std::string& command_line = "mib=8") {
    machine_ = make_memstress(log_, {.command_line = command_line, .memory = 32 * mib, .cpus = 2});
    ASSERT_TRUE(machine_);
  }

  /// Runs until `enough`, or for 20 s; the guest must find nothing wrong.
  void expect_good_until(const std::function<bool()>& enough) {
    ASSERT_TRUE(machine_->start());
    ASSERT_TRUE(wait_until_running(*machine_));
    for (int i = 0; i < 4000 && !enough(); ++i)
      if (machine_->wait_for(std::chrono::milliseconds(5))) break;
    ask_to_stop(*machine_);
    const MachineEnd end = end_of(*machine_, 90);
    EXPECT_EQ(end.reason, MachineEnd::Reason::exited) << end.report;
    EXPECT_EQ(end.exit_code, guest::exit_good) << log_.text();
  }

  [[nodiscard]] bool is_soft() const { return machine_->accelerator().soft_memory() != nullptr; }

  FailingHost host_;
  SerialLog log_;
  std::unique_ptr<Machine> machine_;
};

TEST_F(HostFailure, I38_errors_of_userfaultfd_that_pass_are_not_seen_by_the_guest) {
  make();
  if (is_soft()) GTEST_SKIP() << "software vCPUs have no userfaultfd";
  host_.fail(Call::uffd_continue, 4, {EAGAIN, EEXIST, ENOENT, ENOMEM});
  host_.fail(Call::uffd_write_protect, 4, {EAGAIN});
  host_.fail(Call::uffd_read, 4, {EINTR, EAGAIN});
  Storm storm(*machine_, {.seed = 21,
                          .rate = 2000,
                          .max_pages = 256,
                          .kinds = {StormKind::zap, StormKind::reclaim, StormKind::protect}});
  expect_good_until([&] { return host_.failures(Call::uffd_continue) >= 1000; });
  EXPECT_EQ(storm.finish(), "");
  EXPECT_GE(host_.failures(Call::uffd_continue), 100u);
  EXPECT_GT(host_.failures(Call::uffd_write_protect), 0u);
  EXPECT_GT(host_.failures(Call::uffd_read), 0u);
  EXPECT_GT(machine_->counters().sum(Counter::fault_no_memory_count), 0u);
}

TEST_F(HostFailure, I38_a_host_without_memory_for_a_moment_makes_the_guest_wait) {
  make();
  host_.fail(Call::populate, 5, {ENOMEM}); // eleven in a row, which end a guest, are no matter
  Storm storm(*machine_, {.seed = 23, .max_pages = 64, .kinds = {StormKind::reclaim}});
  expect_good_until([&] { return host_.failures(Call::populate) >= 300; });
  EXPECT_EQ(storm.finish(), "");
  EXPECT_GT(host_.failures(Call::populate), 0u);
  EXPECT_GT(machine_->counters().sum(Counter::fault_no_memory_count), 0u);
}

TEST_F(HostFailure, I38_a_host_without_memory_for_a_moment_makes_a_device_wait) {
  make();
  host_.fail(Call::populate, 5, {ENOMEM});
  const std::uint64_t value = 39;
  for (std::uint64_t page = 0; page < 64; ++page) {
    const auto written = machine_->ram().write(Gpa(16 * mib) + page * mmu::page_size,
                                               std::as_bytes(std::span(&value, 1)));
    ASSERT_TRUE(written) << written.error().message;
  }
  EXPECT_GT(host_.failures(Call::populate), 0u);
  host_.fail(Call::populate, 1, {ENOMEM});
  const auto written = machine_->ram().write(Gpa(24 * mib), std::as_bytes(std::span(&value, 1)));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Errc::host_limit);
}

TEST_F(HostFailure, a_host_without_memory_for_good_ends_the_run_and_says_so) {
  make();
  host_.fail(Call::populate, 1, {ENOMEM});
  ASSERT_TRUE(machine_->start());
  const MachineEnd end = end_of(*machine_);
  EXPECT_EQ(end.reason, MachineEnd::Reason::crashed);
  EXPECT_THAT(end.report, HasSubstr("out of memory"));
}

TEST_F(HostFailure, I41_a_source_that_fails_for_good_ends_the_run_and_its_page_is_never_read) {
  make();
  host_.fail(Call::populate, 2, {EIO});
  host_.fail(Call::allocate, 1, {EIO}); // what a source tries then
  ASSERT_TRUE(machine_->start());
  const MachineEnd end = end_of(*machine_);
  EXPECT_EQ(end.reason, MachineEnd::Reason::crashed);
  EXPECT_THAT(end.report, HasSubstr("poisoned"));
  EXPECT_THAT(log_.text(), testing::Not(HasSubstr("mismatch")));
}

TEST_F(HostFailure, I38_a_source_that_takes_its_time_only_makes_the_guest_wait) {
  make();
  host_.delay(Call::populate, 3000);
  Storm storm(*machine_, {.seed = 25,
                          .rate = 500,
                          .max_pages = 64,
                          .kinds = {StormKind::reclaim, StormKind::zap, StormKind::protect}});
  expect_good_until([&] { return machine_->counters().sum(Counter::restored_pages) >= 300; });
  EXPECT_EQ(storm.finish(), "");
  EXPECT_GT(machine_->counters().sum(Counter::restored_pages), 0u);
}

TEST_F(HostFailure, a_fault_thread_that_dies_ends_the_run_and_says_so) {
  make("mib=8 passes=1000000");
  if (is_soft()) GTEST_SKIP() << "software vCPUs have no fault threads";
  ASSERT_TRUE(machine_->start());
  ASSERT_TRUE(wait_until_running(*machine_));
  host_.fail(Call::uffd_read, 1, {EIO});
  for (const GuestRam::Region& region : machine_->ram().regions()) // there are faults from now on
    ASSERT_TRUE(
        machine_->ram().mm().advise(region.guest_view, region.gpa.size, mmu::Advice::dontneed));
  const MachineEnd end = end_of(*machine_);
  EXPECT_EQ(end.reason, MachineEnd::Reason::crashed);
  EXPECT_THAT(end.report, HasSubstr("fault thread"));
}

TEST_F(HostFailure, errors_of_userfaultfd_that_do_not_pass_end_the_run) {
  for (const int error : {ENOENT, ENOMEM, EINVAL}) {
    make();
    if (is_soft()) GTEST_SKIP() << "software vCPUs have no userfaultfd";
    host_.fail(Call::uffd_continue, 1, {error});
    ASSERT_TRUE(machine_->start());
    EXPECT_EQ(end_of(*machine_).reason, MachineEnd::Reason::crashed) << std::strerror(error);
    machine_.reset();
    host_.fail(Call::uffd_continue, 0, {});
  }
}

/// The threads of this process that slat has made, which handle the vCPUs' kick: by name.
int signal_all(const char* prefix, int number) {
  int sent = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::ifstream(task.path() / "comm") >> name;
    if (name.starts_with(prefix) &&
        syscall(SYS_tgkill, getpid(), std::stoi(task.path().filename()), number) == 0)
      ++sent;
  }
  return sent;
}

TEST_F(HostFailure, I38_signals_at_any_time_are_not_seen_by_the_guest) {
  make();
  struct sigaction action{};
  action.sa_handler = [](int) {
  }; // without SA_RESTART: every system call that can be is interrupted
  ASSERT_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
  Storm storm(*machine_, {.seed = 22,
                          .rate = 1000,
                          .max_pages = 256,
                          .kinds = {StormKind::zap, StormKind::reclaim, StormKind::protect,
                                    StormKind::readonly, StormKind::notifier}});
  std::atomic<bool> stop{false};
  std::atomic<int> sent{0};
  std::thread sender([&] {
    while (!stop) {
      sent += signal_all("slat-", SIGUSR1);
      std::this_thread::sleep_for(std::chrono::microseconds(300));
    }
  });
  expect_good_until([&] { return sent >= 3000; });
  EXPECT_EQ(storm.finish(), "");
  stop = true;
  sender.join();
  EXPECT_GT(sent, 100);
  std::signal(SIGUSR1, SIG_IGN); // what is still on its way to a busy thread ends nothing
}

} // namespace
} // namespace slat::vmm
