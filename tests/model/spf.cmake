slat_model(spf)
slat_model_check(I13_I14_spf_unmap_against_faults MODEL spf SCENARIO unmap_against_faults ARGS --executions 200000)
slat_model_check(I14_spf_unmap_every_two_preemptions MODEL spf SCENARIO unmap_against_one_fault
  ARGS --search bound --seconds 120)
slat_model_check(I09_I14_I17_spf_adjust_against_faults MODEL spf SCENARIO adjust_against_faults
  ARGS --executions 200000)
slat_model_check(I14_I26_spf_move_against_reclaims MODEL spf SCENARIO move_against_reclaims ARGS --executions 200000)
slat_model_check(I14_I26_spf_move_every_two_preemptions MODEL spf SCENARIO move_against_one_reclaim
  ARGS --search bound --seconds 120)
slat_model_check(I17_spf_readers_of_a_sequence MODEL spf SCENARIO readers_of_a_sequence ARGS --executions 200000)
slat_model_check(I15_spf_last_reference MODEL spf SCENARIO last_reference ARGS --executions 100000)
slat_model_check(I15_I16_spf_backing_against_fault MODEL spf SCENARIO backing_against_fault ARGS --executions 200000)

set(header mmu/vma_lock/spf.hpp)
set(model tests/model/spf_model.cpp)
set(torn "DATA RACE" "USER ASSERT FAILED")
slat_model_mutant(I14_spf_no_fence_in_commit MODEL spf FILE ${header} SCENARIO unmap_against_faults REFUTED_BY ${torn}
  FROM1 [[A::fence(); // "claim,]] TO1 [[A::fence_acquire(); // "claim,]])
slat_model_mutant(I14_spf_no_fence_in_write_begin MODEL spf FILE ${header} SCENARIO unmap_against_faults
  REFUTED_BY ${torn}
  FROM1 [[A::fence(); // "odd,]] TO1 [[A::fence_acquire(); // "odd,]])
slat_model_mutant(I14_spf_commit_does_not_ask_for_life MODEL spf FILE ${header} SCENARIO unmap_against_faults
  REFUTED_BY ${torn}
  FROM1 [[return vm_flags_.load(std::memory_order_relaxed) != 0;]] TO1 [[return true;]])
slat_model_mutant(I14_spf_commit_before_the_claim MODEL spf FILE ${model} SCENARIO unmap_against_faults
  REFUTED_BY ${torn}
  FROM1 [[    if (page.claim_fill(was) != FillClaim::claimed) return;
    const bool mine = vma.commit(seq);]]
  TO1 [[    const bool mine = vma.commit(seq);
    if (page.claim_fill(was) != FillClaim::claimed) return;]])
slat_model_mutant(I17_spf_single_bump_at_the_end MODEL spf FILE ${header} SCENARIO adjust_against_faults
  REFUTED_BY ${torn}
  FROM1 [[sequence_.store(seq + 1, std::memory_order_relaxed); // ordered by the fence]] TO1 [[(void)seq;]]
  FROM2 [[sequence_.store(seq + 1, std::memory_order_release);]] TO2 [[sequence_.store(seq + 2, std::memory_order_release);]])
slat_model_mutant(I17_spf_relaxed_write_end MODEL spf FILE ${header} SCENARIO readers_of_a_sequence REFUTED_BY ${torn}
  FROM1 [[sequence_.store(seq + 1, std::memory_order_release);]]
  TO1 [[sequence_.store(seq + 1, std::memory_order_relaxed);]])
slat_model_mutant(I17_spf_no_fence_in_read_retry MODEL spf FILE ${header} SCENARIO readers_of_a_sequence
  REFUTED_BY ${torn}
  FROM1 [[A::fence_acquire(); // what]] TO1 [[// what]])
slat_model_mutant(I15_spf_reference_from_zero MODEL spf FILE ${header} SCENARIO last_reference REFUTED_BY ${torn}
  FROM1 [[if (refs == 0 || refs >= vm_ref_limit)]] TO1 [[if (refs >= vm_ref_limit)]])
slat_model_mutant(I16_spf_backing_closed_before_the_grace_period MODEL spf FILE ${model}
  SCENARIO backing_against_fault REFUTED_BY ${torn}
  FROM1 [[    srcu.synchronize();
    backing.set(0);]]
  TO1 [[    backing.set(0);
    srcu.synchronize();]])
slat_model_mutant(I14_spf_reclaim_does_not_commit MODEL spf FILE ${model} SCENARIO move_against_reclaims
  REFUTED_BY ${torn}
  FROM1 [[    if (!vma.commit(*seq)) return page.unlock();
]] TO1 "")
slat_model_mutant(I14_spf_reclaim_commits_before_the_lock MODEL spf FILE ${model} SCENARIO move_against_reclaims
  REFUTED_BY ${torn}
  FROM1 [[if (!seq || place != 0 || !page.try_lock_present()) return;
    if (!vma.commit(*seq)) return page.unlock();]]
  TO1 [[if (!seq || place != 0 || !vma.commit(*seq) || !page.try_lock_present()) return;]])
