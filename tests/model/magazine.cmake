slat_model(magazine)
slat_model_check(I04_magazine_slots_of_their_own MODEL magazine SCENARIO own_slots ARGS --executions 200000)
slat_model_check(I04_magazine_flushed_meanwhile MODEL magazine SCENARIO own_slots_and_flush ARGS --executions 200000)
slat_model_check(I04_magazine_shared_slot MODEL magazine SCENARIO shared_slot ARGS --executions 200000)
slat_model_check(I04_magazine_shared_slot_flushed MODEL magazine SCENARIO shared_slot_and_flush
  ARGS --executions 200000)
slat_model_check(I04_magazine_put_elsewhere MODEL magazine SCENARIO put_elsewhere ARGS --executions 200000)
slat_model_check(magazine_of_another_when_none_is_left MODEL magazine SCENARIO none_left ARGS --executions 100000)
slat_model_check(I04_magazine_every_two_preemptions MODEL magazine SCENARIO one_and_flush
  ARGS --search bound --seconds 120)

set(header mmu/magazine.hpp)
set(twice "DATA RACE" "USER ASSERT FAILED")
slat_model_mutant(magazine_relaxed_lock MODEL magazine FILE ${header} SCENARIO shared_slot REFUTED_BY ${twice}
  FROM1 [[held.exchange(1, std::memory_order_acquire)]] TO1 [[held.exchange(1, std::memory_order_relaxed)]])
slat_model_mutant(magazine_relaxed_unlock MODEL magazine FILE ${header} SCENARIO shared_slot REFUTED_BY ${twice}
  FROM1 [[held.store(0, std::memory_order_release);]] TO1 [[held.store(0, std::memory_order_relaxed);]])
slat_model_mutant(magazine_lock_by_load_and_store MODEL magazine FILE ${header} SCENARIO shared_slot
  REFUTED_BY ${twice}
  FROM1 [[return held.exchange(1, std::memory_order_acquire) == 0;]]
  TO1 [[const bool free = held.load(std::memory_order_acquire) == 0;
      held.store(1, std::memory_order_seq_cst);
      return free;]])
slat_model_mutant(magazine_get_without_the_lock MODEL magazine FILE ${header} SCENARIO own_slots_and_flush
  REFUTED_BY ${twice}
  FROM1 [=[if (magazine.try_lock()) [[likely]] {]=] TO1 [[if (true) {]])
slat_model_mutant(magazine_put_without_the_lock MODEL magazine FILE ${header} SCENARIO own_slots_and_flush
  REFUTED_BY ${twice}
  FROM1 [=[if (!magazine.try_lock()) [[unlikely]]
      return depot_.give(&object, 1);]=]
  TO1 "")
slat_model_mutant(magazine_flushed_and_kept MODEL magazine FILE ${header} SCENARIO own_slots_and_flush
  REFUTED_BY ${twice}
  FROM1 [[magazine.count.set(0);]] TO1 "")
slat_model_mutant(magazine_spilled_and_kept MODEL magazine FILE ${header} SCENARIO own_slots REFUTED_BY ${twice}
  FROM1 [[magazine.objects[i - Capacity / 2].set(magazine.objects[i].get());]] TO1 "(void)i;")
slat_model_mutant(magazine_get_does_not_look_elsewhere MODEL magazine FILE ${header} SCENARIO none_left
  REFUTED_BY "USER ASSERT FAILED"
  FROM1 [[flush(); // others may have some]] TO1 "")
