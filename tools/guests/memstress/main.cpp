// memstress: all vCPUs write, read and verify guest memory while the host may take it away
// underneath them.
#include "guests/abi.hpp"
#include "guests/identity_check.hpp"
#include "guests/memstress/stress.hpp"
#include "guests/memstress/summary.hpp"
#include "guests/memstress/worker.hpp"
#include "guests/runtime/io.hpp"
#include "guests/runtime/print.hpp"
#include "guests/shared_counter.hpp"

#include <cstdint>

// The host reads magic and version before the guest runs, so they are in the file.
[[gnu::section(".data.mailbox"), gnu::used]] slat::guest::Mailbox slat_mailbox = {
    .magic = slat::guest::mailbox_magic,
    .version = slat::guest::mailbox_version,
    .state = 0,
    .vcpu_count = 0,
    .exit_code = 0,
    .tested_pages = 0,
    .shared_pages = 0,
    .shared_sum = 0,
    .shared_counted = 0,
    .tsc_khz = 0,
    .stop_request = 0,
    .corrupt_request = 0,
    .touch_writes = 0,
    .first_mismatch = {},
    .slots = {},
    .discarded = {}};

namespace slat::guest {

constinit Stress stress;

namespace {

void set_state(GuestState state) {
  store_release(slat_mailbox.state, static_cast<std::uint32_t>(state));
}

void set_state(std::uint32_t vcpu, GuestState state) {
  store_release(slat_mailbox.slots[vcpu].state, static_cast<std::uint32_t>(state));
}

[[noreturn]] void finish(GuestState state, std::uint32_t code) {
  store_relaxed(slat_mailbox.exit_code, code);
  set_state(state);
  exit_machine(code);
}

template <class... Parts> [[noreturn]] void refuse(std::uint32_t code, const Parts&... parts) {
  print_line("memstress: ", parts...);
  finish(GuestState::refused, code);
}

void read_options(const Boot& boot) {
  MemstressOptions& options = stress.options;
  const OptionError error = parse_memstress_options(boot.params->command_line(), options);
  if (error.reason != nullptr) refuse(exit_parameter, "'", error.word, "' ", error.reason);
  if (options.seconds != 0 && boot.tsc_khz == 0) {
    refuse(exit_parameter, "seconds= needs the TSC frequency, which CPUID leaf ",
           Hex{cpuid_tsc_leaf}, " does not give; use passes=");
  }
}

void plan_memory(const Boot& boot) {
  PageRange ram[128];
  std::size_t count = 0;
  const auto floor = reinterpret_cast<std::uint64_t>(slat_image_end);
  for (unsigned i = 0; i < boot.params->e820_count() && count < 128; ++i) {
    const BootParams::E820Entry entry = boot.params->e820()[i];
    if (entry.type != BootParams::type_ram) continue;
    const PageRange range = clip(entry.start, entry.size, floor);
    if (range.pages != 0) ram[count++] = range;
  }
  if (count == 0)
    refuse(exit_boot, "the e820 table has no RAM above the image, which ends at ", Hex{floor});
  const MemstressOptions& options = stress.options;
  const PlanRequest request{ram, count, options.mib * 256, options.shared_pages, boot.vcpu_count};
  switch (make_plan(request, stress.plan)) {
  case PlanError::none:
    break;
  case PlanError::too_many_ranges:
    refuse(exit_boot, "the e820 table has more than 32 ranges of RAM");
  case PlanError::not_enough_memory: {
    std::uint64_t pages = 0;
    for (std::size_t i = 0; i < count; ++i) pages += ram[i].pages;
    refuse(exit_parameter, "not enough memory: ", pages / 256,
           " MiB of RAM above the image for mib=", options.mib, " shared=", options.shared_pages,
           " and ", std::uint64_t{boot.vcpu_count}, " vCPUs; give the guest more or ask for less");
  }
  }
}

void check_mapping(const Boot& boot) {
  const MappingCheck check = check_identity(
      boot.cr3, boot.paging_levels, stress.plan.end,
      [](std::uint64_t start, std::uint64_t bytes) { return plan_uses(stress.plan, start, bytes); },
      [](std::uint64_t address) { return *memory(address); });
  switch (check.fault) {
  case MappingFault::none:
    return;
  case MappingFault::not_present:
    refuse(exit_boot, "RAM at ", Hex{check.address}, " is not mapped");
  case MappingFault::not_user_writable:
    refuse(exit_boot, "RAM at ", Hex{check.address}, " is not mapped for user writes");
  case MappingFault::not_identity:
    refuse(exit_boot, "RAM at ", Hex{check.address}, " is not identity-mapped");
  case MappingFault::table_in_the_way:
    refuse(exit_boot, "a page table at ", Hex{check.address},
           " lies in RAM to be tested; loaders keep theirs below 1 MiB or reserve it in the e820 "
           "table");
  }
}

void set_up(const Boot& boot) {
  set_state(GuestState::starting);
  if (boot.vcpu_count == 0 || boot.vcpu_count > max_vcpus) {
    refuse(exit_boot, std::uint64_t{boot.vcpu_count}, " vCPUs; this image takes 1 to ",
           std::uint64_t{max_vcpus});
  }
  read_options(boot);
  plan_memory(boot);
  check_mapping(boot);
  stress.pattern = Pattern(stress.options.seed);
  stress.vcpus = boot.vcpu_count;
  stress.tsc_khz = boot.tsc_khz;
  const MemoryPlan& plan = stress.plan;
  for (std::uint64_t vcpu = 0; vcpu < stress.vcpus; ++vcpu) {
    for (std::uint64_t i = 0; i < plan.shared_pages * counters_per_page; ++i)
      ledger_of(vcpu)[i] = {};
  }
  for (std::uint64_t i = 0; i < plan.shared_pages * counters_per_page; ++i) {
    const std::uint64_t address = plan.shared + i * counter_cell_words * sizeof(std::uint64_t);
    init_counter(memory(address), address);
  }
  store_relaxed(slat_mailbox.vcpu_count, stress.vcpus);
  store_relaxed(slat_mailbox.tested_pages, plan.private_pages + plan.shared_pages);
  store_relaxed(slat_mailbox.shared_pages, plan.shared_pages);
  store_relaxed(slat_mailbox.tsc_khz, boot.tsc_khz);
  print_start();
  set_state(GuestState::initialising);
  store_release(stress.ready, 1u); // pairs with the load_acquire in guest_main
}

// Every counter must hold the sum of what the vCPUs added to it.
bool counters_add_up() {
  const MemoryPlan& plan = stress.plan;
  std::uint64_t sum = 0, counted = 0;
  bool good = true;
  for (std::uint64_t i = 0; i < plan.shared_pages * counters_per_page; ++i) {
    const std::uint64_t address = plan.shared + i * counter_cell_words * sizeof(std::uint64_t);
    const std::uint64_t found = load_relaxed(*memory(address));
    std::uint64_t expected = 0;
    for (std::uint64_t vcpu = 0; vcpu < stress.vcpus; ++vcpu) expected += ledger_of(vcpu)[i].added;
    sum += found;
    counted += expected;
    if (found == expected) continue;
    good = false;
    record_counter(0, address - address % page_size, address % page_size, expected, found);
  }
  store_relaxed(slat_mailbox.shared_sum, sum);
  store_relaxed(slat_mailbox.shared_counted, counted);
  return good;
}

} // namespace

void barrier(std::uint32_t& phase) {
  ++phase;
  // Release publishes this vCPU's work, acquire takes the others': all arrivals are one release
  // sequence.
  __atomic_fetch_add(&stress.arrived, 1u, __ATOMIC_ACQ_REL);
  while (load_acquire(stress.arrived) < phase * stress.vcpus) pause();
}

void guest_crashed(std::uint32_t vcpu) {
  set_state(vcpu, GuestState::crashed);
  store_relaxed(slat_mailbox.exit_code, std::uint32_t{exit_exception});
  set_state(GuestState::crashed);
}

void guest_main(const Boot& boot) {
  if (boot.vcpu == 0) set_up(boot);
  while (load_acquire(stress.ready) == 0) pause(); // pairs with the store_release of vCPU 0
  const std::uint32_t vcpu = boot.vcpu;
  std::uint32_t phase = 0;
  const auto enter = [&](GuestState state) {
    barrier(phase);
    set_state(vcpu, state);
    if (vcpu == 0) set_state(state);
  };
  Worker worker(vcpu);
  set_state(vcpu, GuestState::initialising);
  worker.initialise();
  enter(GuestState::running);
  const std::uint64_t start = read_tsc();
  worker.run();
  enter(GuestState::verifying);
  const std::uint64_t run_ticks = read_tsc() - start;
  worker.verify();
  set_state(vcpu, GuestState::done);
  barrier(phase);
  while (vcpu != 0) pause(); // vCPU 0 ends the machine

  const bool counters_good = counters_add_up();
  const std::uint32_t code = print_verdict(run_ticks, counters_good);
  finish(GuestState::done, code);
}

} // namespace slat::guest
