// Grace periods and deferred calls of RCU.
#include "mmu/rcu.hpp"

#include "age_torture.hpp"

using namespace slat;

namespace {

struct Rcu {
  struct ReadGuard {
    explicit ReadGuard(Rcu&) {}

    mmu::rcu::ReadGuard section;
  };

  static void synchronize() { mmu::rcu::synchronize(); }

  static void call(mmu::DeferredCall& head, void (*function)(mmu::DeferredCall*)) {
    mmu::rcu::call(head, function);
  }

  static void barrier() { mmu::rcu::barrier(); }
};

} // namespace

int main(int argc, char** argv) {
  torture::Torture torture("rcu", argc, argv, 2);
  Rcu rcu;
  torture::AgeTorture<Rcu> ages(rcu, /*readers_sleep=*/false);
  for (unsigned i = 0; i < torture.threads(); ++i)
    torture.add_worker(fmt::format("reader {}", i), [&](torture::Worker& w) { ages.read(w); });
  for (unsigned i = 0; i < 2; ++i)
    torture.add_worker(fmt::format("writer {}", i), [&](torture::Worker& w) { ages.write(w); });
  const auto summary = [&] { return ages.summary(); };
  const int outcome = torture.run(summary, summary);
  for (int age = 0; age < 10; ++age) mmu::rcu::barrier(); // calls that call again
  return outcome;
}
