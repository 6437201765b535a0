slat_model(thread_slot)
slat_model_check(thread_slot_three_for_one MODEL thread_slot SCENARIO three_for_one ARGS --executions 100000)
slat_model_check(thread_slot_three_for_two MODEL thread_slot SCENARIO three_for_two ARGS --executions 100000)
slat_model_check(thread_slot_every_two_preemptions MODEL thread_slot SCENARIO two_for_one
  ARGS --search bound --seconds 120)

set(header mmu/thread_slot.hpp)
set(lost "DATA RACE" "USER ASSERT FAILED")
slat_model_mutant(thread_slot_relaxed_claim MODEL thread_slot FILE ${header} SCENARIO three_for_one REFUTED_BY ${lost}
  FROM1 [[std::memory_order_acquire, // H']] TO1 [[std::memory_order_relaxed, // H']])
slat_model_mutant(thread_slot_relaxed_give_back MODEL thread_slot FILE ${header} SCENARIO three_for_one
  REFUTED_BY ${lost}
  FROM1 [[std::memory_order_release); // H;]] TO1 [[std::memory_order_relaxed); // H;]])
slat_model_mutant(thread_slot_shared_without_rmw MODEL thread_slot FILE ${header} SCENARIO three_for_one
  REFUTED_BY ${lost}
  FROM1 [[word.fetch_add(amount, order);]]
  TO1 [[word.store(word.load(std::memory_order_relaxed) + amount, order);]])
