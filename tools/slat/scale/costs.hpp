// What single steps cost, and what the model takes for granted. Measured on this machine
// (measure.hpp), or read from a file; in nanoseconds.
#pragma once

#include "mmu/vma_lock/design.hpp"
#include "slat/scale/parts.hpp"
#include "vmm/error.hpp"

#include <array>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>

namespace slat::tool::scale {

enum class Source { assumed, measured, file };

struct Cost {
  double ns;
  Source source = Source::assumed;
};

/// Indices of Costs::of.
enum Step : std::size_t {
  rmw,        // a locked add to a line that nobody else uses
  transfer,   // a line from one processor to another
  keep,       // for how long the other one keeps it first
  srcu,       // an SRCU section
  lookup,     // the VMA of an address, among 1000
  fault_mmap, // a fault on a present page, one thread, installed into nothing: by design
  fault_spf,
  fault_rwsem,
  fault_refcount,
  install,       // a page into the software stage-2
  host_fault,    // an anonymous page of the host touched for the first time
  uffd_poll,     // poll() on a userfaultfd with an event
  uffd_read,     // read() of one event
  uffd_continue, // UFFDIO_CONTINUE of one page that nobody waits for, without a wake-up
  uffd_wake,     // UFFDIO_WAKE where nobody waits
  uffd_walk,     // what each thread that waits for another page adds to it
  uffd_rouse,    // what the thread that is woken adds to it
  uffd_round,    // touch, event, CONTINUE, touched: one thread and one server
  vm_exit,       // out of KVM_RUN and in again
  step_count,
};

struct Costs {
  std::array<Cost, step_count> of;

  Costs(); // the assumed ones

  [[nodiscard]] double operator[](Step step) const { return of[step].ns; }

  [[nodiscard]] double fault(mmu::VmaLockDesign design) const {
    return of[fault_mmap + std::size_t(design)].ns;
  }

  void set(Step step, double ns, Source source = Source::measured) { of[step] = {ns, source}; }

  /// How long a thread of the kernel takes to run once it has been woken: half of what of a round
  /// is in none of the steps, for there are two such wake-ups in it.
  [[nodiscard]] double switch_ns() const;
};

/// The name in files, such as "transfer_ns", and one line on what it is.
[[nodiscard]] std::string_view name_of(Step step);
[[nodiscard]] std::string_view describe(Step step);
[[nodiscard]] std::string_view to_string(Source source);

/// {"schema": "slat-costs/1", "costs": {"rmw_ns": 5, ...}, "sources": {"rmw_ns": "measured", ...}}
[[nodiscard]] nlohmann::ordered_json to_json(const Costs& costs);
/// What the text lacks stays assumed. Errors: invalid_argument (no JSON, another schema, a name that
/// is not known, a cost that is no number from 0 to a second).
[[nodiscard]] vmm::Result<Costs> parse_costs(std::string_view text);

/// The middle one of each. At least one.
[[nodiscard]] Costs median_of(std::span<const Costs> costs);

} // namespace slat::tool::scale
