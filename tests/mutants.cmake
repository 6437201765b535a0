# Which mutants of the protocols are built (SLAT_MUTANTS): none, all, or the core, which CI has time for: for each protocol
# the mistakes that are easiest to make.
set(slat_core_mutants
  I02_vma_relaxed_put
  I03_rwsem_detach_does_not_wait
  I03_vma_detach_does_not_wait
  I07_rwsem_relaxed_attach
  I07_vma_relaxed_attach
  I08_vma_relaxed_mm_unlock
  I14_spf_no_fence_in_commit
  I16_spf_backing_closed_before_the_grace_period
  I20_fault_not_checked_under_the_page_lock
  I20_install_one_phase
  I20_stage2_collapse_in_one_phase
  I21_invalidate_no_fence_in_the_fault
  I23_unregister_does_not_wait
  I26_pin_relaxed_unpin
  I31_device_without_a_fence
  I33_stage2_relaxed_link
  I36_vcpu_flush_no_fence_in_enter
  magazine_relaxed_unlock
  page_word_relaxed_unlock
  srcu_no_reader_fence
  srcu_one_phase
  thread_slot_relaxed_give_back)

if(NOT SLAT_MUTANTS MATCHES "^(none|core|all)$")
  message(FATAL_ERROR "SLAT_MUTANTS is '${SLAT_MUTANTS}': give none, core or all.")
endif()

function(slat_builds_mutant result name)
  set(${result} OFF PARENT_SCOPE)
  if(SLAT_MUTANTS STREQUAL "all" OR (SLAT_MUTANTS STREQUAL "core" AND name IN_LIST slat_core_mutants))
    set(${result} ON PARENT_SCOPE)
  endif()
  set_property(GLOBAL APPEND PROPERTY slat_known_mutants ${name})
endfunction()
