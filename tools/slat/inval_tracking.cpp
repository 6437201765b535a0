// What accesses leave behind: the dirty log and the age of pages. After the kernel's dirty_log_test and
// access_tracking_perf_test.
#include "slat/inval_guest.hpp"

#include <fmt/format.h>

namespace slat::tool {

namespace {

using Clock = std::chrono::steady_clock;

constexpr MemstressShape guest_shape{.mib = 0,
                                     .shared_pages = 16}; // what its command line leaves as it is

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Each tested page's first word, its tag, which every write of the page changes: read through the host view, as the
/// guest is left alone.
class Tags {
 public:
  Tags(InvalGuest& guest) {
    for (const guest::PageRange& range : tested_pages(guest.machine(), guest_shape))
      for (std::uint64_t i = 0; i < range.pages; ++i) add(guest.ram(), range.start + i * 4096);
  }

  struct Page {
    std::size_t region;
    std::uint64_t index; // in the region
    const std::uint64_t* tag;
  };

  [[nodiscard]] const std::vector<Page>& pages() const { return pages_; }

  void read(std::vector<std::uint64_t>& tags) const {
    tags.clear();
    for (const Page& page : pages_)
      tags.push_back(guest::load_acquire(*page.tag)); // before the log is read
  }

 private:
  void add(vmm::GuestRam& ram, vmm::Gpa gpa) {
    for (std::size_t i = 0; i < ram.regions().size(); ++i) {
      const vmm::GuestRam::Region& region = ram.regions()[i];
      if (gpa - region.gpa.start >= region.gpa.size) continue;
      const std::uint64_t index = (gpa - region.gpa.start) / 4096;
      pages_.push_back(
          {i, index, reinterpret_cast<const std::uint64_t*>(region.backing->host_view(index))});
    }
  }

  std::vector<Page> pages_;
};

using Logs = std::vector<std::vector<std::uint64_t>>; // of each region

bool is_set(const Logs& logs, const Tags::Page& page) {
  return (logs[page.region][page.index / 64] >> page.index % 64 & 1) != 0;
}

} // namespace

InvalOutcome inval_dirty_log(const InvalCell& cell, InvalContext& context) {
  auto made = InvalGuest::make(cell, "write=30 order=random");
  if (!made) return no_machine(made.error());
  InvalGuest& guest = **made;
  vmm::Accelerator& accelerator = guest.machine().accelerator();
  if (auto ok = accelerator.log_dirty(); !ok) return InvalOutcome::failed(ok.error().message);
  if (!guest.start(context)) return guest.finish(context);

  const Tags tags(guest);
  const std::size_t regions = guest.ram().regions().size();
  Logs now(regions);
  for (std::size_t i = 0; i < regions; ++i)
    now[i].resize(guest.ram().regions()[i].gpa.size / 4096 / 64);
  Logs before = now;
  std::vector<std::uint64_t> old_tags;
  std::vector<std::uint64_t> new_tags;
  std::uint64_t changed = 0;
  std::uint64_t reported = 0;
  std::uint64_t rounds = 0;
  double reading = 0;
  const auto start = Clock::now();
  std::string wrong;
  do {
    tags.read(new_tags);
    const auto read = Clock::now();
    for (std::size_t i = 0; i < regions; ++i)
      if (auto ok = accelerator.read_dirty(i, now[i]); !ok && wrong.empty())
        wrong = ok.error().message;
    reading += seconds_since(read);
    for (std::size_t i = 0; i < tags.pages().size() && rounds != 0; ++i) {
      const Tags::Page& page = tags.pages()[i];
      reported += is_set(now, page) ? 1 : 0;
      if (new_tags[i] == old_tags[i]) continue;
      ++changed;
      // Written between the two samples: this log or the one before has it.
      if (!is_set(now, page) && !is_set(before, page) && wrong.empty())
        wrong = fmt::format(
            "round {}: page {} of region {} was written and is in neither log (I31, I32)", rounds,
            page.index, page.region);
    }
    std::swap(old_tags, new_tags);
    std::swap(before, now);
    ++rounds;
    context.show(fmt::format("round {}  {} writes seen", rounds, changed));
    // For as long as was asked for, and until there was something to see: machines may be slow.
  } while (wrong.empty() && !context.interrupted() &&
           (seconds_since(start) < cell.seconds || rounds < 3 || changed == 0) &&
           guest.wait_for_visits(context, 64));
  InvalOutcome outcome = guest.finish(context);
  if (outcome.verdict != InvalOutcome::Verdict::passed) return outcome;
  if (!wrong.empty()) return InvalOutcome::failed(wrong);
  if (changed == 0 || rounds < 3) return InvalOutcome::failed("the guest wrote nothing");
  outcome.figures = {{"rounds", double(rounds)},
                     {"writes_seen", double(changed)},
                     {"pages_reported", double(reported)},
                     {"read_log_us", reading / double(rounds) * 1e6}};
  return outcome;
}

InvalOutcome inval_access_tracking(const InvalCell& cell, InvalContext& context) {
  if (cell.accel != vmm::Accel::soft)
    return InvalOutcome::skipped("the access bits are the kernel's; --accel soft has its own");
  auto made = InvalGuest::make(cell, "order=seq write=0");
  if (!made) return no_machine(made.error());
  InvalGuest& guest = **made;
  if (!guest.start(context)) return guest.finish(context);
  vmm::GuestRam& ram = guest.ram();
  const auto pages = tested_pages(guest.machine(), guest_shape);
  std::uint64_t tested = 0;
  for (const guest::PageRange& range : pages) tested += range.pages;

  std::uint64_t rounds = 0;
  double clearing = 0;
  std::string wrong;
  const auto start = Clock::now();
  do {
    const auto clear = Clock::now();
    for (const vmm::GuestRam::Region& region : ram.regions())
      if (auto ok = ram.mm().advise(region.guest_view, region.gpa.size, mmu::Advice::cold); !ok)
        wrong = ok.error().message;
    clearing += seconds_since(clear);
    // The pass that was under way has begun before the clearing; the second one is whole.
    if (!guest.wait_for_passes(context, 2)) break;
    std::uint64_t old = 0;
    for (const guest::PageRange& range : pages)
      for (std::uint64_t i = 0; i < range.pages; ++i) {
        const std::uintptr_t at = ram.guest_view_of(range.start + i * 4096).value();
        if (!ram.mm().notifiers().test_young(at, at + 4096)) ++old;
      }
    if (old != 0)
      wrong =
          fmt::format("{} of {} pages look unused after every vCPU went over them", old, tested);
    ++rounds;
    context.show(fmt::format("round {}", rounds));
  } while (wrong.empty() && seconds_since(start) < cell.seconds && !context.interrupted());
  InvalOutcome outcome = guest.finish(context);
  if (outcome.verdict != InvalOutcome::Verdict::passed) return outcome;
  if (!wrong.empty()) return InvalOutcome::failed(wrong);
  // Nobody runs any more: what is cleared stays so.
  for (const vmm::GuestRam::Region& region : ram.regions()) {
    const std::uintptr_t end = region.guest_view + region.gpa.size;
    if (auto ok = ram.mm().advise(region.guest_view, region.gpa.size, mmu::Advice::cold); !ok)
      return InvalOutcome::failed(ok.error().message);
    if (ram.mm().notifiers().test_young(region.guest_view, end))
      return InvalOutcome::failed("pages look used that nobody can have used");
  }
  outcome.figures = {{"pages", double(tested)},
                     {"rounds", double(rounds)},
                     {"clear_us", clearing / double(rounds) * 1e6}};
  return outcome;
}

} // namespace slat::tool
