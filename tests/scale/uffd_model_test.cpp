// Servers of userfaultfds in the model, where the answer is a formula.
#include "slat/scale/study.hpp"

#include <gtest/gtest.h>

namespace slat::tool::scale {
namespace {

Assumptions exact() {
  return {.far_factor = 1, .node_cpus = 256, .per_waiter = 0, .jitter = 0};
}

/// Nothing but servers' work costs anything, unless it is set: 1000 ns a fault.
Costs server_of_1000_ns() {
  Costs costs;
  for (std::size_t step = 0; step < step_count; ++step) costs.set(Step(step), 0);
  costs.set(uffd_poll, 100);
  costs.set(uffd_read, 200);
  costs.set(uffd_continue, 300);
  costs.set(uffd_wake, 150);
  costs.set(uffd_rouse, 250);
  costs.set(uffd_round, 1000);
  return costs;
}

TEST(UffdModel, ARoundOfOneVcpuTakesWhatWasMeasured) {
  Costs costs = server_of_1000_ns();
  costs.set(host_fault, 500);
  costs.set(uffd_round, 7500); // two wake-ups of 3000 ns; waking who polls is no step of a round
  EXPECT_NEAR(costs.switch_ns(), 3000, .1);
  EXPECT_NEAR(uffd_faults_per_second(costs, exact(), {1, 1, 1}), 1e9 / (7500 + 250), 1e3);
}

TEST(UffdModel, OneServerIsALimitAndMoreUserfaultfdsMoveIt) {
  const Costs costs = server_of_1000_ns();
  EXPECT_NEAR(uffd_faults_per_second(costs, exact(), {32, 1, 1}), 1e6, 1e4);
  EXPECT_NEAR(uffd_faults_per_second(costs, exact(), {32, 4, 1}), 4e6, 4e4);
  EXPECT_NEAR(uffd_faults_per_second(costs, exact(), {32, 16, 1}), 16e6, 16e4);
}

TEST(UffdModel, TheLockOfOneUserfaultfdLimitsItsServers) {
  // 400 ns of a fault are under it.
  EXPECT_NEAR(uffd_faults_per_second(server_of_1000_ns(), exact(), {64, 1, 16}), 1e9 / 400, 5e4);
}

TEST(UffdModel, EachThreadThatWaitsIsWalkedPast) {
  Costs costs = server_of_1000_ns();
  costs.set(uffd_walk, 10);
  for (const unsigned vcpus : {16u, 256u}) {
    const double expected = 1e9 / (1000 + 10. * (vcpus - 1));
    EXPECT_NEAR(uffd_faults_per_second(costs, exact(), {vcpus, 1, 1}), expected, expected * .03);
  }
}

TEST(UffdModel, ExitsOfVcpusThatShareNothingScale) {
  Costs costs = server_of_1000_ns();
  costs.set(vm_exit, 700);
  EXPECT_NEAR(exit_faults_per_second(costs, exact(), 1), 1e6, 1e3);
  EXPECT_NEAR(exit_faults_per_second(costs, exact(), 64), 64e6, 64e4);
  costs.set(transfer, 50); // two adds to each of two lines
  EXPECT_LE(exit_faults_per_second(costs, exact(), 256), 1e9 / 100 * 1.01);
}

TEST(UffdModel, OneConstantFitsOnePublishedPoint) {
  const Costs costs;
  EXPECT_NEAR(uffd_faults_per_second(fit_uffd(costs, exact(), 100e3), exact(), {1, 1, 1}), 100e3,
              500);
  EXPECT_NEAR(exit_faults_per_second(fit_exits(costs, exact(), 340e3), exact(), 1), 340e3, 1000);
}

TEST(Study, HasAFigureForEachCellAndARatioForEachPublishedPoint) {
  Measured measured;
  measured.checks.push_back({mmu::VmaLockDesign::spf, true, 2, 1e7});
  const Figures figures = study(measured, {}, {.most_vcpus = 4});
  for (const char* name :
       {"one-vma/1/mmap-lock", "own-vma/4/vma-refcount", "uffd/4/1", "uffd/4/4", "exits/2",
        "published/one-uffd/256/here", "published/vma-one/4/fitted", "check/one-vma/2/spf"}) {
    ASSERT_TRUE(figures.contains(name)) << name;
    EXPECT_GT(figures.at(name), 0) << name;
  }
  EXPECT_FALSE(figures.contains("uffd/2/4"));
  EXPECT_NEAR(figures.at("published/one-uffd/1/fitted"), 1, .01);
  EXPECT_NEAR(figures.at("published/exits/1/fitted"), 1, .01);
}

} // namespace
} // namespace slat::tool::scale
