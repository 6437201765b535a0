slat_model(invalidate)
slat_model_check(I20_I21_invalidate_faults_against_one MODEL invalidate SCENARIO one_invalidator
  ARGS --executions 200000)
slat_model_check(I20_I21_invalidate_every_two_preemptions MODEL invalidate SCENARIO one_fault
  ARGS --search bound --seconds 120)
slat_model_check(I20_I22_invalidate_parallel_ranges MODEL invalidate SCENARIO parallel_ranges
  ARGS --executions 200000)
slat_model_check(I20_I22_invalidate_parallel_ranges_hull MODEL invalidate SCENARIO parallel_ranges_hull
  ARGS --executions 200000)
slat_model_check(I20_I22_invalidate_equal_ranges MODEL invalidate SCENARIO equal_ranges ARGS --executions 100000)
slat_model_check(I20_I22_invalidate_reused_slots MODEL invalidate SCENARIO reused_slots ARGS --executions 200000)
slat_model_check(I20_I22_invalidate_hull MODEL invalidate SCENARIO hull ARGS --executions 200000)
slat_model_check(I22_invalidate_nested_ranges MODEL invalidate SCENARIO nested_ranges ARGS --executions 100000)
slat_model_check(I22_invalidate_wait_wakes MODEL invalidate SCENARIO wait_wakes ARGS --executions 200000)
slat_model_check(I22_invalidate_wait_every_three_preemptions MODEL invalidate SCENARIO wait_wakes_one
  ARGS --search bound --preemptions 3 --seconds 120)

set(header mmu/invalidate_seq.hpp)
set(model tests/model/invalidate_model.cpp)
set(stale "USER INVARIANT FAILED" "USER ASSERT FAILED")
slat_model_mutant(I21_invalidate_no_fence_in_the_fault MODEL invalidate FILE ${model} SCENARIO one_invalidator
  REFUTED_BY ${stale}
  FROM1 [[RelacyAtomics::fence();]] TO1 "")
slat_model_mutant(I21_invalidate_snapshot_after_resolving MODEL invalidate FILE ${model} SCENARIO one_invalidator
  REFUTED_BY ${stale}
  FROM1 [[    const std::uint64_t snapshot = seq.snapshot();
    const int host_page = p.current.load(std::memory_order_relaxed);]]
  TO1 [[    const int host_page = p.current.load(std::memory_order_relaxed);
    const std::uint64_t snapshot = seq.snapshot();]])
slat_model_mutant(I20_invalidate_checked_before_the_page_lock MODEL invalidate FILE ${model} SCENARIO one_invalidator
  REFUTED_BY ${stale}
  FROM1 [[    if (!p.word.try_lock_present()) {]]
  TO1 [[    const Staleness staleness = seq.stale(snapshot, index, index + 1);
    if (!p.word.try_lock_present()) {]]
  FROM2 [[    const Staleness staleness = seq.stale(snapshot, index, index + 1);
    const bool fresh]]
  TO2 [[    const bool fresh]])
slat_model_mutant(I20_invalidate_does_not_wait_for_locked_pages MODEL invalidate FILE ${model}
  SCENARIO one_invalidator REFUTED_BY ${stale}
  FROM1 [[const PageBits bits = word.read();]] TO1 [[const PageBits bits(0);]])
slat_model_mutant(I20_invalidate_no_fence_in_begin MODEL invalidate FILE ${header} SCENARIO one_invalidator
  REFUTED_BY ${stale}
  FROM1 [[A::fence(); // pairs with the fence between]] TO1 [[// pairs with the fence between]])
set(bump [[    sequence_.store(sequence_.load(std::memory_order_relaxed) + 1, // written under the mutex only
                    std::memory_order_release); // pairs with snapshot() and stale()]])
set(drop [[    count_.store(count_.load(std::memory_order_relaxed) - 1, // the same
                 std::memory_order_release);                 // pairs with the acquire in stale()]])
slat_model_mutant(I22_invalidate_sequence_after_the_count MODEL invalidate FILE ${header} SCENARIO one_invalidator
  REFUTED_BY ${stale}
  FROM1 "${bump}" TO1 ""
  FROM2 "${drop}" TO2 "${drop}\n${bump}")
slat_model_mutant(I22_invalidate_sequence_after_the_slot MODEL invalidate FILE ${header} SCENARIO one_invalidator
  REFUTED_BY ${stale}
  FROM1 "${bump}" TO1 ""
  FROM2 "${drop}" TO2 "${bump}\n${drop}")
slat_model_mutant(I22_invalidate_relaxed_count_drop MODEL invalidate FILE ${header} SCENARIO one_invalidator
  REFUTED_BY ${stale}
  FROM1 "${drop}"
  TO1 [[count_.store(count_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);]])
slat_model_mutant(I22_invalidate_relaxed_free_of_a_slot MODEL invalidate FILE ${header} SCENARIO one_invalidator
  REFUTED_BY ${stale}
  FROM1 [[end_.store(0, std::memory_order_release);]] TO1 [[end_.store(0, std::memory_order_relaxed);]])
slat_model_mutant(I22_invalidate_relaxed_read_of_a_slot MODEL invalidate FILE ${header} SCENARIO one_invalidator
  REFUTED_BY ${stale}
  FROM1 [[end_.load(std::memory_order_acquire)]] TO1 [[end_.load(std::memory_order_relaxed)]])
slat_model_mutant(I22_invalidate_relaxed_start_of_a_reused_slot MODEL invalidate FILE ${header} SCENARIO reused_slots
  REFUTED_BY ${stale}
  FROM1 [[start_.store(start, std::memory_order_release);]] TO1 [[start_.store(start, std::memory_order_relaxed);]])
slat_model_mutant(I22_invalidate_a_flag_for_a_count MODEL invalidate FILE ${header} SCENARIO parallel_ranges
  REFUTED_BY ${stale}
  FROM1 [[count_.store(count_.load(std::memory_order_relaxed) + 1,]] TO1 [[count_.store(1,]]
  FROM2 [[count_.store(count_.load(std::memory_order_relaxed) - 1,]] TO2 [[count_.store(0,]])
slat_model_mutant(I20_invalidate_slot_of_another_is_overwritten MODEL invalidate FILE ${header}
  SCENARIO parallel_ranges_hull REFUTED_BY ${stale}
  FROM1 [[Range* const slot = find(0)]] TO1 [=[Range* const slot = &slots_[0]]=]
  FROM2 [[const unsigned left = in_hull_.get() - 1;]] TO2 [[const unsigned left = 1;]])
slat_model_mutant(I20_invalidate_slot_of_another_is_freed MODEL invalidate FILE ${header} SCENARIO reused_slots
  REFUTED_BY ${stale}
  FROM1 [[slot_end == end && (end == 0 || slot_start == start)]] TO1 [[(void)start, (void)slot_start; end == 0 ? slot_end == 0 : slot_end != 0]])
slat_model_mutant(I20_invalidate_hull_not_widened MODEL invalidate FILE ${header} SCENARIO hull REFUTED_BY ${stale}
  FROM1 [[hull_end != 0) {]] TO1 [[hull_end == 1) {]])
slat_model_mutant(I20_invalidate_hull_never_dropped MODEL invalidate FILE ${header} SCENARIO hull REFUTED_BY ${stale}
  FROM1 [[if (left == 0) hull_.clear();]] TO1 "")
slat_model_mutant(I20_invalidate_hull_dropped_too_early MODEL invalidate FILE ${header} SCENARIO hull REFUTED_BY ${stale}
  FROM1 [[if (left == 0) hull_.clear();]] TO1 [[hull_.clear();]])
slat_model_mutant(I20_invalidate_hull_not_read MODEL invalidate FILE ${header} SCENARIO equal_ranges REFUTED_BY ${stale}
  FROM1 [[return hull_.covers(start, end);]] TO1 [[return false;]])
slat_model_mutant(invalidate_waits_on_the_sequence MODEL invalidate FILE ${header} SCENARIO wait_wakes
  REFUTED_BY DEADLOCK
  FROM1 [[const std::uint32_t seen = wakes_.load(std::memory_order_acquire);]]
  TO1 [[const std::uint64_t seen = sequence_.load(std::memory_order_acquire);]]
  FROM2 [[A::wait_while(wakes_, seen);]] TO2 [[A::wait_while(sequence_, seen);]]
  FROM3 [[A::wake_all(wakes_);]] TO3 [[A::wake_all(sequence_);]])
slat_model_mutant(invalidate_no_fence_in_end MODEL invalidate FILE ${header} SCENARIO wait_wakes
  REFUTED_BY DEADLOCK
  FROM1 [[A::fence(); // "count dropped]] TO1 [[// "count dropped]])
slat_model_mutant(invalidate_no_fence_in_wait MODEL invalidate FILE ${header} SCENARIO wait_wakes
  REFUTED_BY DEADLOCK
  FROM1 [[A::fence(); // pairs with the fence in end()]] TO1 [[// pairs with the fence in end()]])
