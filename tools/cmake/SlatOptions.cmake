# slat_options: what every translation unit of slat (but no guest image) is compiled with.
add_library(slat_options INTERFACE)
target_compile_features(slat_options INTERFACE cxx_std_20)
target_compile_options(slat_options INTERFACE
  -Wall -Wextra -Wconversion -Werror
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>)
# No `extern thread_local` here has an initialiser to run: neither slat's own nor liburcu's, which g++ would else look for
# five times in each RCU section.
target_compile_options(slat_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-fno-extern-tls-init>)
target_compile_definitions(slat_options INTERFACE
  $<$<BOOL:${SLAT_CHECKED}>:SLAT_CHECKED=1>
  $<$<BOOL:${SLAT_MIMALLOC}>:SLAT_MIMALLOC=1>)
# Unity builds compile eight sources in one: half the time. A local name may then meet a neighbour's, so no -Wshadow. The
# sanitizer and debug presets do so with everything, the release presets with tests and the command. See slat_own_unit().
# g++ takes an anonymous namespace in what is included for one in a header.
set(in_unity $<BOOL:$<TARGET_PROPERTY:UNITY_BUILD>>)
target_compile_options(slat_options INTERFACE
  $<$<NOT:${in_unity}>:-Wshadow>
  $<$<AND:${in_unity},$<CXX_COMPILER_ID:GNU>>:-Wno-subobject-linkage>)
# A symbol table that --wrap and backtraces can use, and no surprises from a missing symbol at run time.
target_link_options(slat_options INTERFACE -Wl,-z,defs)

if(SLAT_SANITIZE)
  if(SLAT_MIMALLOC)
    message(FATAL_ERROR "mimalloc hides errors from sanitizers: configure with -DSLAT_MIMALLOC=OFF.")
  endif()
  target_compile_options(slat_options INTERFACE -fsanitize=${SLAT_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(slat_options INTERFACE -fsanitize=${SLAT_SANITIZE} -Wl,-z,undefs)
  if(SLAT_SANITIZE MATCHES "undefined")
    target_compile_options(slat_options INTERFACE -fno-sanitize-recover=all)
    target_link_options(slat_options INTERFACE -fno-sanitize-recover=all)
  endif()
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # g++ 12 follows no bounds through a sanitizer's instrumentation: it takes the move of a std::string for a copy past
    # its 16 inline bytes. The presets without sanitizers compile the same sources with both warnings, and the sanitizer
    # itself would find a real one.
    target_compile_options(slat_options INTERFACE -Wno-array-bounds -Wno-stringop-overflow)
  endif()
  if(SLAT_SANITIZE MATCHES "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # g++ 12: its TSan warns of every fence, and its runtime dies at start under high address randomisation.
    target_compile_options(slat_options INTERFACE -Wno-tsan)
    set(CMAKE_CROSSCOMPILING_EMULATOR setarch;x86_64;-R)
  endif()
endif()
