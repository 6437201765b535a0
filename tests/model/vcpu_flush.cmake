slat_model(vcpu_flush)
slat_model_check(I36_I37_vcpu_flush_one MODEL vcpu_flush SCENARIO one_flush ARGS --executions 200000)
slat_model_check(I36_I37_vcpu_flush_two MODEL vcpu_flush SCENARIO two_flushes ARGS --executions 200000)
slat_model_check(I36_I37_vcpu_flush_every_two_preemptions MODEL vcpu_flush SCENARIO one_round
  ARGS --search bound --seconds 120)

set(header mmu/stage2/vcpu_flush.hpp)
set(used "USER ASSERT FAILED" "DATA RACE")
slat_model_mutant(I36_vcpu_flush_acknowledged_before_the_drop MODEL vcpu_flush FILE ${header} SCENARIO two_flushes
  REFUTED_BY ${used}
  FROM1 [[    drop();
    done_.store(wanted, std::memory_order_release); // dropped first; pairs with wait()
    tell();]]
  TO1 [[    done_.store(wanted, std::memory_order_release);
    tell();
    drop();]])
slat_model_mutant(I36_vcpu_flush_no_fence_in_enter MODEL vcpu_flush FILE ${header} SCENARIO one_flush
  REFUTED_BY ${used}
  FROM1 [[    A::fence_light(); // pairs with the fence in request()]] TO1 "")
slat_model_mutant(I36_vcpu_flush_no_fence_in_request MODEL vcpu_flush FILE ${header} SCENARIO one_flush
  REFUTED_BY ${used}
  FROM1 [[    A::fence_heavy(); // pairs with the fence in enter()]] TO1 "")
slat_model_mutant(I36_vcpu_flush_relaxed_leave MODEL vcpu_flush FILE ${header} SCENARIO one_flush REFUTED_BY ${used}
  FROM1 [[mode_.store(out_of_guest, std::memory_order_release)]]
  TO1 [[mode_.store(out_of_guest, std::memory_order_relaxed)]])
slat_model_mutant(I36_vcpu_flush_relaxed_request MODEL vcpu_flush FILE ${header} SCENARIO one_flush
  REFUTED_BY ${used}
  FROM1 [[wanted_.fetch_add(1, std::memory_order_release)]] TO1 [[wanted_.fetch_add(1, std::memory_order_relaxed)]])
slat_model_mutant(I37_vcpu_flush_waits_for_a_vcpu_outside MODEL vcpu_flush FILE ${header} SCENARIO one_flush
  REFUTED_BY DEADLOCK
  FROM1 [[    return mode_.load(std::memory_order_acquire) == out_of_guest ||
           done_]] TO1 [[    return done_]])
slat_model_mutant(I37_vcpu_flush_leave_wakes_nobody MODEL vcpu_flush FILE ${header} SCENARIO one_flush
  REFUTED_BY DEADLOCK
  FROM1 [[    mode_.store(out_of_guest, std::memory_order_release); // all use so far; pairs with wait()
    tell();]] TO1 [[    mode_.store(out_of_guest, std::memory_order_release);]])
slat_model_mutant(I37_vcpu_flush_no_fence_in_wait MODEL vcpu_flush FILE ${header} SCENARIO one_flush
  REFUTED_BY DEADLOCK
  FROM1 [[      A::fence_heavy(); // pairs with the fence in tell()]] TO1 "")
slat_model_mutant(I37_vcpu_flush_no_fence_in_tell MODEL vcpu_flush FILE ${header} SCENARIO one_flush
  REFUTED_BY DEADLOCK
  FROM1 [[    A::fence_light(); // pairs with the fence in wait()]] TO1 "")
