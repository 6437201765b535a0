// All that the model is asked for one set of costs: the tables, the published curves, and the check.
#pragma once

#include "slat/scale/measure.hpp"
#include "slat/scale/uffd_model.hpp"

#include <map>
#include <optional>

namespace slat::tool::scale {

struct Extent {
  unsigned most_vcpus = 256; // a power of two, as are all numbers of vCPUs
  unsigned readers = 1;      // servers of a userfaultfd
};

/// What others have measured, on machines of theirs.
struct Published {
  std::string_view series; // "one-uffd", "exits", "vma-mmap-lock", "vma-own", "vma-one"
  unsigned vcpus;
  double value; // faults per second; for "vma-one" per-VMA locks against the mmap lock
};

/// One userfaultfd with a server for each vCPU, and exits instead: KVM mailing list (A. Moorthy, "Improve
/// scalability with userfaultfd-based postcopy"), a machine with 256 processors. Per-VMA locks, page-fault
/// test on anonymous memory: second posting of the series (S. Baghdasaryan).
[[nodiscard]] std::span<const Published> published();

/// By name, faults per second unless the name starts with "published/" or "check/":
///   one-vma/VCPUS/DESIGN, own-vma/VCPUS/DESIGN
///   uffd/VCPUS/UFFDS, exits/VCPUS
///   published/SERIES/VCPUS/here     model by the costs here, against published
///   published/SERIES/VCPUS/fitted   the same with one constant of the model chosen so that one
///                                   published point comes out
///   check/one-vma/THREADS/DESIGN    model against measured, in the same round
using Figures = std::map<std::string, double>;

[[nodiscard]] Figures study(const Measured& measured, const Assumptions& assumptions,
                            const Extent& extent);

/// 1, 2, 4, ... up to `most`.
[[nodiscard]] std::vector<unsigned> powers_of_two(unsigned most);

/// The costs with which the model has `target` faults per second for one vCPU: of one userfaultfd by
/// another latency of wake-ups, with exits by all steps longer or shorter by one factor.
[[nodiscard]] Costs fit_uffd(const Costs& costs, const Assumptions& assumptions, double target);
[[nodiscard]] Costs fit_exits(const Costs& costs, const Assumptions& assumptions, double target);

} // namespace slat::tool::scale
