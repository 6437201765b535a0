slat_model(track)
slat_model_check(I31_unwritten_page_is_as_it_was MODEL track SCENARIO devices ARGS --executions 200000)
slat_model_check(I31_unwritten_page_every_two_preemptions MODEL track SCENARIO device ARGS --search bound --seconds 120)

set(track mmu/write_tracking.hpp)
slat_model_mutant(I31_device_without_a_fence MODEL track FILE ${track} SCENARIO devices REFUTED_BY "USER ASSERT FAILED"
  FROM1 [[  A::fence_release(); // pairs]] TO1 [[  // pairs]])
slat_model_mutant(I31_fence_only_of_who_cleared_the_flag MODEL track FILE ${track} SCENARIO devices
  REFUTED_BY "USER ASSERT FAILED"
  FROM1 [[  A::fence_release(); // pairs]] TO1 [[  // pairs]]
  FROM2 [[  word.clear_flags(PageBits::write_tracked);]] TO2 [[  word.clear_flags(PageBits::write_tracked);
  A::fence_release();]])
slat_model_mutant(I31_reader_without_a_fence MODEL track FILE ${track} SCENARIO devices REFUTED_BY "USER ASSERT FAILED"
  FROM1 [[  A::fence_acquire(); // pairs]] TO1 [[  // pairs]])
slat_model_mutant(I31_flag_looked_at_before_the_copy_only MODEL track FILE ${track} SCENARIO devices
  REFUTED_BY "USER ASSERT FAILED"
  FROM1 [[  return word.read().has(PageBits::write_tracked);]] TO1 [[  return true;]])
slat_model_mutant(I31_device_writes_before_it_tells MODEL track FILE tests/model/track_model.cpp SCENARIO devices
  REFUTED_BY "USER ASSERT FAILED"
  FROM1 [[      (void)mmu::forget_tracking(word);
      mmu::before_writes<RelacyAtomics>();
      content[index % 2].store(1, std::memory_order_relaxed);
]] TO1 [[      content[index % 2].store(1, std::memory_order_relaxed);
      (void)mmu::forget_tracking(word);
      mmu::before_writes<RelacyAtomics>();
]])
