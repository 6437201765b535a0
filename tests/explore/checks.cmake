# The explorer itself.
slat_explore_check(self-spin PREEMPTIONS 3)
slat_explore_refutes(self-lost-update PROGRAM slat-explore SCENARIO self-lost-update PREEMPTIONS 1 BY "increment")
slat_explore_refutes(self-two-preemptions PROGRAM slat-explore SCENARIO self-two-preemptions BY "met in the middle")
slat_explore_check(self-two-preemptions PREEMPTIONS 1)
slat_explore_refutes(self-deadlock PROGRAM slat-explore SCENARIO self-deadlock PREEMPTIONS 1 BY "deadlock")
slat_explore_refutes(self-livelock PROGRAM slat-explore SCENARIO self-livelock BY "no progress")
slat_explore_refutes(self-lost-wake PROGRAM slat-explore SCENARIO self-lost-wake BY "deadlock")
slat_explore_refutes(self-freed-too-early PROGRAM slat-explore SCENARIO self-freed-too-early BY "has been freed")
foreach(run unregister-callback:any:2 register-range:any:1 fault-unmap:spf:2 fault-unmap:vma-refcount:2
            fault-fault-remove:mmap-lock:1 commit-adjust:spf:2 lookup-recycle:vma-refcount:1 dirty-write:any:2
            dirty-zap:any:1 install-install:any:1)
  string(REPLACE ":" ";" run ${run})
  list(GET run 0 scenario)
  list(GET run 1 design)
  list(GET run 2 preemptions)
  add_test(NAME explore.reduction.${design}.${scenario}
           COMMAND "${CMAKE_COMMAND}" "-DPROGRAM=$<TARGET_FILE:slat-explore>" -DSCENARIO=${scenario} -DDESIGN=${design}
                   -DPREEMPTIONS=${preemptions} -P "${CMAKE_CURRENT_SOURCE_DIR}/same_histories.cmake")
  set_tests_properties(explore.reduction.${design}.${scenario} PROPERTIES LABELS explore TIMEOUT 120)
endforeach()

# The product. As many preemptions, two at least, as take no more than a few seconds.
set(each mmap-lock spf vma-rwsem vma-refcount)
slat_explore_check(unregister-callback PREEMPTIONS 6)
slat_explore_check(register-range PREEMPTIONS 2)
slat_explore_check(fault-unmap PREEMPTIONS 4 DESIGNS ${each})
slat_explore_check(fault-remap PREEMPTIONS 3 DESIGNS ${each})
slat_explore_check(fault-fault-remove PREEMPTIONS 2 DESIGNS ${each})
slat_explore_check(fault-reclaim PREEMPTIONS 3 DESIGNS ${each})
slat_explore_check(fault-track PREEMPTIONS 2 DESIGNS ${each})
slat_explore_check(dma-track PREEMPTIONS 2 DESIGNS ${each})
slat_explore_check(commit-adjust PREEMPTIONS 4 DESIGNS ${each})
slat_explore_check(commit-cut PREEMPTIONS 4 DESIGNS ${each})
slat_explore_check(lookup-recycle PREEMPTIONS 3 DESIGNS ${each})
slat_explore_check(lookup-other-ends PREEMPTIONS 6 DESIGNS vma-rwsem vma-refcount)
slat_explore_check(fault-fault-zap PREEMPTIONS 2 DESIGNS ${each})
slat_explore_check(install-invalidators PREEMPTIONS 2)
slat_explore_check(install-install PREEMPTIONS 2)
slat_explore_check(split-fault-zap PREEMPTIONS 3)
slat_explore_check(dirty-write PREEMPTIONS 5)
slat_explore_check(dirty-write-protect PREEMPTIONS 4)
slat_explore_check(dirty-zap PREEMPTIONS 3)
slat_explore_check(dma-discard PREEMPTIONS 3 DESIGNS ${each})
slat_explore_check(dma-unmap PREEMPTIONS 4 DESIGNS ${each})

# Beyond the bounds: some executions of each, at random.
add_test(NAME explore.random COMMAND slat-explore run --random 300 --depth 6)
set_tests_properties(explore.random PROPERTIES LABELS explore TIMEOUT 120)
