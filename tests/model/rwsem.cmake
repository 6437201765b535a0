slat_model(rwsem)
slat_model_check(I02_I08_rwsem_writer_excludes_readers MODEL rwsem SCENARIO writer_excludes_readers
  ARGS --executions 200000)
slat_model_check(I02_I06_rwsem_every_two_preemptions MODEL rwsem SCENARIO writer_excludes_one_reader
  ARGS --search bound --seconds 120)
slat_model_check(I08_rwsem_another_writer_follows MODEL rwsem SCENARIO another_writer_follows ARGS --executions 200000)
slat_model_check(I09_rwsem_sequence_passes_2_31 MODEL rwsem SCENARIO sequence_passes_2_31 ARGS --executions 50000)
slat_model_check(I09_rwsem_sequence_wraps MODEL rwsem SCENARIO sequence_wraps ARGS --executions 100000)
slat_model_check(I01_I03_I07_rwsem_detach_and_reuse MODEL rwsem SCENARIO detach_and_reuse ARGS --executions 200000)
slat_model_check(I03_rwsem_detach_every_two_preemptions MODEL rwsem SCENARIO detach_and_reuse_one_reader
  ARGS --search bound --seconds 120)
slat_model_check(I01_I04_rwsem_recycled_into_another_mm MODEL rwsem SCENARIO recycled_into_another_mm
  ARGS --executions 200000)
slat_model_check(I01_I04_rwsem_recycled_at_equal_sequences MODEL rwsem SCENARIO recycled_at_equal_sequences
  ARGS --executions 100000)
slat_model_check(I04_rwsem_recycled_every_two_preemptions MODEL rwsem SCENARIO recycled_one_reader
  ARGS --search bound --seconds 120)
slat_model_check(I01_I02_I03_rwsem_recycled_and_back MODEL rwsem SCENARIO recycled_and_back ARGS --executions 300000)

set(header mmu/vma_lock/vma_rwsem.hpp)
set(torn "DATA RACE" "USER ASSERT FAILED")
slat_model_mutant(I07_rwsem_relaxed_attach MODEL rwsem FILE ${header} SCENARIO recycled_into_another_mm
  REFUTED_BY ${torn}
  FROM1 [[detached_.store(0, std::memory_order_release);]] TO1 [[detached_.store(0, std::memory_order_relaxed);]])
slat_model_mutant(I01_rwsem_detached_after_mm MODEL rwsem FILE ${header} SCENARIO recycled_into_another_mm
  REFUTED_BY ${torn}
  FROM1 [[    if (detached_.load(std::memory_order_acquire) != 0) // pairs with vma_mark_attached()
      return VmaReadLock::detached;
    return vm_mm_.get() == &mm ? VmaReadLock::locked : VmaReadLock::detached;]]
  TO1 [[    if (vm_mm_.get() != &mm) return VmaReadLock::detached;
    return detached_.load(std::memory_order_acquire) == 0 ? VmaReadLock::locked : VmaReadLock::detached;]])
slat_model_mutant(I02_rwsem_checked_before_entering_only MODEL rwsem FILE ${header} SCENARIO writer_excludes_readers
  REFUTED_BY ${torn}
  FROM1 [[mm.mm_lock_seq.load(std::memory_order_relaxed))
      return VmaReadLock::contended;
    if (!try_enter())]]
  TO1 [[mm.mm_lock_seq.load(std::memory_order_acquire))
      return VmaReadLock::contended;
    if (!try_enter())]]
  FROM2 [[mm.mm_lock_seq.load(std::memory_order_acquire)) // pairs]]
  TO2 [[mm.mm_lock_seq.load(std::memory_order_acquire) && false) // pairs]])
slat_model_mutant(I02_rwsem_relaxed_put MODEL rwsem FILE ${header} SCENARIO writer_excludes_readers REFUTED_BY ${torn}
  FROM1 [[vm_lock_.fetch_sub(1, std::memory_order_release);]]
  TO1 [[vm_lock_.fetch_sub(1, std::memory_order_relaxed);]])
slat_model_mutant(I02_rwsem_relaxed_leave MODEL rwsem FILE ${header} SCENARIO writer_excludes_readers REFUTED_BY ${torn}
  FROM1 [[vm_lock_.fetch_and(~vm_writer, std::memory_order_release);]]
  TO1 [[vm_lock_.fetch_and(~vm_writer, std::memory_order_relaxed);]])
slat_model_mutant(I02_rwsem_leftover_sequence_counts MODEL rwsem FILE ${header} SCENARIO recycled_and_back
  REFUTED_BY ${torn}
  FROM1 [[detached_.load(std::memory_order_relaxed) == 0)
      return;]]
  TO1 [[true)
      return;]])
slat_model_mutant(I03_rwsem_detach_does_not_wait MODEL rwsem FILE ${header} SCENARIO recycled_and_back REFUTED_BY ${torn}
  FROM1 [[// published by the release of leaving
    enter_exclusive();
    leave_exclusive();
  }]]
  TO1 [[
  }]])
slat_model_mutant(I04_rwsem_lock_word_written_on_reuse MODEL rwsem FILE ${header} SCENARIO recycled_into_another_mm
  REFUTED_BY ${torn} DEADLOCK
  FROM1 [[void set_mm(Mm& mm) { vm_mm_.set(&mm); }]]
  TO1 [[void set_mm(Mm& mm) { vm_mm_.set(&mm); vm_lock_.store(0, std::memory_order_relaxed); }]])
slat_model_mutant(I06_rwsem_nobody_is_woken MODEL rwsem FILE ${header} SCENARIO writer_excludes_readers
  REFUTED_BY DEADLOCK
  FROM1 [[A::wake_all(vm_lock_);]] TO1 "(void)0;")
