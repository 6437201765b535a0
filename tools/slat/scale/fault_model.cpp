#include "slat/scale/fault_model.hpp"

#include <algorithm>
#include <deque>

namespace slat::tool::scale {

namespace {

Line::Access access_of(char letter) {
  switch (letter) {
  case 'r':
    return Line::Access::read;
  case 'a':
    return Line::Access::add;
  default:
    return Line::Access::cas;
  }
}

double writes(std::string_view touches) {
  return double(touches.size()) - double(std::count(touches.begin(), touches.end(), 'r'));
}

struct Machine {
  Machine(const Costs& costs, const Assumptions& assumed, const FaultCase& given)
      : what(given), coherence(assumed.coherence(costs)), serial_ns(assumed.serial_ns),
        slots(assumed.thread_slots), simulation(assumed.seed, assumed.jitter),
        lock(simulation, coherence, what.vcpus), slot_srcu(simulation, coherence, what.vcpus),
        slot_counters(simulation, coherence, what.vcpus), serial(simulation, free) {
    // What the lock costs comes on top again, by the line.
    const double own =
        std::max(0., what.fault_ns - coherence.rmw_ns *
                                         (writes(what.touches.lock) + writes(what.touches.unlock)));
    before_ns = std::min(what.before_ns, own);
    held_ns = (own - before_ns) / 10;
    after_ns = own - before_ns - held_ns;
  }

  FaultCase what;
  Coherence coherence;
  Coherence free{0, 0, 1, 1, 0, 0, false};
  double serial_ns;
  unsigned slots;
  Simulation simulation;
  Line lock, slot_srcu, slot_counters;
  SpinLock serial;
  double before_ns, held_ns, after_ns;
};

Task vcpu(Machine& m, unsigned cpu) {
  const bool shared_slot = cpu >= m.slots;
  const double own_lock_ns =
      m.coherence.rmw_ns * (writes(m.what.touches.lock) + writes(m.what.touches.unlock));
  for (;;) {
    if (shared_slot) co_await m.slot_srcu.access(cpu, Line::Access::add);
    if (m.what.shared) {
      co_await m.simulation.wait(m.simulation.vary(m.before_ns));
      for (const char touch : m.what.touches.lock) co_await m.lock.access(cpu, access_of(touch));
      co_await m.simulation.wait(m.simulation.vary(m.held_ns));
      for (const char touch : m.what.touches.unlock) co_await m.lock.access(cpu, access_of(touch));
      co_await m.simulation.wait(m.simulation.vary(m.after_ns));
    } else {
      co_await m.simulation.wait(
          m.simulation.vary(m.before_ns + m.held_ns + m.after_ns + own_lock_ns));
    }
    if (m.serial_ns > 0) {
      co_await m.serial.acquire(cpu);
      co_await m.simulation.wait(m.serial_ns);
      m.serial.release();
    }
    if (shared_slot) {
      co_await m.slot_counters.access(cpu, Line::Access::add);
      co_await m.slot_counters.access(cpu, Line::Access::add);
      co_await m.slot_srcu.access(cpu, Line::Access::add);
    }
    m.simulation.complete();
  }
}

} // namespace

Touches touches_of(mmu::VmaLockDesign design) {
  switch (design) {
  case mmu::VmaLockDesign::mmap_lock: // pthread_rwlock: looks for writers, adds; compare-and-swap
    return {"ra", "rc"};
  case mmu::VmaLockDesign::spf: // a reference unless it is the last; put
  case mmu::VmaLockDesign::vma_rwsem:
    return {"rc", "a"};
  case mmu::VmaLockDesign::vma_refcount: // vm_mm is read before the put, from the same line
    return {"rc", "ra"};
  }
  return {};
}

FaultCase fault_case(const Costs& costs, mmu::VmaLockDesign design, bool one_vma, unsigned vcpus,
                     bool installed) {
  return {touches_of(design), costs.fault(design) + (installed ? costs[install] : 0),
          costs[srcu] + costs[lookup], one_vma || design == mmu::VmaLockDesign::mmap_lock, vcpus};
}

double faults_per_second(const Costs& costs, const Assumptions& assumptions,
                         const FaultCase& what) {
  Machine machine(costs, assumptions, what);
  for (unsigned cpu = 0; cpu < what.vcpus; ++cpu) machine.simulation.spawn(vcpu(machine, cpu));
  return machine.simulation.rate(20 * what.vcpus, 4000 + 60 * what.vcpus);
}

} // namespace slat::tool::scale
