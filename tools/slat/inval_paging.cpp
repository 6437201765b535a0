// Demand paging: a guest's first touch of each page, with nothing behind the page yet (missing), and with its content in
// the host already (minor). After the kernel's demand_paging_test.
#include "slat/inval_guest.hpp"

#include <fmt/format.h>

namespace slat::tool {

namespace {

using Clock = std::chrono::steady_clock;
using mmu::Counter;

InvalOutcome demand_paging(const InvalCell& cell, InvalContext& context, bool minor) {
  auto guest = InvalGuest::make(cell, "mode=touch passes=1", 0, 1); // every page by its own fault
  if (!guest) return no_machine(guest.error());
  vmm::Machine& machine = (*guest)->machine();
  vmm::GuestRam& ram = machine.ram();
  if (minor) {
    context.show("filling guest memory");
    for (const vmm::GuestRam::Region& region : ram.regions())
      if (auto ok = ram.mm().advise(region.guest_view, region.gpa.size, mmu::Advice::willneed); !ok)
        return InvalOutcome::failed(ok.error().message);
  }
  mmu::Counters& counters = machine.counters();
  const std::uint64_t filled = counters.sum(Counter::filled_pages);
  const std::uint64_t installed = counters.sum(Counter::installed_pages);
  const auto start = Clock::now();
  (void)(*guest)->start(context); // if it could not, finish() tells
  InvalOutcome outcome = (*guest)->finish(context, false);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  if (outcome.verdict != InvalOutcome::Verdict::passed) return outcome;

  const std::uint64_t pages = (*guest)->tested_pages();
  const std::uint64_t filled_now = counters.sum(Counter::filled_pages) - filled;
  const std::uint64_t installed_now = counters.sum(Counter::installed_pages) - installed;
  if (minor && filled_now != 0)
    return InvalOutcome::failed(
        fmt::format("{} pages that had content were filled once more (I40)", filled_now));
  if (!minor && (filled_now < pages || filled_now > cell.memory / 4096))
    return InvalOutcome::failed(fmt::format("{} pages were filled, of {} tested and {} in all",
                                            filled_now, pages, cell.memory / 4096));
  if (installed_now < pages)
    return InvalOutcome::failed(
        fmt::format("{} pages were installed of {} that were touched", installed_now, pages));
  const mmu::Histogram latency = machine.accelerator().fault_latency_ns();
  outcome.figures = {{"pages", double(pages)},
                     {"seconds", seconds},
                     {"pages_per_second", double(pages) / seconds},
                     {"fault_p50_us", double(latency.percentile(0.5)) / 1000},
                     {"fault_p99_us", double(latency.percentile(0.99)) / 1000}};
  return outcome;
}

} // namespace

InvalOutcome inval_demand_paging_missing(const InvalCell& cell, InvalContext& context) {
  return demand_paging(cell, context, false);
}

InvalOutcome inval_demand_paging_minor(const InvalCell& cell, InvalContext& context) {
  return demand_paging(cell, context, true);
}

} // namespace slat::tool
