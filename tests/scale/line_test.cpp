// The simulation's parts where the answer is a formula.
#include "slat/scale/measure.hpp"
#include "slat/scale/parts.hpp"

#include <gtest/gtest.h>
#include <memory>

namespace slat::tool::scale {
namespace {

constexpr Coherence plain{.rmw_ns = 5,
                          .transfer_ns = 50,
                          .far_factor = 1,
                          .node_cpus = 256,
                          .keep_ns = 0,
                          .per_waiter = 0,
                          .migratory = false};

Task compute(Simulation& simulation, double ns) {
  for (;;) {
    co_await simulation.wait(simulation.vary(ns));
    simulation.complete();
  }
}

Task use_server(Simulation& simulation, SpinLock& server, unsigned cpu, double ns) {
  for (;;) {
    co_await server.acquire(cpu);
    co_await simulation.wait(ns);
    server.release();
    simulation.complete();
  }
}

Task touch(Simulation& simulation, Line& line, unsigned cpu, std::string accesses, double ns) {
  for (;;) {
    for (const char access : accesses)
      co_await line.access(cpu, access == 'r'   ? Line::Access::read
                                : access == 'a' ? Line::Access::add
                                                : Line::Access::cas);
    co_await simulation.wait(ns);
    simulation.complete();
  }
}

/// Of threads on these processors, all with the same accesses to one line.
double rate_of(const Coherence& coherence, const std::vector<unsigned>& cpus,
               const std::string& accesses, double ns = 0) {
  Simulation simulation(1);
  Line line(simulation, coherence, 256);
  for (const unsigned cpu : cpus) simulation.spawn(touch(simulation, line, cpu, accesses, ns));
  return simulation.rate(1000, 10'000);
}

TEST(Simulation, OneServerGivesOneOverItsServiceTime) {
  constexpr Coherence free{0, 0, 1, 256, 0, 0, false};
  for (const unsigned clients : {1u, 2u, 17u}) {
    Simulation simulation(1);
    SpinLock server(simulation, free);
    for (unsigned cpu = 0; cpu < clients; ++cpu)
      simulation.spawn(use_server(simulation, server, cpu, 100));
    EXPECT_NEAR(simulation.rate(100, 1000), 1e7, 1e4) << clients;
  }
}

TEST(Simulation, IndependentThreadsGiveAsManyTimesOne) {
  for (const unsigned threads : {1u, 8u, 256u}) {
    Simulation simulation(1);
    for (unsigned i = 0; i < threads; ++i) simulation.spawn(compute(simulation, 100));
    EXPECT_NEAR(simulation.rate(threads * 10, threads * 100), threads * 1e7, threads * 1e5);
  }
}

TEST(Simulation, IsFixedByItsSeed) {
  const auto rate = [](std::uint64_t seed) {
    Simulation simulation(seed, .1);
    for (unsigned i = 0; i < 8; ++i) simulation.spawn(compute(simulation, 100));
    return simulation.rate(10, 1000);
  };
  EXPECT_EQ(rate(1), rate(1));
  EXPECT_NE(rate(1), rate(2));
  EXPECT_NEAR(rate(1), 8e7, 8e5);
}

TEST(Simulation, SaysZeroWhereNothingMovesAnyMore) {
  Simulation simulation(1);
  Sleepers sleepers(simulation);
  const auto sleep = [](Sleepers& place) -> Task { co_await place.sleep(); };
  simulation.spawn(sleep(sleepers));
  EXPECT_EQ(simulation.rate(0, 1), 0);
  EXPECT_EQ(sleepers.count(), 1u);
}

TEST(Line, OneOwnerPaysForNoTransfer) {
  EXPECT_NEAR(rate_of(plain, {3}, "a"), 1e9 / 5, 1e5);
  EXPECT_NEAR(rate_of(plain, {3}, "rc"), 1e9 / 5, 1e5);
}

TEST(Line, SharedByAnyNumberItGivesOneOverATransfer) {
  EXPECT_NEAR(rate_of(plain, {0, 1}, "a"), 1e9 / 55, 1e5);
  EXPECT_NEAR(rate_of(plain, {0, 1, 2, 3, 4, 5, 6, 7}, "a"), 1e9 / 55, 1e5);
  // Less than it can give: the threads are what there is.
  EXPECT_NEAR(rate_of(plain, {0, 1}, "a", 945), 2e6, 2e4);
}

TEST(Line, CopiesOfALineThatNobodyWritesCostNothing) {
  EXPECT_NEAR(rate_of(plain, {0, 1, 2, 3}, "r", 100), 4e7, 4e5);
}

TEST(Line, AReadBeforeACompareAndSwapMovesTheLineTwice) {
  const double rate = rate_of(plain, {0, 1, 2, 3}, "rc");
  EXPECT_GE(rate, 1e9 / 110.1); // each swap is tried twice
  EXPECT_LE(rate, 1e9 / 90);    // now and then the next read finds the copy that the swap has left
}

TEST(Line, AReadOfWhatAnotherHasWrittenMayBringItWhole) {
  Coherence migratory = plain;
  migratory.migratory = true;
  migratory.keep_ns = 1; // or it would be gone before the write
  EXPECT_NEAR(rate_of(migratory, {0, 1, 2, 3}, "ra", 60), 1e9 / 55, 2e5);
  EXPECT_LE(rate_of(plain, {0, 1, 2, 3}, "ra", 60), 1e9 / 90);
  // Copies of what nobody writes stay copies.
  EXPECT_NEAR(rate_of(migratory, {0, 1, 2, 3}, "r", 100), 4e7, 4e5);
}

TEST(Line, AnotherNodeIsFarther) {
  Coherence far = plain;
  far.far_factor = 3;
  far.node_cpus = 64;
  EXPECT_NEAR(rate_of(far, {0, 63}, "a"), 1e9 / 55, 1e5);
  EXPECT_NEAR(rate_of(far, {0, 64}, "a"), 1e9 / 155, 1e5);
}

TEST(Line, EachWaiterMakesATransferLonger) {
  Coherence crowded = plain;
  crowded.per_waiter = .01;
  // Of 10, one is served and one has just been: 8 wait.
  const std::vector<unsigned> cpus = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  EXPECT_NEAR(rate_of(crowded, cpus, "a"), 1e9 / (5 + 50 * 1.08), 1e5);
}

TEST(Line, WhoHasGotItKeepsItForAWhile) {
  Coherence kept = plain;
  kept.keep_ns = 22; // an add at once, and five that start within 22 ns
  EXPECT_NEAR(rate_of(kept, {0, 1}, "a"), 6e9 / (55 + 25), 1e6);
}

TEST(Line, TheTimeThatItIsKeptFollowsFromContendedAdds) {
  const double keep_ns = 40;
  const double contended = (50 + keep_ns) / (keep_ns / 5);
  EXPECT_NEAR(keep_time(5, 50, contended), keep_ns, .01);
  EXPECT_EQ(keep_time(5, 50, 4), 500) << "faster together than alone: a limit";
}

} // namespace
} // namespace slat::tool::scale
