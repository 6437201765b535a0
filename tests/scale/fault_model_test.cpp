// The designs in the model: what must come out whatever the costs are.
#include "slat/scale/fault_model.hpp"

#include <gtest/gtest.h>

namespace slat::tool::scale {
namespace {

using mmu::VmaLockDesign;

Assumptions plain() {
  return {
      .far_factor = 1, .node_cpus = 256, .per_waiter = 0, .migratory = false, .thread_slots = 256};
}

Costs costs_of(double fault_ns) {
  Costs costs;
  for (const Step step : {fault_mmap, fault_spf, fault_rwsem, fault_refcount})
    costs.set(step, fault_ns);
  costs.set(rmw, 5);
  costs.set(transfer, 50);
  costs.set(keep, 0);
  costs.set(srcu, 2);
  costs.set(lookup, 10);
  costs.set(install, 60);
  return costs;
}

double rate(const Costs& costs, const Assumptions& assumptions, VmaLockDesign design, bool one_vma,
            unsigned vcpus) {
  return faults_per_second(costs, assumptions, fault_case(costs, design, one_vma, vcpus));
}

TEST(FaultModel, OneVcpuTakesWhatAFaultTakes) {
  const Costs costs = costs_of(140);
  for (const VmaLockDesign design : mmu::all_vma_lock_designs)
    for (const bool one_vma : {false, true})
      EXPECT_NEAR(rate(costs, plain(), design, one_vma, 1), 1e9 / 200, 1e5)
          << mmu::to_string(design);
}

TEST(FaultModel, VmasOfTheirOwnMakeVcpusIndependentButForTheMmapLock) {
  const Costs costs = costs_of(140);
  for (const VmaLockDesign design : mmu::all_vma_lock_designs) {
    const double many = rate(costs, plain(), design, false, 64);
    if (design == VmaLockDesign::mmap_lock)
      EXPECT_EQ(many, rate(costs, plain(), design, true, 64));
    else
      EXPECT_NEAR(many, 64e9 / 200, 64e7) << mmu::to_string(design);
  }
}

TEST(FaultModel, OneVmaSaturatesAtTheAccessesToItsLine) {
  const Costs costs = costs_of(140);

  struct {
    VmaLockDesign design;
    double transfers, adds;
  } const cases[] = {{VmaLockDesign::mmap_lock, 4, 2},
                     {VmaLockDesign::spf, 3, 2},
                     {VmaLockDesign::vma_rwsem, 3, 2},
                     {VmaLockDesign::vma_refcount, 4, 2}};

  for (const auto& each : cases)
    for (const unsigned vcpus : {32u, 256u}) {
      const double most = 1e9 / (each.transfers * 50 + each.adds * 5);
      const double reached = rate(costs, plain(), each.design, true, vcpus);
      EXPECT_LE(reached, most * 1.01) << mmu::to_string(each.design);
      EXPECT_GE(reached, most * .9) << mmu::to_string(each.design);
      // Where a read brings the line whole, two transfers are left: one to lock, one to unlock.
      Assumptions migratory = plain();
      migratory.migratory = true;
      Costs kept = costs;
      kept.set(keep, 1);
      const double with_it = rate(kept, migratory, each.design, true, vcpus);
      EXPECT_LE(with_it, 1e9 / 110 * 1.01) << mmu::to_string(each.design);
      EXPECT_GE(with_it, 1e9 / 115 * .95) << mmu::to_string(each.design);
    }
}

TEST(FaultModel, DearerTransfersNeverHelp) {
  for (const unsigned vcpus : {2u, 8u, 128u})
    for (const VmaLockDesign design : mmu::all_vma_lock_designs) {
      double before = 1e12;
      for (const double ns : {0., 20., 50., 100., 400.}) {
        Costs costs = costs_of(140);
        costs.set(transfer, ns);
        const double now = rate(costs, plain(), design, true, vcpus);
        EXPECT_LE(now, before * 1.02) << mmu::to_string(design) << ' ' << vcpus << ' ' << ns;
        before = now;
      }
    }
}

TEST(FaultModel, VcpusBeyondTheThreadSlotsGetInEachOthersWay) {
  const Costs costs = costs_of(140);
  Assumptions slots = plain();
  slots.thread_slots = 63;
  const double of_64 = rate(costs, slots, VmaLockDesign::vma_refcount, false, 64);
  const double of_256 = rate(costs, slots, VmaLockDesign::vma_refcount, false, 256);
  EXPECT_NEAR(of_64, rate(costs, plain(), VmaLockDesign::vma_refcount, false, 64), of_64 * .02);
  // Four adds to a fault, two to each of two lines.
  EXPECT_LE(of_256, 63e9 / 200 + 1e9 / 110 * 1.1);
}

TEST(FaultModel, WhatIsDoneOneAtATimeIsALimit) {
  Assumptions serial = plain();
  serial.serial_ns = 100;
  EXPECT_NEAR(rate(costs_of(140), serial, VmaLockDesign::vma_rwsem, false, 64), 1e7, 1e5);
}

TEST(FaultModel, IsTheSameForTheSameSeed) {
  const Costs costs = costs_of(140);
  const auto with_seed = [&](std::uint64_t seed) {
    Assumptions assumptions;
    assumptions.seed = seed;
    return rate(costs, assumptions, VmaLockDesign::spf, true, 16);
  };
  EXPECT_EQ(with_seed(7), with_seed(7));
  EXPECT_NE(with_seed(7), with_seed(8));
}

} // namespace
} // namespace slat::tool::scale
