# Negative controls: the product with one thing broken, which must be refuted by a schedule that fails again when it is
# replayed.
slat_explore_mutant(I20_fault_not_checked_under_the_page_lock FILE mmu/fault.cpp SOURCES mmu/fault.cpp
  SCENARIO fault-fault-remove DESIGN vma-refcount BY "installed between|can reach"
  FROM1 [[if (staleness != Staleness::fresh) {]] TO1 [[if (staleness != Staleness::fresh && run.count == 0) {]])
slat_explore_mutant(I20_departure_does_not_wait_for_page_owners FILE mmu/departure.hpp
  SOURCES mmu/address_space.cpp mmu/address_space_advise.cpp
  SCENARIO fault-fault-remove DESIGN vma-refcount BY "installed between|can reach|nobody fills|freed"
  FROM1 [[AddressSpace::wait_for_page_owners(views, fills == Fills::wait_for, PageBits::installed);]] TO1 [[(void)fills;]])
slat_explore_mutant(I14_speculation_is_not_committed FILE mmu/fault.cpp SOURCES mmu/fault.cpp
  SCENARIO fault-remap DESIGN spf BY "unmap|freed|not empty|installed|resident"
  FROM1 [[if (!design_.commit(ticket)) {]] TO1 [[if (!design_.commit(ticket) && backing_ == nullptr) {]])
slat_explore_mutant(I14_neighbours_are_not_committed FILE mmu/fault.cpp SOURCES mmu/fault.cpp
  SCENARIO fault-around-unmap DESIGN spf BY "content after its unmap|not empty|resident"
  FROM1 [[if (run.count > 1 && !design_.commit(ticket)) {]]
  TO1 [[if (run.count > 1 && !design_.commit(ticket) && backing_ == nullptr) {]])
slat_explore_mutant(I23_unregister_does_not_wait FILE mmu/notifier.cpp SOURCES mmu/notifier.cpp
  SCENARIO unregister-callback BY "unregistered|freed"
  FROM1 [[  srcu_.synchronize(); // the last range or aging call that saw the old list is over
]] TO1 "")
slat_explore_mutant(I19_register_does_not_wait_for_ranges FILE mmu/notifier.cpp SOURCES mmu/notifier.cpp
  SCENARIO register-range BY "missed"
  FROM1 [[    while (ranges_ != 0) gate.wait(gate_changed_);
]] TO1 "")
slat_explore_mutant(I01_vma_of_another_mm_is_locked FILE mmu/vma_lock/vma_refcount.hpp
  SOURCES mmu/address_space.cpp mmu/fault.cpp
  SCENARIO lookup-recycle DESIGN vma-refcount BY "not the one looked up|I01"
  FROM1 [=[if (owner != &mm) [[unlikely]] {]=] TO1 [=[if (owner == nullptr) [[unlikely]] {]=])
slat_explore_mutant(I02_vma_checked_before_the_increment_only FILE mmu/vma_lock/vma_refcount.hpp
  SOURCES mmu/address_space.cpp mmu/fault.cpp
  SCENARIO fault-remap DESIGN vma-refcount BY "content after its unmap"
  FROM1 [[      vma_end_read();
      return VmaReadLock::contended;
    }
    return VmaReadLock::locked;]] TO1 [[      return VmaReadLock::locked;
    }
    return VmaReadLock::locked;]])
slat_explore_mutant(I16_backing_closed_under_a_fault FILE mmu/vma_lock/per_vma_lock.hpp
  SOURCES mmu/address_space.cpp
  SCENARIO fault-unmap DESIGN vma-refcount BY "freed|signal"
  FROM1 [[backing->put_after(*fault_srcu_);]] TO1 [[backend_put(backing);]]
  FROM2 [[  static void free_mm(MmShared* shared) { delete shared; }]]
  TO2 [[  static void free_mm(MmShared* shared) { delete shared; }
  static void backend_put(Backing* backing) { backing->put(); }]])
slat_explore_mutant(I32_dirty_log_read_before_the_flush FILE mmu/stage2/stage2_dirty.hpp
  SOURCES mmu/stage2/stage2_table.cpp
  SCENARIO dirty-write BY "in no reading"
  FROM1 [[  flush(flush_from, flush_to);
  const std::uint64_t first]] TO1 [[  const std::uint64_t first]])
slat_explore_mutant(I29_install_one_frozen_for_all FILE mmu/stage2/entry.cpp SOURCES mmu/stage2/entry.cpp
  SCENARIO install-install BY "freed"
  FROM1 [[last.fetch_add(1, std::memory_order_relaxed) + 1)]] TO1 [[last.load() | 1)]])
slat_explore_mutant(I20_install_one_phase FILE mmu/install.hpp SOURCES stage2_scenarios.cpp
  SCENARIO install-invalidators BY "freed"
  FROM1 [[compare_exchange_strong(expected, frozen, std::memory_order_relaxed,]]
  TO1 [[compare_exchange_strong(expected, old_entry, std::memory_order_relaxed,]]
  FROM2 [[expected = frozen;]] TO2 [[(void)frozen; expected = old_entry;]])
slat_explore_mutant(I20_split_by_a_plain_store FILE mmu/stage2/protocol.hpp
  SOURCES mmu/stage2/stage2_table.cpp stage2_scenarios.cpp
  SCENARIO split-fault-zap BY "freed"
  FROM1 [[  return entry.compare_exchange_strong(old, F::table(address_of(child)), std::memory_order_release,
                                       std::memory_order_relaxed);]]
  TO1 [[  (void)old;
  entry.store(F::table(address_of(child)), std::memory_order_release);
  return true;]])
slat_explore_mutant(I36_flush_does_not_wait_for_vcpus FILE mmu/stage2/vcpu_flush.hpp SOURCES stage2_scenarios.cpp
  SCENARIO install-invalidators BY "freed page"
  FROM1 [[if (over(ticket)) return;]] TO1 [[if (over(ticket) || ticket != 0) return;]])
slat_explore_mutant(I26_range_does_not_wait_for_pins FILE mmu/translation_cache.cpp SOURCES mmu/translation_cache.cpp
  SCENARIO dma-discard DESIGN vma-refcount BY "pinned page was freed"
  FROM1 [[  if (!drain(range.start, range.end, range.blockable)) return false;
]] TO1 "")
slat_explore_mutant(I05_vma_put_without_a_pin FILE mmu/vma_lock/vma_refcount.hpp
  SOURCES mmu/address_space.cpp mmu/fault.cpp
  SCENARIO lookup-other-ends DESIGN vma-refcount PREEMPTIONS 5 BY "freed"
  FROM1 [[      owner->grab();
      vma_end_read();
      if (owner->drop()) free_mm(owner);]] TO1 [[      vma_end_read();
      if (false) free_mm(owner);]])
slat_explore_mutant(I40_page_filled_twice FILE mmu/page_word.hpp SOURCES mmu/fault.cpp
  SCENARIO fault-fault-remove DESIGN vma-refcount BY "filled twice|nobody fills"
  FROM1 [[      if (word_.compare_exchange_weak(old, filling, std::memory_order_acquire,
                                      std::memory_order_relaxed))
        return FillClaim::claimed;]]
  TO1 [[      word_.store(filling, std::memory_order_relaxed);
      return FillClaim::claimed;]])
slat_explore_mutant(page_word_nobody_is_woken FILE mmu/page_word.hpp SOURCES mmu/fault.cpp mmu/address_space.cpp
  mmu/address_space_advise.cpp mmu/mmu_gather.cpp
  SCENARIO fault-fault-remove DESIGN vma-refcount BY "deadlock"
  FROM1 [[    if (PageBits(old).has(PageBits::waiters)) A::wake_all(word_);
  }

  /// One round]] TO1 [[  }

  /// One round]])
slat_explore_mutant(I27_reclaim_copies_before_the_flush FILE mmu/address_space_reclaim.cpp SOURCES mmu/address_space_reclaim.cpp
  SCENARIO fault-reclaim DESIGN vma-refcount BY "lost|can reach"
  FROM1 [[  MmuGather(flushers_, *counters_, batch.start, batch.end).flush().keep();
]] TO1 "")
slat_explore_mutant(I27_migration_copies_before_the_flush FILE mmu/departure.hpp SOURCES mmu/address_space_migrate.cpp
  SCENARIO fault-migrate DESIGN vma-refcount BY "lost|can reach"
  FROM1 [[    FlushedPages flushed = gather_->flush();
    move();]] TO1 [[    move();
    FlushedPages flushed = gather_->flush();]])
slat_explore_mutant(I38_migration_leaves_the_slot_behind FILE mmu/address_space_migrate.cpp SOURCES mmu/address_space_migrate.cpp
  SCENARIO reclaim-migrate DESIGN vma-refcount BY "slot|lost|nobody"
  FROM1 [[      old.unlock_empty(); // the slot has another owner now]] TO1 [[      old.unlock();]])
slat_explore_mutant(I31_tracked_page_is_installed_writable FILE mmu/fault.cpp SOURCES mmu/fault.cpp
  SCENARIO fault-track DESIGN vma-refcount BY "a write is not told|is writable"
  FROM1 [[const bool writable = writable_ && !protect_;]] TO1 [[const bool writable = writable_;]])
slat_explore_mutant(I31_tracked_page_is_written_and_not_told FILE mmu/fault.cpp SOURCES mmu/fault.cpp
  SCENARIO fault-track DESIGN vma-refcount BY "a write is not told|is writable"
  FROM1 [[    backing_->word(page_).clear_flags(PageBits::write_tracked);
]] TO1 "")
slat_explore_mutant(I31_tracking_begins_before_the_flush FILE mmu/address_space_track.cpp SOURCES mmu/address_space_track.cpp
  SCENARIO fault-track DESIGN vma-refcount BY "a write is not told|is writable"
  FROM1 [[  MmuGather(flushers_, *counters_, batch.start, batch.end).flush().keep();
]] TO1 "")
slat_explore_mutant(I20_tracking_does_not_wait_for_installs FILE mmu/address_space_track.cpp SOURCES mmu/address_space_track.cpp
  SCENARIO fault-track DESIGN vma-refcount BY "a write is not told|is writable|installed between"
  FROM1 [[  wait_for_page_owners(views, false, 0); ]] TO1 "  ")
slat_explore_mutant(I26_pin_for_writing_is_not_told FILE mmu/translation_cache.cpp SOURCES mmu/translation_cache.cpp
  SCENARIO dma-track DESIGN vma-refcount BY "a write is not told"
  FROM1 [[  if ((request.access & vm_write) != 0) note_writes(pages);
]] TO1 "")
