slat_model(srcu)
slat_model_check(I16_I23_srcu_two_readers MODEL srcu SCENARIO two_readers ARGS --executions 60000)
slat_model_check(I16_I23_srcu_readers_share_a_slot MODEL srcu SCENARIO shared_slot ARGS --executions 40000)
slat_model_check(I16_I23_srcu_every_two_preemptions MODEL srcu SCENARIO one_reader
  ARGS --search bound --seconds 120)

set(header mmu/srcu_core.hpp)
set(freed "DATA RACE" "USER ASSERT FAILED")
slat_model_mutant(srcu_one_phase MODEL srcu FILE ${header} SCENARIO two_readers REFUTED_BY ${freed}
  FROM1 [[wait_until_empty(current ^ 1);]] TO1 "")
slat_model_mutant(srcu_no_reader_fence MODEL srcu FILE ${header} SCENARIO two_readers REFUTED_BY ${freed}
  FROM1 [[slots_[slot].locks[idx].fetch_add(1, std::memory_order_relaxed);]]
  TO1 [[slots_[slot].locks[idx].fetch_add(1, std::memory_order_relaxed); return idx;]])
slat_model_mutant(srcu_seq_cst_add_instead_of_reader_fence MODEL srcu FILE ${header} SCENARIO two_readers
  REFUTED_BY ${freed}
  FROM1 [[slots_[slot].locks[idx].fetch_add(1, std::memory_order_relaxed);]]
  TO1 [[slots_[slot].locks[idx].fetch_add(1, std::memory_order_seq_cst); return idx;]])
slat_model_mutant(srcu_locks_summed_first MODEL srcu FILE ${header} SCENARIO two_readers_once REFUTED_BY ${freed}
  FROM1 [[std::uint32_t unlocks = 0;]]
  TO1 [[std::uint32_t first = 0;
    for (const Slot& slot : slots_) first += slot.locks[idx].load(std::memory_order_relaxed);
    A::fence_heavy();
    std::uint32_t unlocks = 0;]]
  FROM2 [[return locks == unlocks;]] TO2 [[return (void)locks, first == unlocks;]])
slat_model_mutant(srcu_relaxed_unlock MODEL srcu FILE ${header} SCENARIO two_readers REFUTED_BY ${freed}
  FROM1 [[std::memory_order_release); // C;]] TO1 [[std::memory_order_relaxed); // C;]])
slat_model_mutant(srcu_no_wake_fence MODEL srcu FILE ${header} SCENARIO two_readers REFUTED_BY DEADLOCK
  FROM1 [[A::fence_light();                  // C']] TO1 [[// C']])
