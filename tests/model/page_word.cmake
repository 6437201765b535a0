slat_model(page_word)
slat_model_check(page_word_lock_excludes_and_wakes MODEL page_word SCENARIO lock_excludes ARGS --executions 200000)
slat_model_check(page_word_lock_every_two_preemptions MODEL page_word SCENARIO lock_excludes_two
  ARGS --search bound --seconds 120)
slat_model_check(I40_page_word_filled_once MODEL page_word SCENARIO fill_once ARGS --executions 200000)
slat_model_check(I40_page_word_filled_once_every_two_preemptions MODEL page_word SCENARIO fill_once_two
  ARGS --search bound --seconds 120)
slat_model_check(I40_page_word_filled_once_per_emptying MODEL page_word SCENARIO fill_and_empty
  ARGS --executions 200000)
slat_model_check(I31_page_word_flags_survive MODEL page_word SCENARIO flags_survive ARGS --executions 50000)
slat_model_check(I38_page_word_reclaim_keeps_the_content MODEL page_word SCENARIO reclaim_keeps
  ARGS --executions 200000)
slat_model_check(I38_page_word_reclaim_every_two_preemptions MODEL page_word SCENARIO reclaim_keeps_one
  ARGS --search bound --seconds 120)

set(header mmu/page_word.hpp)
set(model tests/model/page_word_model.cpp)
set(torn "DATA RACE" "USER ASSERT FAILED")
# The waiter says so in a word of its own: the owner's unlock and its look at that word are not one step.
slat_model_mutant(page_word_waiters_in_another_word MODEL page_word FILE ${header} SCENARIO lock_excludes
  REFUTED_BY DEADLOCK
  FROM1 [[typename A::template atomic<std::uint64_t> word_{0};]]
  TO1 [[typename A::template atomic<std::uint64_t> word_{0};
  typename A::template atomic<std::uint32_t> announced_{0};]]
  FROM2 [[if (PageBits(old).has(PageBits::waiters)) A::wake_all(word_);]]
  TO2 [[if (announced_.load(std::memory_order_relaxed) != 0) A::wake_all(word_);]]
  FROM3 [[if (!PageBits(old).has(PageBits::waiters)) {]]
  TO3 [[announced_.store(1, std::memory_order_relaxed);
    if (false) {]]
  FROM4 [[static_assert(sizeof(PageWord) == 8);]] TO4 "")
slat_model_mutant(page_word_relaxed_unlock MODEL page_word FILE ${header} SCENARIO lock_excludes REFUTED_BY ${torn}
  FROM1 [[compare_exchange_weak(old, fresh, std::memory_order_release,]]
  TO1 [[compare_exchange_weak(old, fresh, std::memory_order_relaxed,]])
slat_model_mutant(page_word_nobody_is_woken MODEL page_word FILE ${header} SCENARIO lock_excludes REFUTED_BY DEADLOCK
  FROM1 [[if (PageBits(old).has(PageBits::waiters)) A::wake_all(word_);]] TO1 "")
slat_model_mutant(page_word_relaxed_claim MODEL page_word FILE ${header} SCENARIO fill_and_empty REFUTED_BY ${torn}
  FROM1 [[compare_exchange_weak(old, filling, std::memory_order_acquire,]]
  TO1 [[compare_exchange_weak(old, filling, std::memory_order_relaxed,]])
slat_model_mutant(page_word_present_without_acquire MODEL page_word FILE ${header} SCENARIO fill_once
  REFUTED_BY ${torn}
  FROM1 [[const PageBits now = read();]] TO1 [[const PageBits now(word_.load(std::memory_order_relaxed));]])
slat_model_mutant(I40_page_word_claim_by_a_plain_store MODEL page_word FILE ${header} SCENARIO fill_once
  REFUTED_BY ${torn}
  FROM1 [[word_.compare_exchange_weak(old, filling, std::memory_order_acquire,
                                      std::memory_order_relaxed)]]
  TO1 [[word_.store(filling, std::memory_order_seq_cst), true]])
slat_model_mutant(I31_page_word_flag_by_a_plain_store MODEL page_word FILE ${header} SCENARIO flags_survive
  REFUTED_BY "USER ASSERT FAILED" DEADLOCK LIVELOCK
  FROM1 [[word_.fetch_or(flags, std::memory_order_relaxed);]]
  TO1 [[word_.store(word_.load(std::memory_order_relaxed) | flags, std::memory_order_relaxed);]])
slat_model_mutant(I38_page_word_punch_after_the_unlock MODEL page_word FILE ${model} SCENARIO reclaim_keeps
  REFUTED_BY ${torn}
  FROM1 [[page.content.set(0); // the punch
      page.word.unlock_reclaimed(slot);]]
  TO1 [[page.word.unlock_reclaimed(slot);
      page.content.set(0);]])
slat_model_mutant(I38_page_word_slot_dropped_before_it_is_read MODEL page_word FILE ${model} SCENARIO reclaim_keeps
  REFUTED_BY ${torn}
  FROM1 [[page.content.set(slots[slot].get());]]
  TO1 [[slots[slot].set(-1);
      page.content.set(slots[slot].get());]])
slat_model_mutant(I38_page_word_reclaimed_without_its_slot MODEL page_word FILE ${header} SCENARIO reclaim_keeps
  REFUTED_BY ${torn}
  FROM1 [[if (!keep_slot) fresh &= (std::uint64_t(1) << PageBits::slot_shift) - 1;
      fresh |= std::uint64_t(to) | set;]]
  TO1 [[fresh |= std::uint64_t(to) | set;
      if (!keep_slot) fresh &= (std::uint64_t(1) << PageBits::slot_shift) - 1;]])
slat_model_mutant(I38_page_word_reclaimed_by_a_plain_store MODEL page_word FILE ${header} SCENARIO reclaim_keeps
  REFUTED_BY ${torn} DEADLOCK
  FROM1 [[release_as(PageState::reclaimed, std::uint64_t(slot) << PageBits::slot_shift,
               PageBits::flags & ~PageBits::write_tracked, false);]]
  TO1 [[word_.store(std::uint64_t(slot) << PageBits::slot_shift | std::uint64_t(PageState::reclaimed),
                std::memory_order_release);]])
