slat_model(stage2)
slat_model_check(I20_I33_stage2_split_fault_zap MODEL stage2 SCENARIO split_fault_zap ARGS --executions 100000)
slat_model_check(I20_I33_stage2_collapse_zap MODEL stage2 SCENARIO collapse_zap ARGS --executions 100000)
slat_model_check(I20_I33_stage2_collapse_two_zaps MODEL stage2 SCENARIO collapse_two_zaps ARGS --executions 100000)
slat_model_check(I20_I33_stage2_collapse_every_two_preemptions MODEL stage2 SCENARIO collapse_zap_small
  ARGS --search bound --seconds 120)
slat_model_check(I33_stage2_split_collapse MODEL stage2 SCENARIO split_collapse ARGS --executions 50000)
slat_model_check(I20_stage2_clean_zap MODEL stage2 SCENARIO clean_zap ARGS --executions 100000)
slat_model_check(I31_I32_stage2_dirty_zap MODEL stage2 SCENARIO dirty_zap ARGS --executions 100000)
slat_model_check(I31_I32_stage2_dirty_split MODEL stage2 SCENARIO dirty_split ARGS --executions 100000)
slat_model_check(I31_I32_stage2_dirty_collapse MODEL stage2 SCENARIO dirty_collapse ARGS --executions 100000)

set(protocol mmu/stage2/protocol.hpp)
set(model tests/model/stage2_model.cpp)
set(used "USER INVARIANT FAILED" "USER ASSERT FAILED" "DATA RACE")
slat_model_mutant(I33_stage2_child_filled_after_the_link MODEL stage2 FILE ${model} SCENARIO split_fault_zap
  REFUTED_BY ${used}
  FROM1 [[    stage2::fill_child<F, A>(child, leaf, 2);
    (void)stage2::link_table<F, A>(top, leaf, child);]]
  TO1 [[    if (stage2::link_table<F, A>(top, leaf, child)) stage2::fill_child<F, A>(child, leaf, 2);]])
slat_model_mutant(I33_stage2_relaxed_link MODEL stage2 FILE ${protocol} SCENARIO split_fault_zap REFUTED_BY ${used}
  FROM1 [[F::table(address_of(child)), std::memory_order_release,]]
  TO1 [[F::table(address_of(child)), std::memory_order_relaxed,]])
slat_model_mutant(I20_stage2_split_by_a_plain_store MODEL stage2 FILE ${protocol} SCENARIO split_fault_zap
  REFUTED_BY ${used}
  FROM1 [[  return entry.compare_exchange_strong(old, F::table(address_of(child)), std::memory_order_release,
                                       std::memory_order_relaxed);]]
  TO1 [[  return (void)old, entry.store(F::table(address_of(child)), std::memory_order_release), true;]])
slat_model_mutant(I20_stage2_collapse_in_one_phase MODEL stage2 FILE ${protocol} SCENARIO collapse_zap
  REFUTED_BY ${used}
  FROM1 [[const std::uint64_t marked = table | collapsing_bit;]] TO1 [[const std::uint64_t marked = table;]])
slat_model_mutant(I20_stage2_zap_passes_by_a_collapse MODEL stage2 FILE ${model} SCENARIO collapse_zap
  REFUTED_BY ${used}
  FROM1 [[    if (F::is_table(entry, 2)) stage2::stop_collapse<A>(top, entry);]] TO1 [[]])
slat_model_mutant(I20_stage2_collapse_does_not_check MODEL stage2 FILE ${protocol} SCENARIO collapse_zap
  REFUTED_BY ${used}
  FROM1 [[leaf = staleness == Staleness::fresh ? whole_leaf]] TO1 [[leaf = true ? whole_leaf]])
slat_model_mutant(I21_stage2_collapse_without_fence MODEL stage2 FILE ${protocol} SCENARIO collapse_zap
  REFUTED_BY ${used}
  FROM1 [[  A::fence(); // pairs with the fence in InvalidateSeq::begin()]] TO1 [[]])
slat_model_mutant(I33_stage2_children_die_before_the_flush MODEL stage2 FILE ${model} SCENARIO split_collapse
  REFUTED_BY ${used}
  FROM1 [[        flush();
        kill(]] TO1 [[        kill(]])
slat_model_mutant(I27_stage2_freed_before_the_flush MODEL stage2 FILE ${model} SCENARIO split_fault_zap
  REFUTED_BY ${used}
  FROM1 [[    flush();
    takers.unlock();]] TO1 [[    takers.unlock();]])
slat_model_mutant(I20_stage2_cleaned_by_a_plain_store MODEL stage2 FILE ${protocol} SCENARIO clean_zap
  REFUTED_BY ${used}
  FROM1 [[  return entry.compare_exchange_strong(old, to, std::memory_order_acquire,
                                       std::memory_order_acquire);]]
  TO1 [[  return old = to, entry.store(to, std::memory_order_release), true;]])
slat_model_mutant(I31_stage2_split_drops_the_dirty_bit MODEL stage2 FILE ${protocol} SCENARIO dirty_split
  REFUTED_BY ${used}
  FROM1 [[child.entries[i].store(F::part(leaf, level, i),]]
  TO1 [[child.entries[i].store(F::cleaned(F::part(leaf, level, i)),]])
slat_model_mutant(I31_stage2_collapse_does_not_note MODEL stage2 FILE ${model} SCENARIO dirty_collapse
  REFUTED_BY ${used}
  FROM1 [[note(half, entry, 1, i);]] TO1 [[(void)half, (void)entry;]])
slat_model_mutant(I32_stage2_collapse_and_cleaning_at_once MODEL stage2 FILE ${model} SCENARIO dirty_collapse
  REFUTED_BY ${used}
  FROM1 [[    turns.lock();
    const std::uint64_t table]] TO1 [[    const std::uint64_t table]]
  FROM2 [[    turns.unlock();
    return outcome;]] TO2 [[    return outcome;]])
slat_model_mutant(I32_stage2_no_flush_before_the_log MODEL stage2 FILE ${model} SCENARIO dirty_split
  REFUTED_BY ${used}
  FROM1 [[    flush();
    std::uint64_t found = 0;]] TO1 [[    std::uint64_t found = 0;]])
slat_model_mutant(I32_stage2_note_read_before_the_flush_of_the_zap MODEL stage2 FILE ${model} SCENARIO dirty_zap
  REFUTED_BY ${used}
  FROM1 [[      takers.lock(); // a grace period
      takers.unlock();]] TO1 "")
slat_model_mutant(I32_stage2_one_log_for_all MODEL stage2 FILE ${model} SCENARIO dirty_zap REFUTED_BY ${used}
  FROM1 [[current_half.store(1 - old, std::memory_order_release);]] TO1 "")
