#include "slat/scale/print.hpp"

#include "slat/bench_report.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace slat::tool::scale {

const char* const assumptions_text =
    R"(The model: each vCPU is a processor that does nothing but fault, in order
  SRCU section and lookup, lock, a tenth of the rest, unlock, the rest, install.
- The line of a lock is one serial resource: it goes to who asks first, a
  transfer costs more from another node and with each waiter, and who has got it
  keeps it for a while. mmap-lock: one line for all. The others: the VMA's, of
  all in one VMA, of nobody else with a VMA each. A read of a line that another
  has written brings it whole (--no-migratory: a copy, and the write after it
  waits once more).
- Beyond 63 vCPUs threads share one slot of SRCU and counters: two adds to each.
- No writer changes the map, no page is allocated, bandwidth has no end.
- userfaultfd: the lock of its queue is a serial resource; a wake-up walks all
  that wait; whoever polls is woken by each event; mmap lock as above, two adds
  each time. A thread that is woken runs after half of what the steps leave of
  a measured round. Servers have processors of their own.
- A node has 64 processors, another node is twice as far, a waiter adds 0.5 %.
  Options change these. docs/scale.md says what is wrong with all of it.
)";

namespace {

std::vector<double> values_of(const Rounds& rounds, const std::string& name) {
  std::vector<double> values;
  for (const Figures& figures : rounds.figures)
    if (const auto at = figures.find(name); at != figures.end()) values.push_back(at->second);
  return values;
}

double middle(const Rounds& rounds, const std::string& name) {
  return median(values_of(rounds, name));
}

std::string human(double rate) {
  if (rate >= 100e6) return fmt::format("{:.0f}M", rate / 1e6);
  if (rate >= 10e6) return fmt::format("{:.1f}M", rate / 1e6);
  if (rate >= 1e6) return fmt::format("{:.2f}M", rate / 1e6);
  if (rate >= 100e3) return fmt::format("{:.0f}k", rate / 1e3);
  if (rate >= 1e3) return fmt::format("{:.1f}k", rate / 1e3);
  return fmt::format("{:.0f}", rate);
}

void print_costs(const Rounds& rounds) {
  const Costs costs = median_of(rounds.costs);
  fmt::print("\nCosts of the steps (ns)\n");
  for (std::size_t step = 0; step < step_count; ++step)
    fmt::print("  {:<21} {:>8.1f}  {:<8} {}\n", name_of(Step(step)), costs.of[step].ns,
               to_string(costs.of[step].source), describe(Step(step)));
  for (const std::string& note : rounds.notes) fmt::print("note: {}\n", note);
}

void print_designs(const Options& options, const Rounds& rounds) {
  fmt::print("\nModel: faults/s of all vCPUs on pages that are present\n"
             "{:<6}{:<36}   {}\n",
             "", "one VMA", "one VMA for each vCPU");
  fmt::print("vCPUs ");
  for (int half = 0; half < 2; ++half)
    fmt::print("{:>9}{:>9}{:>9}{:>9}", "mmap", "spf", "rwsem", "refcount");
  fmt::print("\n");
  for (const unsigned vcpus : powers_of_two(options.extent.most_vcpus)) {
    fmt::print("{:>5} ", vcpus);
    for (const char* layout : {"one-vma", "own-vma"})
      for (const mmu::VmaLockDesign design : mmu::all_vma_lock_designs)
        fmt::print("{:>9}", human(middle(rounds, fmt::format("{}/{}/{}", layout, vcpus,
                                                             mmu::to_string(design)))));
    fmt::print("\n");
  }
}

void print_uffds(const Options& options, const Rounds& rounds) {
  const std::vector<unsigned> counts = powers_of_two(options.extent.most_vcpus);
  fmt::print("\nModel: faults/s by userfaultfds, {} server(s) each; and by exits instead\n"
             "vCPUs ",
             options.extent.readers);
  for (const unsigned uffds : counts) fmt::print("{:>7}", uffds);
  fmt::print("{:>8}\n", "exits");
  for (const unsigned vcpus : counts) {
    fmt::print("{:>5} ", vcpus);
    for (const unsigned uffds : counts)
      fmt::print("{:>7}", uffds > vcpus
                              ? "-"
                              : human(middle(rounds, fmt::format("uffd/{}/{}", vcpus, uffds))));
    fmt::print("{:>8}\n", human(middle(rounds, fmt::format("exits/{}", vcpus))));
  }
}

void print_published(const Rounds& rounds) {
  fmt::print("\nBeside what was published (other machines, kernel's own page faults)\n"
             "{:<14} {:>5} {:>10} {:>10} {:>7} {:>10} {:>7}\n",
             "", "vCPUs", "published", "costs here", "ratio", "fitted", "ratio");
  for (const Published& point : published()) {
    const std::string name = fmt::format("published/{}/{}/", point.series, point.vcpus);
    const double here = middle(rounds, name + "here");
    const double fitted = middle(rounds, name + "fitted");
    const auto show = [&](double ratio) {
      return point.series == "vma-one" ? fmt::format("{:+.1f} %", (ratio * point.value - 1) * 100)
                                       : human(ratio * point.value);
    };
    fmt::print("{:<14} {:>5} {:>10} {:>10} {:>7.2f} {:>10} {:>7.2f}\n", point.series, point.vcpus,
               show(1), show(here), here, show(fitted), fitted);
  }
  fmt::print("fitted: one constant of the model is chosen for one published point, the rest\n"
             "is what the model makes of it: the latency of a wake-up (one-uffd at 1 vCPU),\n"
             "a factor on all steps (exits at 1 vCPU), time that each fault spends in what\n"
             "is left out, one at a time (vma-own).\n"
             "vma-one: per-VMA locks against the mmap lock, all threads in one VMA.\n");
}

void print_checks(const Rounds& rounds) {
  if (rounds.checks.empty()) return;
  fmt::print("\nChecked here: model / measured, median (min to max) of the rounds; nothing is\n"
             "installed. One thread tests the bookkeeping, two the model.\n"
             "{:<14} {:>15} {:>15} {:>15} {:>15}\n",
             "", "one VMA, 1", "one VMA, 2", "own VMA, 1", "own VMA, 2");
  for (const mmu::VmaLockDesign design : mmu::all_vma_lock_designs) {
    fmt::print("{:<14}", mmu::to_string(design));
    for (const char* layout : {"one-vma", "own-vma"})
      for (const unsigned threads : {1u, 2u}) {
        const auto values = values_of(
            rounds, fmt::format("check/{}/{}/{}", layout, threads, mmu::to_string(design)));
        fmt::print(" {:>15}", values.empty() ? "-"
                                             : fmt::format("{:.2f} ({:.2f}-{:.2f})", median(values),
                                                           std::ranges::min(values),
                                                           std::ranges::max(values)));
      }
    fmt::print("\n");
  }
}

} // namespace

void print_tables(const Options& options, const Rounds& rounds) {
  fmt::print("slat bench scale: {} round(s), seed {}, up to {} vCPUs\n", rounds.figures.size(),
             options.assumptions.seed, options.extent.most_vcpus);
  print_costs(rounds);
  print_designs(options, rounds);
  print_uffds(options, rounds);
  print_published(rounds);
  print_checks(rounds);
  fmt::print("\n{}", assumptions_text);
}

} // namespace slat::tool::scale
