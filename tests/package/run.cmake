# Installs slat into a scratch prefix, then configures, builds and runs consumer/ against nothing but that prefix.
cmake_minimum_required(VERSION 3.25)

function(run what)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${what} failed (${result}):\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

# The README shows this very program, so that what users copy is what is tested.
file(READ "${CONSUMER}/main.cpp" program)
file(READ "${README}" readme)
string(FIND "${readme}" "```cpp\n${program}```" found)
if(found EQUAL -1)
  message(FATAL_ERROR "The program in ${README} is not ${CONSUMER}/main.cpp: copy it there.")
endif()

file(REMOVE_RECURSE "${SCRATCH}")
run("cmake --install" "${CMAKE_COMMAND}" --install "${SLAT_BUILD}" --prefix "${SCRATCH}/prefix")
foreach(file share/man/man1/slat.1 share/bash-completion/completions/slat share/zsh/site-functions/_slat
        share/fish/vendor_completions.d/slat.fish)
  if(NOT EXISTS "${SCRATCH}/prefix/${file}")
    message(FATAL_ERROR "cmake --install has not installed ${file}")
  endif()
endforeach()
run("configuring the consumer" "${CMAKE_COMMAND}" -G Ninja -S "${CONSUMER}" -B "${SCRATCH}/build"
    "-DCMAKE_PREFIX_PATH=${SCRATCH}/prefix" "-DCMAKE_CXX_COMPILER=${CXX}" "-DEXPECT_CHECKED=${CHECKED}")
run("building the consumer" "${CMAKE_COMMAND}" --build "${SCRATCH}/build")
run("the consumer" "${SCRATCH}/build/consumer")
if(NOT output MATCHES "installed 4 pages" OR NOT output MATCHES "fault after unmap: nothing is mapped there")
  message(FATAL_ERROR "The consumer printed something else:\n${output}")
endif()
run("the installed slat --version" "${SCRATCH}/prefix/bin/slat" --version)
run("the installed slat-full, found in libexec" "${SCRATCH}/prefix/bin/slat" doctor --help)
