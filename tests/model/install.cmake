slat_model(install)
slat_model_check(I20_I29_install_two_faults_against_one MODEL install SCENARIO one_invalidator
  ARGS --executions 200000)
slat_model_check(I20_I29_install_two_faults_against_two MODEL install SCENARIO two_invalidators
  ARGS --executions 200000)
slat_model_check(I20_install_every_two_preemptions MODEL install SCENARIO one_fault
  ARGS --search bound --seconds 120)
slat_model_check(I20_I29_install_upgrade MODEL install SCENARIO upgrade ARGS --executions 200000)
slat_model_check(install_walker_sees_content MODEL install SCENARIO walker_sees_content ARGS --executions 50000)

set(header mmu/install.hpp)
set(model tests/model/install_model.cpp)
set(stale "USER INVARIANT FAILED")
slat_model_mutant(I20_install_one_phase MODEL install FILE ${header} SCENARIO one_invalidator REFUTED_BY ${stale}
  FROM1 [[compare_exchange_strong(expected, frozen, std::memory_order_relaxed,]]
  TO1 [[compare_exchange_strong(expected, old_entry, std::memory_order_relaxed,]]
  FROM2 [[expected = frozen;]] TO2 [[(void)frozen; expected = old_entry;]])
slat_model_mutant(I29_install_one_frozen_for_all MODEL install FILE ${model} SCENARIO one_invalidator
  REFUTED_BY ${stale}
  FROM1 [[return first_frozen + thread;]] TO1 [[return (void)thread, first_frozen;]])
slat_model_mutant(I21_install_no_fence MODEL install FILE ${header} SCENARIO one_invalidator REFUTED_BY ${stale}
  FROM1 [[A::fence_after_rmw(); // pairs with]] TO1 [[// pairs with]])
slat_model_mutant(I20_install_no_fence_in_begin MODEL install FILE mmu/invalidate_seq.hpp SCENARIO one_invalidator
  REFUTED_BY ${stale}
  FROM1 [[A::fence(); // pairs with the fence between]] TO1 [[// pairs with the fence between]])
slat_model_mutant(I29_install_plain_store_of_the_entry MODEL install FILE ${header} SCENARIO one_invalidator
  REFUTED_BY ${stale}
  FROM1 [[entry.compare_exchange_strong(expected, next, std::memory_order_release,
                                                  std::memory_order_relaxed);]]
  TO1 [[(entry.store(next, std::memory_order_release), expected == frozen);]])
