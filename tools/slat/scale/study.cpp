#include "slat/scale/study.hpp"

#include <fmt/format.h>

namespace slat::tool::scale {

namespace {

constexpr Published all_published[] = {
    {"one-uffd", 1, 150e3},    {"one-uffd", 4, 210e3},   {"one-uffd", 32, 108e3},
    {"one-uffd", 256, 36e3},   {"exits", 1, 340e3},      {"exits", 4, 809e3},
    {"exits", 32, 2299e3},     {"exits", 256, 4012e3},   {"vma-mmap-lock", 128, 6.47e6},
    {"vma-own", 128, 16.65e6}, {"vma-one", 4, 1 - .099}, {"vma-one", 128, 1 + .227},
};

double value_of(std::string_view series, unsigned vcpus) {
  for (const Published& point : all_published)
    if (point.series == series && point.vcpus == vcpus) return point.value;
  return 0;
}

/// The kernel's page-fault test, not slat's: a fault of the host, and its locks.
double host_rate(const Costs& costs, const Assumptions& assumptions, const Touches& touches,
                 bool shared, unsigned vcpus) {
  return faults_per_second(costs, assumptions,
                           {touches, costs[host_fault], costs[host_fault] / 4, shared, vcpus});
}

double model_of(std::string_view series, unsigned vcpus, const Costs& costs,
                const Assumptions& assumptions) {
  if (series == "one-uffd") return uffd_faults_per_second(costs, assumptions, {vcpus, 1, vcpus});
  if (series == "exits") return exit_faults_per_second(costs, assumptions, vcpus);
  const double by_mmap_lock = host_rate(costs, assumptions, kernel_mmap_lock, true, vcpus);
  if (series == "vma-mmap-lock") return by_mmap_lock;
  if (series == "vma-own") return host_rate(costs, assumptions, kernel_vma_lock, false, vcpus);
  return host_rate(costs, assumptions, kernel_vma_lock, true, vcpus) / by_mmap_lock;
}

void compare_published(Figures& figures, const Costs& costs, const Assumptions& assumptions) {
  const Costs for_uffd = fit_uffd(costs, assumptions, value_of("one-uffd", 1));
  const Costs for_exits = fit_exits(costs, assumptions, value_of("exits", 1));
  Assumptions serial = assumptions;
  serial.serial_ns = 1e9 / value_of("vma-own", 128);
  for (const Published& point : all_published) {
    const std::string name = fmt::format("published/{}/{}/", point.series, point.vcpus);
    figures[name + "here"] = model_of(point.series, point.vcpus, costs, assumptions) / point.value;
    const bool vma = point.series.starts_with("vma");
    const Costs& fitted = vma ? costs : point.series == "exits" ? for_exits : for_uffd;
    figures[name + "fitted"] =
        model_of(point.series, point.vcpus, fitted, vma ? serial : assumptions) / point.value;
  }
}

} // namespace

std::span<const Published> published() {
  return all_published;
}

std::vector<unsigned> powers_of_two(unsigned most) {
  std::vector<unsigned> values;
  for (unsigned n = 1; n <= most; n *= 2) values.push_back(n);
  return values;
}

Costs fit_uffd(const Costs& costs, const Assumptions& assumptions, double target) {
  Costs fitted = costs;
  // A round of one vCPU has two wake-ups, and all else is fixed; rates fall as the round grows.
  double low = 0;
  double high = 1e9;
  for (int i = 0; i < 40; ++i) {
    const double middle = (low + high) / 2;
    fitted.set(uffd_round, middle, Source::assumed);
    (uffd_faults_per_second(fitted, assumptions, {1, 1, 1}) > target ? low : high) = middle;
  }
  return fitted;
}

Costs fit_exits(const Costs& costs, const Assumptions& assumptions, double target) {
  const double factor = exit_faults_per_second(costs, assumptions, 1) / target;
  Costs fitted = costs;
  // One alone moves no line, so only what it computes counts; to be scaled as it stands.
  for (const Step step : {rmw, uffd_continue, host_fault, vm_exit})
    fitted.set(step, costs[step] * factor, Source::assumed);
  return fitted;
}

Figures study(const Measured& measured, const Assumptions& assumptions, const Extent& extent) {
  const Costs& costs = measured.costs;
  Figures figures;
  for (const unsigned vcpus : powers_of_two(extent.most_vcpus)) {
    for (const mmu::VmaLockDesign design : mmu::all_vma_lock_designs)
      for (const bool one_vma : {true, false})
        figures[fmt::format("{}/{}/{}", one_vma ? "one-vma" : "own-vma", vcpus,
                            mmu::to_string(design))] =
            faults_per_second(costs, assumptions, fault_case(costs, design, one_vma, vcpus));
    for (const unsigned uffds : powers_of_two(vcpus))
      figures[fmt::format("uffd/{}/{}", vcpus, uffds)] =
          uffd_faults_per_second(costs, assumptions, {vcpus, uffds, extent.readers});
    figures[fmt::format("exits/{}", vcpus)] = exit_faults_per_second(costs, assumptions, vcpus);
  }
  compare_published(figures, costs, assumptions);
  for (const Check& check : measured.checks)
    figures[fmt::format("check/{}/{}/{}", check.one_vma ? "one-vma" : "own-vma", check.threads,
                        mmu::to_string(check.design))] =
        faults_per_second(costs, assumptions,
                          fault_case(costs, check.design, check.one_vma, check.threads, false)) /
        check.faults_per_second;
  return figures;
}

} // namespace slat::tool::scale
