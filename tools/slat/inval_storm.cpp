// A guest that verifies every page while the host does one kind of thing to its memory.
#include "slat/inval_guest.hpp"
#include "slat/mailbox.hpp"
#include "slat/storm_option.hpp"

#include <array>
#include <fmt/format.h>

namespace slat::tool {

namespace {

constexpr int all_kinds = int(vmm::storm_kinds);

InvalOutcome storm(const InvalCell& cell, InvalContext& context, int kind) {
  const bool soft = cell.accel == vmm::Accel::soft;
  vmm::StormOptions options{.seed = cell.seed, .kinds = {}};
  std::string names = "all";
  if (kind != all_kinds) {
    names = vmm::name(vmm::StormKind(kind));
    if (vmm::needs_soft_memory(vmm::StormKind(kind)) && !soft)
      return InvalOutcome::skipped("the stage-2 tables are the kernel's; --accel soft has its own");
  }
  auto kinds = parse_storm(names, {.soft = soft, .given_up_pages = true});
  if (!kinds) return InvalOutcome::failed(kinds.error().message);
  options.kinds = std::move(*kinds);
  const bool discards = asks_for(names, vmm::StormKind::discard);
  auto made = InvalGuest::make(cell, discards ? "discard" : "",
                               storm_slot_bytes(names, cell.memory), 16, storm_spare_bytes(names));
  if (!made) return no_machine(made.error());
  InvalGuest& guest = **made;
  MailboxPages given_up(guest.machine());
  options.given_up = &given_up;
  vmm::Storm storm(guest.machine(), options);
  if (guest.start(context)) guest.work(context, cell.seconds);
  InvalOutcome outcome = guest.finish(context);
  const std::string error = storm.finish();
  if (outcome.verdict == InvalOutcome::Verdict::failed && !error.empty())
    outcome.why += "; the storm ended early: " + error;
  if (outcome.verdict != InvalOutcome::Verdict::passed) return outcome;
  if (!error.empty()) return InvalOutcome::failed("the storm ended early: " + error);
  vmm::Machine& machine = guest.machine();
  if (machine.ram().mm().notifiers().sequence().count() != 0)
    return InvalOutcome::failed("a range was left open");
  const mmu::Histogram latency = machine.accelerator().fault_latency_ns();
  outcome.figures = {{"ranges", double(storm.ranges())},
                     {"page_visits", double(guest.visits())},
                     {"faults", double(machine.accelerator().fault_count())},
                     {"fault_p99_us", double(latency.percentile(0.99)) / 1000}};
  return outcome;
}

template <int kind> InvalOutcome storm_of(const InvalCell& cell, InvalContext& context) {
  return storm(cell, context, kind);
}

constexpr int kind(vmm::StormKind which) {
  return int(which);
}

} // namespace

std::span<const InvalTest> inval_tests() {
  using K = vmm::StormKind;
  static constexpr std::array tests = {
      InvalTest{"demand-paging-missing", "first touch of pages that have no content yet",
                inval_demand_paging_missing},
      InvalTest{"demand-paging-minor", "first touch of pages whose content the host has",
                inval_demand_paging_minor},
      InvalTest{"dirty-log", "a write is in this reading of the log or the last", inval_dirty_log},
      InvalTest{"access-tracking", "a used page looks used, and an unused one does not",
                inval_access_tracking},
      InvalTest{"page-table", "translations stay right from populate to zap", inval_page_table},
      InvalTest{"unmap-in-use", "a guest whose memory is unmapped ends with a report",
                inval_unmap_in_use},
      InvalTest{"zap", "ranges are discarded from every stage-2 under load",
                storm_of<kind(K::zap)>},
      InvalTest{"pageout", "the same, and the host reclaims", storm_of<kind(K::pageout)>},
      InvalTest{"reclaim", "pages are compressed into a store under load",
                storm_of<kind(K::reclaim)>},
      InvalTest{"discard", "what the guest gives up reads as zero, and only that",
                storm_of<kind(K::discard)>},
      InvalTest{"cold", "aging bits are cleared under load", storm_of<kind(K::cold)>},
      InvalTest{"notifier", "subscribers come, go and sleep under load",
                storm_of<kind(K::notifier)>},
      InvalTest{"slot-replace", "slots in use are deleted and added again",
                storm_of<kind(K::slots)>},
      InvalTest{"slot-move", "slots in use move to other addresses", storm_of<kind(K::move)>},
      InvalTest{"migrate", "pages go to another place of their memfd, and come back",
                storm_of<kind(K::migrate)>},
      InvalTest{"read-only", "write access goes and comes back", storm_of<kind(K::readonly)>},
      InvalTest{"write-tracking", "no write to a protected page goes unnoticed",
                storm_of<kind(K::protect)>},
      InvalTest{"dirty-storm", "the dirty log is read all the time", storm_of<kind(K::dirty)>},
      InvalTest{"split", "huge leaves are split under load", storm_of<kind(K::split)>},
      InvalTest{"collapse", "small leaves are collapsed under load", storm_of<kind(K::collapse)>},
      InvalTest{"all-storms", "all of that at once", storm_of<all_kinds>},
  };
  return tests;
}

} // namespace slat::tool
