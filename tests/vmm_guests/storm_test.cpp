// memstress while the host takes memory away: not one stale or lost byte, and counters that add up.
#include "machine_host.hpp"

#include "mmu/fault.hpp"
#include "mmu/stage2/checker.hpp"
#include "vmm/layout.hpp"
#include "vmm/storm.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <fmt/format.h>
#include <functional>
#include <gmock/gmock.h>
#include <thread>

namespace slat::vmm {
namespace {

using mmu::Counter;
using Reason = MachineEnd::Reason;

class MachineStorm : public MachineTest {};

void expect_good(const MachineEnd& end, const SerialLog& log) {
  EXPECT_EQ(end.reason, Reason::exited) << end.report;
  EXPECT_EQ(end.exit_code, guest::exit_good) << log.text();
}

/// What holds whatever happened, once no vCPU runs any more. `refused`: some faults have ended with a refusal.
void expect_consistent(Machine& machine, bool refused = false) {
  const auto sum = [&](Counter counter) { return machine.counters().sum(counter); };
  const std::uint64_t messages = sum(Counter::uffd_missing_count) + sum(Counter::uffd_minor_count) +
                                 sum(Counter::uffd_wp_count);
  Accelerator& accelerator = machine.accelerator();
  if (accelerator.soft_memory() == nullptr) {
    const auto served = [&] { return accelerator.fault_count() + sum(Counter::uffd_stale_count); };
    // A guest that was woken by the install may be done before the service has noted it.
    for (int i = 0; i < 1000 && served() != messages; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_EQ(served(), messages) << "all were resolved, or nobody waits for them any more";
  } else {
    EXPECT_EQ(messages, 0u) << "nobody asks the kernel";
    EXPECT_TRUE(mmu::stage2::check_table(accelerator.soft_memory()->table()));
  }
  if (!refused) EXPECT_GE(sum(Counter::fault_count), accelerator.fault_count());
  EXPECT_LT(sum(Counter::fault_around_pages), sum(Counter::installed_pages));
  EXPECT_GE(sum(Counter::invalidated_pages), sum(Counter::invalidate_count));
  EXPECT_EQ(sum(Counter::poisoned_pages), 0u);
  EXPECT_EQ(sum(Counter::invalidate_refused_count), 0u);
  EXPECT_EQ(machine.ram().mm().notifiers().sequence().count(), 0u) << "a range was left open";
}

TEST_F(MachineStorm, OneToFourVcpusVerifyEveryPage) {
  for (unsigned cpus = 1; cpus <= 4; ++cpus) {
    SerialLog log;
    auto machine =
        make_memstress(log, {.command_line = "mib=8 passes=2", .memory = 32 * mib, .cpus = cpus});
    ASSERT_TRUE(machine && machine->start());
    expect_good(end_of(*machine, 60), log);
    expect_consistent(*machine);
    EXPECT_EQ(mailbox_of(*machine).vcpu_count, cpus);
    EXPECT_EQ(mailbox_of(*machine).tested_pages, 8 * mib / 4096);
    for (unsigned i = 0; i < cpus; ++i) EXPECT_GT(mailbox_of(*machine).slots[i].verified, 0u);
  }
}

/// Waits until `enough`, for 20 s at the most, or for the guest's end.
void let_it_run(Machine& machine, const std::function<bool()>& enough) {
  for (int i = 0; i < 4000 && !enough(); ++i)
    if (machine.wait_for(std::chrono::milliseconds(5))) break;
}

TEST_F(MachineStorm, ZapsLoseNothingAndAreAllCounted) {
  SerialLog log;
  auto machine = make_memstress(log, {.command_line = "mib=16", .memory = 48 * mib, .cpus = 2});
  ASSERT_TRUE(machine);
  const std::uint64_t before = machine->counters().sum(Counter::invalidate_count);
  Storm storm(*machine, {.seed = 7, .rate = 2000, .max_pages = 1024});
  ASSERT_TRUE(machine->start());
  ASSERT_TRUE(wait_until_running(*machine));
  let_it_run(*machine, [&] { return storm.ranges() > 500; });
  ask_to_stop(*machine);
  expect_good(end_of(*machine, 60), log);
  EXPECT_EQ(storm.finish(), "");
  expect_consistent(*machine);
  EXPECT_GT(storm.ranges(), 100u);
  EXPECT_EQ(machine->counters().sum(Counter::invalidate_count) - before, storm.ranges());
  EXPECT_GT(machine->accelerator().fault_count(), 100u) << "zapped pages came back";
}

/// What memstress gives up, by its mailbox.
class MailboxPages final : public GivenUpPages {
 public:
  explicit MailboxPages(Machine& machine) : machine_(&machine) {}

  Result<void> collect(std::vector<Page>& pages) override {
    const guest::Mailbox mailbox = mailbox_of(*machine_);
    for (std::uint32_t vcpu = 0; vcpu < machine_->config().cpus; ++vcpu)
      if (const std::uint64_t request = mailbox.slots[vcpu].given_up;
          request != 0 && mailbox.discarded[vcpu] != std::uint8_t(request))
        pages.push_back({(request >> 32) * 4096, std::uint64_t(vcpu) << 8 | (request & 0xff)});
    return {};
  }

  Result<void> acknowledge(const Page& page) override {
    const std::byte sequence{std::uint8_t(page.token)};
    return machine_->ram().write(machine_->kernel().notes.mailbox.value() +
                                     offsetof(guest::Mailbox, discarded) + (page.token >> 8),
                                 {&sequence, 1});
  }

 private:
  Machine* machine_;
};

/// Pages that the guest gave up and then found to be zero.
std::uint64_t read_as_zero(Machine& machine) {
  std::uint64_t sum = 0;
  for (const guest::VcpuSlot& slot : mailbox_of(machine).slots) sum += slot.discarded;
  return sum;
}

/// Runs memstress under the storm until `enough`, or for 20 s at the most; then the guest's verdict must be good.
void expect_good_under(Machine& machine, const SerialLog& log, const StormOptions& options,
                       const std::function<bool()>& enough) {
  Storm storm(machine, options);
  ASSERT_TRUE(machine.start());
  ASSERT_TRUE(wait_until_running(machine));
  let_it_run(machine, enough);
  ask_to_stop(machine);
  expect_good(end_of(machine, 90), log);
  EXPECT_EQ(storm.finish(), "");
  const auto& kinds = options.kinds;
  expect_consistent(machine, std::ranges::find(kinds, StormKind::readonly) != kinds.end());
}

TEST_F(MachineStorm, I38_ReclaimedPagesComeBackAsTheGuestLeftThem) {
  SerialLog log;
  auto machine = make_memstress(log, {.command_line = "mib=8", .memory = 32 * mib, .cpus = 2});
  ASSERT_TRUE(machine);
  const auto sum = [&](Counter counter) { return machine->counters().sum(counter); };
  expect_good_under(*machine, log,
                    {.seed = 11, .rate = 2000, .max_pages = 256, .kinds = {StormKind::reclaim}},
                    [&] { return sum(Counter::restored_pages) >= 1000; });
  EXPECT_GT(sum(Counter::restored_pages), 0u);
  EXPECT_GE(sum(Counter::reclaimed_pages), sum(Counter::restored_pages));
  const CompressedStore::Stats kept = machine->ram().store()->stats();
  EXPECT_EQ(kept.pages, sum(Counter::reclaimed_pages) - sum(Counter::restored_pages));
  EXPECT_EQ(kept.damaged_pages, 0u);
  EXPECT_EQ(kept.limit, 8 * mib) << "a quarter of the RAM";
  std::uint64_t reclaimed = 0;
  for (const GuestRam::Region& region : machine->ram().regions())
    for (std::uint64_t page = 0; page < region.backing->pages(); ++page)
      reclaimed += region.backing->word(page).read().state() == mmu::PageState::reclaimed ? 1 : 0;
  EXPECT_EQ(reclaimed, kept.pages) << "a slot without a page";
}

TEST_F(MachineStorm, I38_NoWriteToATrackedPageIsMissed) {
  SerialLog log;
  auto machine = make_memstress(log, {.command_line = "mib=8", .memory = 32 * mib, .cpus = 2});
  ASSERT_TRUE(machine);
  const auto sum = [&](Counter counter) { return machine->counters().sum(counter); };
  expect_good_under(
      *machine, log,
      {.seed = 15, .rate = 2000, .max_pages = 256, .kinds = {StormKind::protect, StormKind::zap}},
      [&] { return sum(Counter::tracked_write_count) >= 300; });
  EXPECT_GT(sum(Counter::tracked_write_count), 0u);
  EXPECT_GT(sum(Counter::write_tracked_pages), sum(Counter::tracked_write_count));
}

TEST_F(MachineStorm, I38_MigratedPagesAreWhereTheGuestLooksForThem) {
  SerialLog log;
  auto machine = make_memstress(
      log, {.command_line = "mib=8", .memory = 32 * mib, .spare_memory = 2 * mib, .cpus = 2});
  ASSERT_TRUE(machine);
  const auto sum = [&](Counter counter) { return machine->counters().sum(counter); };
  const std::size_t vmas = machine->ram().mm().vmas().size();
  expect_good_under(
      *machine, log,
      {.seed = 16, .rate = 2000, .max_pages = 256, .kinds = {StormKind::migrate, StormKind::zap}},
      [&] { return sum(Counter::migrated_pages) >= 2000; });
  EXPECT_GT(sum(Counter::migrated_pages), 200u);
  EXPECT_EQ(machine->ram().mm().vmas().size(), vmas) << "all came home";
}

TEST_F(MachineStorm, MigrationWithoutSpareMemoryIsAnError) {
  SerialLog log;
  auto machine = make_memstress(log, {.command_line = "mib=8", .memory = 32 * mib});
  ASSERT_TRUE(machine);
  const auto done = Migrations(*machine).step(0, 0, 1);
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().message, testing::HasSubstr("no spare memory"));
}

TEST_F(MachineStorm, I38_I39_AllKindsAtOnceLoseNothing) {
  SerialLog log;
  auto machine = make_memstress(log, {.command_line = "mib=8 discard",
                                      .memory = 32 * mib,
                                      .memory_slot = 8 * mib,
                                      .spare_memory = 2 * mib,
                                      .cpus = 2});
  ASSERT_TRUE(machine);
  const bool soft = machine->accelerator().soft_memory() != nullptr;
  MailboxPages given_up(*machine);
  StormOptions options{
      .seed = 12, .rate = 2000, .max_pages = 256, .given_up = &given_up, .kinds = {}};
  for (std::size_t i = 0; i < storm_kinds; ++i)
    if (soft || !needs_soft_memory(StormKind(i))) options.kinds.push_back(StormKind(i));
  expect_good_under(*machine, log, options, [&] {
    return machine->counters().sum(Counter::restored_pages) >= 1000 && read_as_zero(*machine) >= 10;
  });
  EXPECT_GT(machine->counters().sum(Counter::restored_pages), 0u);
  EXPECT_GT(read_as_zero(*machine), 0u);
}

TEST_F(MachineStorm, I39_WhatTheGuestGivesUpReadsAsZero) {
  SerialLog log;
  auto machine =
      make_memstress(log, {.command_line = "mib=4 discard", .memory = 32 * mib, .cpus = 2});
  ASSERT_TRUE(machine);
  MailboxPages given_up(*machine);
  expect_good_under(
      *machine, log,
      {.seed = 14, .rate = 20'000, .given_up = &given_up, .kinds = {StormKind::discard}},
      // More than a byte counts; software vCPUs are slow, and slower under sanitizers.
      [&] { return read_as_zero(*machine) >= (tested_accelerator() == Accel::soft ? 50 : 600); });
  EXPECT_GT(read_as_zero(*machine), 20u);
  EXPECT_GE(machine->counters().sum(Counter::freed_pages), read_as_zero(*machine));
}

/// A host that does something else with each page that is given up, and says that it is gone.
struct WrongHost : MachineStorm {
  void expect_caught(const std::function<void(GuestRam&, std::uintptr_t page)>& what,
                     const testing::Matcher<guest::Kind>& kind) {
    SerialLog log;
    auto machine =
        make_memstress(log, {.command_line = "mib=4 discard", .memory = 32 * mib, .cpus = 2});
    ASSERT_TRUE(machine && machine->start());
    ASSERT_TRUE(wait_until_running(*machine));
    MailboxPages given_up(*machine);
    for (int i = 0; i < 4000 && mailbox_of(*machine).first_mismatch.valid == 0; ++i) {
      std::vector<GivenUpPages::Page> pages;
      ASSERT_TRUE(given_up.collect(pages));
      for (const GivenUpPages::Page& page : pages) {
        what(machine->ram(), machine->ram().guest_view_of(page.gpa).value());
        ASSERT_TRUE(given_up.acknowledge(page));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ask_to_stop(*machine);
    EXPECT_EQ(end_of(*machine, 60).exit_code, guest::exit_mismatch) << log.text();
    EXPECT_THAT(guest::Kind(mailbox_of(*machine).first_mismatch.kind), kind) << log.text();
  }
};

TEST_F(WrongHost, I39_IsCaughtIfItRemovesNothing) {
  expect_caught([](GuestRam&, std::uintptr_t) {}, guest::Kind::stale);
}

TEST_F(WrongHost, I39_IsCaughtIfItOnlyZaps) {
  expect_caught(
      [](GuestRam& ram, std::uintptr_t page) {
        EXPECT_TRUE(ram.mm().advise(page, 4096, mmu::Advice::dontneed));
      },
      guest::Kind::stale);
}

TEST_F(WrongHost, I39_IsCaughtIfItRemovesMoreThanWasGivenUp) {
  // The guest may be writing it: then it is not zero as a whole.
  expect_caught(
      [](GuestRam& ram, std::uintptr_t page) {
        EXPECT_TRUE(ram.mm().advise(page - 4096, 3 * 4096, mmu::Advice::remove));
      },
      testing::AnyOf(guest::Kind::zeroed, guest::Kind::lost, guest::Kind::corrupt));
}

TEST_F(MachineStorm, I41_AFullStoreStopsNothing) {
  SerialLog log;
  auto machine = make_memstress(log, {.command_line = "mib=8", .memory = 32 * mib, .cpus = 2});
  ASSERT_TRUE(machine);
  expect_good_under(*machine, log,
                    {.seed = 13,
                     .rate = 2000,
                     .max_pages = 256,
                     .store_limit = 64 * kib,
                     .kinds = {StormKind::reclaim}},
                    [&] { return machine->ram().store()->stats().full_count >= 200; });
  const CompressedStore::Stats kept = machine->ram().store()->stats();
  EXPECT_GT(kept.full_count, 0u);
  EXPECT_LE(kept.bytes, 64 * kib);
}

TEST_F(MachineStorm, I41_AReclaimedPageThatIsDamagedEndsTheRunAndIsNeverRead) {
  SerialLog log;
  auto machine = make_memstress(log, {.command_line = "mib=8", .memory = 32 * mib});
  ASSERT_TRUE(machine);
  GuestRam& ram = machine->ram();
  CompressedStore& store = ram.make_store();
  ASSERT_TRUE(machine->start());
  ASSERT_TRUE(wait_until_running(*machine));
  // Whole regions, damaged while the guest runs into them. (The guest may be as quick with some.)
  for (int round = 0; round < 200 && !machine->wait_for(std::chrono::milliseconds(5)); ++round)
    for (const GuestRam::Region& region : ram.regions()) {
      auto done = ram.mm().reclaim(region.guest_view, region.gpa.size);
      ASSERT_TRUE(done) << done.error().message;
      for (std::uint64_t page = 0; page < region.backing->pages(); ++page) {
        mmu::PageWord& word = region.backing->word(page);
        mmu::PageState was{};
        if (word.read().state() != mmu::PageState::reclaimed ||
            word.claim_fill(was) != mmu::FillClaim::claimed)
          continue;
        if (was == mmu::PageState::reclaimed) store.damage(word.read().slot(), page);
        word.finish_fill(was);
      }
    }
  const MachineEnd end = end_of(*machine, 60);
  EXPECT_EQ(end.reason, Reason::crashed) << log.text();
  EXPECT_THAT(end.report, testing::HasSubstr("poisoned"));
  EXPECT_GT(store.stats().damaged_pages, 0u);
  EXPECT_GT(machine->counters().sum(Counter::poisoned_pages), 0u);
  EXPECT_THAT(log.text(), testing::Not(testing::HasSubstr("mismatch at")));
}

TEST_F(MachineStorm, SlotsInUseAreExchangedAndMovedAndTheGuestSeesNothing) {
  for (const StormKind kind : {StormKind::slots, StormKind::move}) {
    SCOPED_TRACE(name(kind));
    SerialLog log;
    auto machine = make_memstress(
        log, {.command_line = "mib=16", .memory = 32 * mib, .memory_slot = 4 * mib, .cpus = 2});
    ASSERT_TRUE(machine);
    ASSERT_EQ(machine->ram().regions().size(), 8u);
    Storm storm(*machine, {.seed = 11, .kinds = {kind, kind, StormKind::zap}});
    ASSERT_TRUE(machine->start());
    ASSERT_TRUE(wait_until_running(*machine));
    let_it_run(*machine, [&] { return storm.ranges(kind) > 100; });
    ask_to_stop(*machine); // through a region that may be on its way
    expect_good(end_of(*machine, 60), log);
    EXPECT_EQ(storm.finish(), "");
    expect_consistent(*machine);
    EXPECT_GT(storm.ranges(kind), 20u);
  }
}

TEST_F(MachineStorm, WritersWaitWhereTheHostHasMadeMemoryReadOnly) {
  SerialLog log;
  auto machine = make_memstress(
      log, {.command_line = "mib=8", .memory = 32 * mib, .memory_slot = 8 * mib, .cpus = 2});
  ASSERT_TRUE(machine);
  // Slots too: who waits for the right to write must not keep a gate from closing.
  Storm storm(*machine, {.seed = 5,
                         .kinds = {StormKind::readonly, StormKind::readonly, StormKind::slots,
                                   StormKind::move}});
  ASSERT_TRUE(machine->start());
  ASSERT_TRUE(wait_until_running(*machine));
  let_it_run(*machine, [&] { return storm.ranges(StormKind::readonly) > 100; });
  ask_to_stop(*machine);
  expect_good(end_of(*machine, 60), log);
  EXPECT_EQ(storm.finish(), "");
  expect_consistent(*machine, true);
  EXPECT_GT(storm.ranges(StormKind::readonly), 20u);
}

TEST_F(MachineStorm, WriteToProtectedMemoryThatNobodyGivesBackEndsTheGuestWithAReport) {
  SerialLog log;
  auto machine = make_memstress(log, {.command_line = "mib=8", .memory = 32 * mib, .cpus = 2});
  ASSERT_TRUE(machine && machine->start());
  ASSERT_TRUE(wait_until_running(*machine));
  const GuestRam::Region& region = machine->ram().regions().front();
  ASSERT_TRUE(machine->ram().mm().protect(region.guest_view, region.gpa.size, mmu::vm_read));
  const MachineEnd end = end_of(*machine, 60);
  EXPECT_EQ(end.reason, Reason::crashed);
  EXPECT_NE(end.report, "");
}

TEST_F(MachineStorm, RemovalElsewhereWhileTheGuestRuns) {
  constexpr Gpa spare = 128 * mib; // above what the guest tests
  constexpr std::uint64_t size = 4 * mib;
  const bool soft = tested_accelerator() == Accel::soft; // slow, and slower under sanitizers
  SerialLog log;
  auto machine = make_memstress(log, {.command_line = soft ? "mib=8 passes=4" : "mib=16 passes=30",
                                      .memory = 256 * mib,
                                      .cpus = 2});
  ASSERT_TRUE(machine);
  GuestRam& ram = machine->ram();
  const std::uintptr_t view = ram.guest_view_of(spare).value();
  Storm storm(*machine, {.seed = 3, .rate = 500, .max_pages = 2048});
  ASSERT_TRUE(machine->start());
  std::uint64_t rounds = 0;
  const std::array<std::byte, 4> mark{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
  std::array<std::byte, 4> found{};
  do {
    for (std::uint64_t offset = 0; offset < size; offset += 64 * kib)
      ASSERT_TRUE(ram.write(spare + offset, mark));
    ASSERT_TRUE(ram.read(spare + size - 64 * kib, found));
    ASSERT_EQ(found, mark);
    ASSERT_TRUE(ram.mm().advise(view, size, mmu::Advice::remove));
    ASSERT_TRUE(ram.read(spare + size - 64 * kib, found));
    ASSERT_EQ(found, (std::array<std::byte, 4>{})) << "removed memory reads as zero";
    ++rounds;
  } while (!machine->wait_for(std::chrono::milliseconds(1)) && rounds < 20'000);
  EXPECT_EQ(storm.finish(), "");
  expect_good(end_of(*machine, 60), log);
  expect_consistent(*machine);
  EXPECT_GE(machine->counters().sum(Counter::freed_pages), rounds * size / (64 * kib));
}

TEST_F(MachineStorm, MemoryUnmappedUnderTheGuestEndsItWithAReport) {
  for (const unsigned cpus : {1u, 2u}) {
    auto machine = make_machine(
        {.kernel = memstress_image(), .command_line = "mib=16", .memory = 32 * mib, .cpus = cpus});
    ASSERT_TRUE(machine && machine->start());
    ASSERT_TRUE(wait_until_running(*machine));
    const std::uintptr_t view = machine->ram().guest_view_of(8 * mib).value();
    ASSERT_TRUE(machine->ram().mm().unmap(view, 4 * mib));
    const MachineEnd end = end_of(*machine, 20);
    EXPECT_EQ(end.reason, Reason::crashed);
    EXPECT_FALSE(end.report.empty());
  }
}

TEST_F(MachineStorm, MemoryUnmappedWhileAFaultOnItWaitsEndsItToo) {
  auto machine =
      make_machine({.kernel = memstress_image(), .command_line = "mib=16", .memory = 32 * mib});
  ASSERT_TRUE(machine);
  const GuestRam::Region& region = machine->ram().regions().front();
  {
    auto scope = machine->ram().mm().notifiers().invalidate_range_start(
        {region.guest_view, region.guest_view + region.gpa.size, mmu::InvalidateEvent::unmap});
    ASSERT_TRUE(scope);
    ASSERT_TRUE(machine->start());
    ASSERT_FALSE(machine->wait_for(std::chrono::milliseconds(50)));
    // Nested on this thread: the fault is blocked by the outer range, and finds nothing after it.
    ASSERT_TRUE(machine->ram().mm().unmap(region.guest_view, region.gpa.size));
  }
  const MachineEnd end = end_of(*machine, 20);
  EXPECT_EQ(end.reason, Reason::crashed);
  EXPECT_THAT(end.report, testing::HasSubstr("nothing is mapped there"));
}

} // namespace
} // namespace slat::vmm
