slat_model(vma)
slat_model_check(I02_I08_vma_writer_excludes_readers MODEL vma SCENARIO writer_excludes_readers
  ARGS --executions 200000)
slat_model_check(I02_I06_vma_every_two_preemptions MODEL vma SCENARIO writer_excludes_one_reader
  ARGS --search bound --seconds 120)
slat_model_check(I08_vma_another_writer_follows MODEL vma SCENARIO another_writer_follows ARGS --executions 200000)
slat_model_check(I09_vma_sequence_passes_2_31 MODEL vma SCENARIO sequence_passes_2_31 ARGS --executions 50000)
slat_model_check(I09_vma_sequence_passes_2_32 MODEL vma SCENARIO sequence_passes_2_32 ARGS --executions 50000)
slat_model_check(I09_vma_sequence_wraps MODEL vma SCENARIO sequence_wraps ARGS --executions 100000)
slat_model_check(I01_I03_I07_vma_detach_and_reuse MODEL vma SCENARIO detach_and_reuse ARGS --executions 200000)
slat_model_check(I03_vma_detach_every_two_preemptions MODEL vma SCENARIO detach_and_reuse_one_reader
  ARGS --search bound --seconds 120)
slat_model_check(I01_I05_vma_recycled_into_another_mm MODEL vma SCENARIO recycled_into_another_mm
  ARGS --executions 200000)
slat_model_check(I01_I05_vma_recycled_at_equal_sequences MODEL vma SCENARIO recycled_at_equal_sequences
  ARGS --executions 100000)
slat_model_check(I01_I02_vma_recycled_and_back MODEL vma SCENARIO recycled_and_back ARGS --executions 100000)
slat_model_check(I05_vma_recycled_every_two_preemptions MODEL vma SCENARIO recycled_one_reader
  ARGS --search bound --seconds 120)

set(header mmu/vma_lock/vma_refcount.hpp)
set(torn "DATA RACE" "USER ASSERT FAILED")
slat_model_mutant(I07_vma_relaxed_attach MODEL vma FILE ${header} SCENARIO detach_and_reuse REFUTED_BY ${torn}
  FROM1 [[vm_refcnt_.store(1, std::memory_order_release);]] TO1 [[vm_refcnt_.store(1, std::memory_order_relaxed);]])
slat_model_mutant(I08_vma_relaxed_mm_unlock MODEL vma FILE mmu/vma_lock/mm_shared.hpp SCENARIO writer_excludes_readers
  REFUTED_BY ${torn}
  FROM1 [[    // Release: for this section's; pairs with the second check (I08).
    mm_lock_seq.store(seq + 1, std::memory_order_release);]]
  TO1 [[mm_lock_seq.store(seq + 1, std::memory_order_relaxed);]])
slat_model_mutant(I08_vma_relaxed_mm_lock MODEL vma FILE mmu/vma_lock/mm_shared.hpp SCENARIO another_writer_follows
  REFUTED_BY ${torn}
  FROM1 [[    // Release: for earlier sections' sake; pairs with the second check (I08).
    mm_lock_seq.store(seq + 1, std::memory_order_release);]]
  TO1 [[mm_lock_seq.store(seq + 1, std::memory_order_relaxed);]])
slat_model_mutant(I08_vma_relaxed_second_check MODEL vma FILE ${header} SCENARIO writer_excludes_readers
  REFUTED_BY ${torn}
  FROM1 [[mm.mm_lock_seq.load(std::memory_order_acquire)) {]] TO1 [[mm.mm_lock_seq.load(std::memory_order_relaxed)) {]])
slat_model_mutant(I02_vma_checked_before_the_increment_only MODEL vma FILE ${header} SCENARIO writer_excludes_readers
  REFUTED_BY ${torn}
  FROM1 [[mm.mm_lock_seq.load(std::memory_order_relaxed))
      return VmaReadLock::contended;]]
  TO1 [[mm.mm_lock_seq.load(std::memory_order_acquire))
      return VmaReadLock::contended;]]
  FROM2 [[mm.mm_lock_seq.load(std::memory_order_acquire)) {]]
  TO2 [[mm.mm_lock_seq.load(std::memory_order_acquire) && false) {]])
slat_model_mutant(I02_vma_relaxed_unexclude MODEL vma FILE ${header} SCENARIO writer_excludes_readers
  REFUTED_BY ${torn}
  FROM1 [[vm_refcnt_.fetch_sub(vm_exclude, std::memory_order_release); // pairs with readers' increments]]
  TO1 [[vm_refcnt_.fetch_sub(vm_exclude, std::memory_order_relaxed);]])
slat_model_mutant(I02_vma_relaxed_put MODEL vma FILE ${header} SCENARIO writer_excludes_readers REFUTED_BY ${torn}
  FROM1 [[vm_refcnt_.fetch_sub(1, std::memory_order_release);]]
  TO1 [[vm_refcnt_.fetch_sub(1, std::memory_order_relaxed);]])
slat_model_mutant(I05_vma_put_without_a_pin MODEL vma FILE ${header} SCENARIO recycled_into_another_mm
  REFUTED_BY "ACCESS TO FREED MEMORY"
  FROM1 [[owner->grab();]] TO1 ""
  FROM2 [[if (owner->drop()) free_mm(owner);]] TO2 [[(void)free_mm;]])
slat_model_mutant(I05_vma_relaxed_drop MODEL vma FILE mmu/vma_lock/mm_shared.hpp SCENARIO recycled_into_another_mm
  REFUTED_BY "ACCESS TO FREED MEMORY" ${torn}
  FROM1 [[pins.fetch_sub(1, std::memory_order_acq_rel)]] TO1 [[pins.fetch_sub(1, std::memory_order_relaxed)]])
slat_model_mutant(I06_vma_no_fence_in_put MODEL vma FILE ${header} SCENARIO writer_excludes_readers
  REFUTED_BY DEADLOCK
  FROM1 [[A::fence(); // "drop the count]] TO1 [[// "drop the count]])
slat_model_mutant(I06_vma_no_fence_in_the_wait MODEL vma FILE ${header} SCENARIO writer_excludes_readers
  REFUTED_BY DEADLOCK
  FROM1 [[A::fence(); // "announce]] TO1 [[// "announce]])
slat_model_mutant(I03_vma_detach_does_not_wait MODEL vma FILE ${header} SCENARIO detach_and_reuse
  REFUTED_BY ${torn}
  FROM1 [[if (enter_exclusive(mm, vm_exclude))]] TO1 [[if (false)]])
slat_model_mutant(I09_vma_sequence_through_an_int MODEL vma FILE ${header} SCENARIO sequence_passes_2_31
  REFUTED_BY ${torn}
  FROM1 [[vm_lock_seq_.store(seq,]] TO1 [[vm_lock_seq_.store(std::uint64_t(std::int64_t(std::int32_t(seq))),]])
