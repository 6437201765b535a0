// The steps that the model is fed with, measured on this machine, and what it can be checked by: faults
// of one thread and of two.
#pragma once

#include "slat/scale/costs.hpp"

#include <functional>
#include <string>
#include <vector>

namespace slat::tool::scale {

/// Faults on present pages in an address space of slat's, installed into nothing.
struct Check {
  mmu::VmaLockDesign design;
  bool one_vma; // or one for each thread
  unsigned threads;
  double faults_per_second; // of all threads, by the processor time that they had
};

struct Measured {
  Costs costs;
  std::vector<Check> checks;      // of two threads only where there are two processors
  std::vector<std::string> notes; // what could not be measured, and why
};

/// Some two seconds, on at most two processors, to which the calling thread's children are bound.
/// `show` is told what is being measured. A step is what the faster quarter of its samples took, so
/// that other work on the machine shows little. Errors: as AddressSpace::create() and map().
[[nodiscard]] mmu::Result<Measured> measure(const std::function<void(std::string_view)>& show);

// Its parts.

/// A line between two threads on these two processors.
[[nodiscard]] double measure_transfer(int one, int other);
/// What an add costs when both of these processors add to one line, of both together.
[[nodiscard]] double measure_contended_add(int one, int other);
/// How long a processor keeps a line, by that: it adds once each `rmw_ns`, then the line moves.
[[nodiscard]] double keep_time(double rmw_ns, double transfer_ns, double contended_ns);
/// The steps of userfaultfd, into `costs`. The reason, if there is none here.
[[nodiscard]] std::string measure_uffd(Costs& costs);

/// The processors that this process may use, at most two.
[[nodiscard]] std::vector<int> two_processors();
/// Binds the calling thread; nothing happens if that is not permitted.
void bind_to(int processor);

/// Nanoseconds for each of `operations`, which `batch()` does: what the fastest quarter of so many
/// batches took at most.
[[nodiscard]] double sample(unsigned batches, unsigned operations,
                            const std::function<void()>& batch);
/// Runs `burst(thread)` on a thread for each of these processors, at most two, over and over, all at the
/// same time; what it took in the middle one of the times in which they did run together, in
/// nanoseconds. 0 if there were hardly any: where a thread has to wait for its processor, it runs alone.
[[nodiscard]] double together(const std::vector<int>& on,
                              const std::function<void(unsigned)>& burst);
/// The value that a quarter of them does not exceed. At least one.
[[nodiscard]] double lower_quarter(std::vector<double> values);

} // namespace slat::tool::scale
