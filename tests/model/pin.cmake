slat_model(pin)
slat_model_check(I26_pin_excludes_removal MODEL pin SCENARIO removal ARGS --executions 200000)
slat_model_check(I26_pin_every_two_preemptions MODEL pin SCENARIO removal_one ARGS --search bound --seconds 120)
slat_model_check(I26_pin_old_translation_is_not_used MODEL pin SCENARIO move ARGS --executions 200000)
slat_model_check(I26_pin_parallel_ranges MODEL pin SCENARIO parallel_ranges ARGS --executions 200000)
slat_model_check(I26_pin_non_blockable MODEL pin SCENARIO non_blockable ARGS --executions 200000)
slat_model_check(I26_pin_waiters_share_a_bit MODEL pin SCENARIO lock_and_pins ARGS --executions 200000)

set(pin mmu/pin.hpp)
set(word mmu/page_word.hpp)
set(model tests/model/pin_model.cpp)
set(used "DATA RACE" "USER ASSERT FAILED")
slat_model_mutant(I26_pin_no_fence_in_the_pinner MODEL pin FILE ${pin} SCENARIO removal REFUTED_BY ${used}
  FROM1 [[  A::fence(); // pairs with the fence in InvalidateSeq::begin(), before]]
  TO1 [[  // pairs with the fence in InvalidateSeq::begin(), before]])
slat_model_mutant(I26_pin_published_after_the_check MODEL pin FILE ${pin} SCENARIO removal REFUTED_BY ${used}
  FROM1 [[  record.publish(pages);
]]
  TO1 ""
  FROM2 [[if (staleness == Staleness::fresh) return PinAttempt::pinned;]]
  TO2 [[record.publish(pages);
  if (staleness == Staleness::fresh) return PinAttempt::pinned;]])
slat_model_mutant(I26_pin_counted_after_it_is_published MODEL pin FILE ${pin} SCENARIO removal REFUTED_BY ${used}
  FROM1 [[  while (present < pages.count && pages.words[present].try_pin_present()) ++present;
  pages.count = present;]]
  TO1 [[  present = pages.count;]]
  FROM2 [[  const Staleness staleness = sequence.stale(snapshot, pages.start, pages.end());]]
  TO2 [[  const Staleness staleness = sequence.stale(snapshot, pages.start, pages.end());
  for (std::uint64_t i = 0; i < pages.count; ++i)
    if (!pages.words[i].try_pin_present()) std::abort();]])
slat_model_mutant(I26_pin_start_does_not_wait MODEL pin FILE ${pin} SCENARIO removal REFUTED_BY ${used}
  FROM1 [[    word.wait_unpinned();]] TO1 "")
slat_model_mutant(I26_pin_relaxed_unpin MODEL pin FILE ${word} SCENARIO removal REFUTED_BY ${used}
  FROM1 [[compare_exchange_weak(old, fewer, std::memory_order_release,]]
  TO1 [[compare_exchange_weak(old, fewer, std::memory_order_relaxed,]])
slat_model_mutant(I26_pin_nobody_is_woken MODEL pin FILE ${word} SCENARIO removal REFUTED_BY DEADLOCK
  FROM1 [[    if (PageBits(fewer).pins() == 0 && PageBits(old).has(PageBits::waiters)) A::wake_all(word_);]]
  TO1 "")
slat_model_mutant(I26_pin_last_unlock_keeps_the_waiters_asleep MODEL pin FILE ${word} SCENARIO lock_and_pins
  REFUTED_BY DEADLOCK
  FROM1 [[      if (PageBits(fewer).pins() == 0) fewer &= ~PageBits::waiters;]]
  TO1 [[      fewer &= ~PageBits::waiters;]])
slat_model_mutant(I26_pin_snapshot_after_translating MODEL pin FILE ${model} SCENARIO move REFUTED_BY ${used}
  FROM1 [[    const std::uint64_t snapshot = seq.snapshot();
    int page]]
  TO1 [[    int page]]
  FROM2 [[    if (!record[self].try_claim())]]
  TO2 [[    const std::uint64_t snapshot = seq.snapshot();
    if (!record[self].try_claim())]])
slat_model_mutant(I26_pin_translation_entered_unchecked MODEL pin FILE ${model} SCENARIO move REFUTED_BY ${used}
  FROM1 [[if (seq.stale(snapshot, 0, page_bytes) == mmu::Staleness::fresh)]] TO1 "")
