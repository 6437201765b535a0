slat_model(srcu)
slat_model_check(I16_I23_srcu_two_readers MODEL srcu SCENARIO two_readers ARGS --executions 60000)
slat_model_check(I16_I23_srcu_readers_share_a_slot MODEL srcu SCENARIO shared_slot ARGS --executions 40000)
slat_model_check(I16_I23_srcu_slots_are_handed_over MODEL srcu SCENARIO hand_over ARGS --executions 60000)
slat_model_check(I16_I23_srcu_section_ended_elsewhere MODEL srcu SCENARIO ended_elsewhere ARGS --executions 60000)
slat_model_check(I16_I23_srcu_section_ended_elsewhere_shared MODEL srcu SCENARIO ended_elsewhere_shared
  ARGS --executions 40000)
slat_model_check(I16_I23_srcu_overlapping_sections MODEL srcu SCENARIO overlapping ARGS --executions 40000)
slat_model_check(I16_I23_srcu_every_two_preemptions MODEL srcu SCENARIO one_reader
  ARGS --search bound --seconds 120)

set(header mmu/srcu_core.hpp)
set(freed "DATA RACE" "USER ASSERT FAILED")
slat_model_mutant(srcu_one_phase MODEL srcu FILE ${header} SCENARIO two_readers REFUTED_BY ${freed}
  FROM1 [[wait_until_empty(current ^ 1);]] TO1 "")
slat_model_mutant(srcu_no_reader_fence MODEL srcu FILE ${header} SCENARIO two_readers REFUTED_BY ${freed}
  FROM1 [[A::fence_light();                       // B;]] TO1 [[//]])
slat_model_mutant(srcu_seq_cst_store_instead_of_reader_fence MODEL srcu FILE ${header} SCENARIO two_readers
  REFUTED_BY ${freed}
  FROM1 [[std::memory_order_relaxed); // ordered by the fence
    A::fence_light();                       // B;]]
  TO1 [[std::memory_order_seq_cst); //]])
slat_model_mutant(srcu_seq_cst_add_instead_of_reader_fence MODEL srcu FILE ${header} SCENARIO shared_slot
  REFUTED_BY ${freed}
  FROM1 [[std::memory_order_relaxed); // ordered by the fence
    A::fence_light();                       // B;]]
  TO1 [[std::memory_order_seq_cst); //]])
slat_model_mutant(srcu_locks_summed_first MODEL srcu FILE ${header} SCENARIO two_readers_once REFUTED_BY ${freed}
  FROM1 [[std::uint32_t unlocks = 0;]]
  TO1 [[std::uint32_t first = 0;
    for (const Slot& slot : slots_) first += slot.locks[idx].load(std::memory_order_relaxed);
    A::fence_heavy();
    std::uint32_t unlocks = 0;]]
  FROM2 [[return locks == unlocks;]] TO2 [[return (void)locks, first == unlocks;]])
slat_model_mutant(srcu_relaxed_unlock MODEL srcu FILE ${header} SCENARIO two_readers REFUTED_BY ${freed}
  FROM1 [[std::memory_order_release); // C;]] TO1 [[std::memory_order_relaxed); // C;]])
slat_model_mutant(srcu_relaxed_unlock_in_the_shared_slot MODEL srcu FILE ${header} SCENARIO shared_slot
  REFUTED_BY ${freed}
  FROM1 [[std::memory_order_release); // C;]] TO1 [[std::memory_order_relaxed); // C;]])
slat_model_mutant(srcu_no_wake_fence MODEL srcu FILE ${header} SCENARIO two_readers REFUTED_BY DEADLOCK
  FROM1 [[A::fence_light();                       // C']] TO1 [[// C']])
# Additions are lost: a section is not waited for, or one is waited for that has ended.
set(lost ${freed} DEADLOCK)
slat_model_mutant(srcu_shared_slot_without_rmw MODEL srcu FILE mmu/thread_slot.hpp SCENARIO shared_slot
  REFUTED_BY ${lost}
  FROM1 [[word.fetch_add(amount, order);]]
  TO1 [[word.store(word.load(std::memory_order_relaxed) + amount, order);]])
slat_model_mutant(srcu_relaxed_claim_of_a_slot MODEL srcu FILE mmu/thread_slot.hpp SCENARIO hand_over
  REFUTED_BY ${lost}
  FROM1 [[std::memory_order_acquire, // H']] TO1 [[std::memory_order_relaxed, // H']])
slat_model_mutant(srcu_slot_given_to_two MODEL srcu FILE mmu/thread_slot.hpp SCENARIO hand_over REFUTED_BY ${lost}
  FROM1 [[taken_.compare_exchange_weak(taken, taken | std::uint64_t(1) << slot,
                                       std::memory_order_acquire, // H'; pairs with H
                                       std::memory_order_relaxed)]]
  TO1 [[taken_.store(taken | std::uint64_t(1) << slot, std::memory_order_seq_cst), true]])
