// Several threads on one userfaultfd: reading, installing, and an address space that changes
// meanwhile.
#include "kvm/userfaultfd.hpp"
#include "uffd_memory.hpp"

#include <cerrno>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <vector>

namespace slat::kvm {
namespace {

constexpr Modes minor_faults{.missing = false, .minor = true, .wp = false};

TEST(UffdThreads, TwoReadersShareTheFaultsAndEachFaultGoesToOne) {
  UffdOptions options;
  options.required = UFFD_FEATURE_MINOR_SHMEM;
  auto uffd = Userfaultfd::open(options);
  if (!uffd) GTEST_SKIP() << uffd.error().message;
  constexpr std::uint64_t pages = 256;
  constexpr unsigned threads = 4;
  const TwoViews memory(pages);
  for (std::uint64_t i = 0; i < pages; ++i) memory.host_byte(i).store(static_cast<std::uint8_t>(i));
  ASSERT_TRUE(uffd->register_range(memory.address(), pages * page, minor_faults));

  std::atomic<bool> stop = false;
  std::atomic<unsigned> served = 0;
  std::vector<std::atomic<unsigned>> faults_of(pages);
  const auto serve = [&] {
    while (!stop) {
      pollfd ready{uffd->fd(), POLLIN, 0};
      ::poll(&ready, 1, 10);
      uffd_msg messages[8];
      const auto count = uffd->read_events(messages);
      ASSERT_TRUE(count) << count.error().message;
      for (const uffd_msg& message : std::span(messages, *count)) {
        const auto fault = std::get<FaultEvent>(decode_event(message));
        ++faults_of[(fault.address - memory.address()) / page];
        EXPECT_TRUE(uffd->continue_range(fault.address, page).ok());
        ++served;
      }
    }
  };
  std::thread first(serve);
  std::thread second(serve);
  std::vector<std::thread> touchers;
  std::atomic<unsigned> wrong = 0;
  for (unsigned t = 0; t < threads; ++t)
    touchers.emplace_back([&, t] { // each page has one thread, so each page has one fault
      for (std::uint64_t i = t; i < pages; i += threads)
        if (memory.guarded_byte(i).load() != static_cast<std::uint8_t>(i)) ++wrong;
    });
  for (std::thread& toucher : touchers) toucher.join();
  stop = true;
  first.join();
  second.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(served, pages);
  for (const auto& faults : faults_of) EXPECT_EQ(faults, 1u);
}

TEST(UffdThreads, OfManyInstallersOfOnePageOneWinsAndTheOthersAreToldEexist) {
  UffdOptions options;
  options.required = UFFD_FEATURE_MINOR_SHMEM;
  auto uffd = Userfaultfd::open(options);
  if (!uffd) GTEST_SKIP() << uffd.error().message;
  constexpr std::uint64_t pages = 64;
  const TwoViews memory(pages);
  for (std::uint64_t i = 0; i < pages; ++i) memory.host_byte(i).store(1);
  ASSERT_TRUE(uffd->register_range(memory.address(), pages * page, minor_faults));
  std::atomic<unsigned> won = 0;
  std::atomic<unsigned> lost = 0;
  std::vector<std::thread> installers;
  for (unsigned t = 0; t < 3; ++t)
    installers.emplace_back([&] {
      for (std::uint64_t i = 0; i < pages; ++i) {
        const Installed installed = uffd->continue_range(memory.address(i), page);
        if (installed.ok())
          ++won;
        else if (installed.error == EEXIST)
          ++lost;
      }
    });
  for (std::thread& installer : installers) installer.join();
  EXPECT_EQ(won, pages);
  EXPECT_EQ(lost, 2 * pages);
}

TEST(UffdThreads, InstallsAnswerEagainWhileARemoveEventWaitsToBeRead) {
  UffdOptions options;
  options.required = UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_EVENT_REMOVE;
  auto uffd = Userfaultfd::open(options);
  if (!uffd) GTEST_SKIP() << uffd.error().message;
  const TwoViews memory(2);
  memory.host_byte(0).store(1);
  memory.host_byte(1).store(1);
  ASSERT_TRUE(uffd->register_range(memory.address(), 2 * page, minor_faults));
  std::thread remover([&] { EXPECT_EQ(::madvise(memory.guarded.data(), page, MADV_DONTNEED), 0); });
  pollfd ready{uffd->fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&ready, 1, 10'000), 1);
  EXPECT_EQ(uffd->continue_range(memory.address(1), page).error, EAGAIN);
  uffd_msg message;
  ASSERT_EQ(uffd->read_events({&message, 1}).value(), 1u);
  const auto removed = std::get<RemoveEvent>(decode_event(message));
  EXPECT_EQ(removed.start, memory.address());
  EXPECT_EQ(removed.end, memory.address(1));
  remover.join();
  EXPECT_TRUE(uffd->continue_range(memory.address(1), page).ok());
}

} // namespace
} // namespace slat::kvm
