# slat_own_unit(file.cpp ...): files with local names that a neighbour has too, compiled alone in unity builds.
function(slat_own_unit)
  set_source_files_properties(${ARGN} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

# One static library per folder. A folder's headers are reached as "folder/file.hpp" through a private include
# root that holds that folder alone, so an include that crosses the layers (tools/check_includes.sh) does not compile.
#   slat_library(mmu SOURCES ... DEPENDS ...)
function(slat_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  set(root "${PROJECT_BINARY_DIR}/include/${name}")
  file(MAKE_DIRECTORY "${root}")
  file(CREATE_LINK "${CMAKE_CURRENT_SOURCE_DIR}" "${root}/${name}" SYMBOLIC)
  add_library(slat_${name} STATIC ${ARG_SOURCES})
  add_library(slat::${name} ALIAS slat_${name})
  set_target_properties(slat_${name} PROPERTIES EXPORT_NAME ${name})
  target_compile_features(slat_${name} PUBLIC cxx_std_20) # the headers need it, in other projects too
  target_include_directories(slat_${name} PUBLIC
    $<BUILD_INTERFACE:${root}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/slat>)
  target_link_libraries(slat_${name} PUBLIC ${ARG_DEPENDS} PRIVATE $<BUILD_INTERFACE:slat_options>)
endfunction()

# What makes tests compile in less than half the time: GoogleTest and the standard headers compiled once, and light
# optimisation, for it is the product that has to be fast. (What AddressSanitizer and UBSan put in takes clang five times
# as long to optimise; under ThreadSanitizer tests without optimisation lose more time than their compilation gains.)
function(slat_use_test_headers name)
  set(light $<$<NOT:$<CONFIG:Debug>>:-O1;-g1>)
  if(SLAT_SANITIZE MATCHES "address")
    set(light -O0)
  endif()
  # g++ forgets that a macro in a precompiled header came from a system header, and warns of what GoogleTest's expand
  # to; clang does not, and checks the same files.
  target_compile_options(${name} PRIVATE ${light} $<$<CXX_COMPILER_ID:GNU>:-Wno-shadow;-Wno-dangling-else>)
  if(NOT TARGET slat_test_headers)
    set(source "${PROJECT_BINARY_DIR}/slat_test_headers.cpp")
    file(CONFIGURE OUTPUT "${source}" CONTENT "// Only its precompiled header matters.\n")
    add_executable(slat_test_headers "${source}")
    target_link_libraries(slat_test_headers PRIVATE slat_options GTest::gmock GTest::gtest_main)
    target_compile_options(slat_test_headers PRIVATE ${light})
    target_precompile_headers(slat_test_headers PRIVATE
      <gmock/gmock.h> <gtest/gtest.h> <algorithm> <array> <atomic> <chrono> <condition_variable> <functional>
      <map> <memory> <mutex> <optional> <random> <span> <string> <thread> <vector>)
  endif()
  target_precompile_headers(${name} REUSE_FROM slat_test_headers)
endfunction()

# A GoogleTest executable; every test case becomes a CTest test of its own. Under sanitizers, where a process takes long
# to start, the unit tests of an executable are one.
#   slat_test(name SOURCES ... LIBS ... [LABELS ...] [TIMEOUT seconds] [SERIAL] [EACH_DESIGN] [EACH_ACCEL])
# EACH_DESIGN: once for every design of VMA locking, by SLAT_TEST_VMA_LOCK. EACH_ACCEL: once on KVM and once on software
# vCPUs, by SLAT_TEST_ACCEL; under sanitizers with one design there.
function(slat_test name)
  cmake_parse_arguments(ARG "SERIAL;EACH_DESIGN;EACH_ACCEL" "TIMEOUT" "SOURCES;LIBS;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBS} slat_options GTest::gmock GTest::gtest_main)
  slat_use_test_headers(${name})
  set_target_properties(${name} PROPERTIES UNITY_BUILD ON)
  set(props LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT})
  if(ARG_SERIAL)
    list(APPEND props RUN_SERIAL ON)
  endif()
  set(designs any)
  if(ARG_EACH_DESIGN)
    set(designs mmap-lock spf vma-rwsem vma-refcount)
  endif()
  set(accels any)
  if(ARG_EACH_ACCEL)
    set(accels kvm soft)
  endif()
  foreach(accel IN LISTS accels)
    foreach(design IN LISTS designs)
      if(SLAT_SANITIZE AND accel STREQUAL soft AND NOT design MATCHES "any|vma-refcount")
        continue() # slow; the designs are the same ones as with KVM
      endif()
      set(prefix "${accel}.${design}.")
      string(REPLACE "any." "" prefix "${prefix}")
      set(environment "")
      if(NOT design STREQUAL any)
        list(APPEND environment ENVIRONMENT "SLAT_TEST_VMA_LOCK=${design}")
      endif()
      if(NOT accel STREQUAL any) # another property: a list in one of them would not survive the way through CTest's files
        list(APPEND environment ENVIRONMENT_MODIFICATION "SLAT_TEST_ACCEL=set:${accel}")
      endif()
      if(SLAT_SANITIZE AND ARG_LABELS STREQUAL unit)
        add_test(NAME ${prefix}${name} COMMAND ${name} --gtest_brief=1)
        set_tests_properties(${prefix}${name} PROPERTIES ${props} TIMEOUT 900 ${environment})
        continue()
      endif()
      gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST TEST_PREFIX "${prefix}" TEST_LIST "${name}-${prefix}"
                           PROPERTIES ${props} ${environment})
    endforeach()
  endforeach()
endfunction()
