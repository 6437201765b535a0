// Faults of many vCPUs that are served by userfaultfds, and the same with exits instead.
//
// A vCPU faults in the kernel, queues an event under the userfaultfd's lock, wakes every server that
// sleeps in poll() (all of them: poll's waiters are not exclusive), and sleeps. A server polls, reads
// one event under the lock, maps the page, and takes the lock once more to wake the vCPU: it walks the
// list of all that wait to find it. A server that finds nothing sleeps again. The fault takes the
// process' mmap lock for reading twice (before it sleeps, and when it tries again), the server once:
// two adds each to one line. vCPU i belongs to userfaultfd i modulo their number.
//
// With exits the vCPU leaves KVM_RUN, maps the page itself and goes in again: two adds to the line of
// the mmap lock, two to that of KVM's MMU lock, and nobody is woken.
#pragma once

#include "slat/scale/fault_model.hpp"

namespace slat::tool::scale {

struct UffdCase {
  unsigned vcpus = 1;
  unsigned uffds = 1;
  unsigned readers = 1; // servers of each, on processors that have nothing else to do
};

/// Faults per second of all vCPUs together. Deterministic.
[[nodiscard]] double uffd_faults_per_second(const Costs& costs, const Assumptions& assumptions,
                                            const UffdCase& what);
[[nodiscard]] double exit_faults_per_second(const Costs& costs, const Assumptions& assumptions,
                                            unsigned vcpus);

} // namespace slat::tool::scale
