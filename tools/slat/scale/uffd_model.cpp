#include "slat/scale/uffd_model.hpp"

#include <deque>
#include <memory>
#include <vector>

namespace slat::tool::scale {

namespace {

struct Uffd {
  Uffd(Simulation& simulation, const Coherence& coherence)
      : lock(simulation, coherence), poll_lock(simulation, coherence), idle(simulation) {}

  SpinLock lock;                              // of the lists of those that wait
  SpinLock poll_lock;                         // of the list of those that poll
  Sleepers idle;                              // servers in poll()
  std::deque<std::coroutine_handle<>> events; // of the threads that faulted, unread
  unsigned waiting = 0;                       // read or not
};

struct Machine {
  Machine(const Costs& given, const Assumptions& assumed, unsigned vcpus, unsigned uffd_count)
      : costs(given), coherence(assumed.coherence(given)), simulation(assumed.seed, assumed.jitter),
        mmap_lock(simulation, coherence, vcpus), kvm_lock(simulation, coherence, vcpus) {
    for (unsigned i = 0; i < uffd_count; ++i)
      uffds.push_back(std::make_unique<Uffd>(simulation, coherence));
  }

  [[nodiscard]] auto compute(double ns) { return simulation.wait(simulation.vary(ns)); }

  Costs costs;
  Coherence coherence;
  Simulation simulation;
  Line mmap_lock, kvm_lock;
  std::vector<std::unique_ptr<Uffd>> uffds;
};

/// Queues the thread's event, lets go of the lock, and sleeps until a server wakes it.
struct QueueAndSleep {
  Uffd* uffd;

  [[nodiscard]] bool await_ready() const { return false; }

  void await_suspend(std::coroutine_handle<> thread) {
    uffd->events.push_back(thread);
    ++uffd->waiting;
  }

  void await_resume() const {}
};

/// Wakes those that poll, in the faulting thread's stead: it is asleep in the model by then.
Task wake_pollers(Machine& m, Uffd& uffd, unsigned cpu) {
  co_await uffd.poll_lock.acquire(cpu);
  for (std::size_t n = uffd.idle.count(); n != 0 && uffd.idle.count() != 0; --n) {
    co_await m.simulation.wait(m.costs[uffd_rouse]);
    if (uffd.idle.count() != 0) uffd.idle.wake_one_after(m.costs.switch_ns());
  }
  uffd.poll_lock.release();
}

Task vcpu(Machine& m, Uffd& uffd, unsigned cpu) {
  for (;;) {
    co_await m.compute(m.costs[host_fault] / 2);
    co_await m.mmap_lock.access(cpu, Line::Access::add);
    co_await m.mmap_lock.access(cpu, Line::Access::add);
    co_await uffd.lock.acquire(cpu);
    uffd.lock.release();
    if (uffd.idle.count() != 0) m.simulation.spawn(wake_pollers(m, uffd, cpu));
    co_await QueueAndSleep{&uffd};
    co_await m.simulation.wait(m.costs.switch_ns());
    co_await m.mmap_lock.access(cpu, Line::Access::add);
    co_await m.mmap_lock.access(cpu, Line::Access::add);
    co_await m.compute(m.costs[host_fault] / 2);
    m.simulation.complete();
  }
}

Task reader(Machine& m, Uffd& uffd, unsigned cpu) {
  for (;;) {
    if (uffd.events.empty()) co_await uffd.idle.sleep();
    co_await m.compute(m.costs[uffd_poll]);
    co_await uffd.lock.acquire(cpu);
    if (uffd.events.empty()) { // somebody was faster
      uffd.lock.release();
      continue;
    }
    const std::coroutine_handle<> who = uffd.events.front();
    uffd.events.pop_front();
    uffd.lock.release();
    co_await m.compute(m.costs[uffd_read]);
    co_await m.mmap_lock.access(cpu, Line::Access::add);
    co_await m.compute(m.costs[uffd_continue]);
    co_await m.mmap_lock.access(cpu, Line::Access::add);
    co_await uffd.lock.acquire(cpu);
    co_await m.simulation.wait(m.costs[uffd_wake] + m.costs[uffd_rouse] +
                               m.costs[uffd_walk] * double(uffd.waiting - 1));
    --uffd.waiting;
    m.simulation.resume_after(0, who);
    uffd.lock.release();
  }
}

Task exiting_vcpu(Machine& m, unsigned cpu) {
  for (;;) {
    co_await m.compute(m.costs[vm_exit]);
    co_await m.mmap_lock.access(cpu, Line::Access::add);
    co_await m.compute(m.costs[uffd_continue]);
    co_await m.mmap_lock.access(cpu, Line::Access::add);
    co_await m.kvm_lock.access(cpu, Line::Access::add);
    co_await m.compute(m.costs[host_fault]);
    co_await m.kvm_lock.access(cpu, Line::Access::add);
    m.simulation.complete();
  }
}

} // namespace

double uffd_faults_per_second(const Costs& costs, const Assumptions& assumptions,
                              const UffdCase& what) {
  Machine machine(costs, assumptions, what.vcpus, what.uffds);
  for (unsigned i = 0; i < what.uffds; ++i)
    for (unsigned r = 0; r < what.readers; ++r)
      machine.simulation.spawn(
          reader(machine, *machine.uffds[i], (i + r * what.uffds) % what.vcpus));
  for (unsigned cpu = 0; cpu < what.vcpus; ++cpu)
    machine.simulation.spawn(vcpu(machine, *machine.uffds[cpu % what.uffds], cpu));
  return machine.simulation.rate(10 * what.vcpus, 2000 + 20 * what.vcpus);
}

double exit_faults_per_second(const Costs& costs, const Assumptions& assumptions, unsigned vcpus) {
  Machine machine(costs, assumptions, vcpus, 0);
  for (unsigned cpu = 0; cpu < vcpus; ++cpu) machine.simulation.spawn(exiting_vcpu(machine, cpu));
  return machine.simulation.rate(20 * vcpus, 4000 + 40 * vcpus);
}

} // namespace slat::tool::scale
