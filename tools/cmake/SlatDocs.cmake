# `cmake --build build/release --target docs`: the API reference, in build/release/docs/html. Not part of `all`.
find_program(SLAT_DOXYGEN doxygen)
mark_as_advanced(SLAT_DOXYGEN)
if(SLAT_DOXYGEN)
  add_custom_target(docs
    COMMAND "${CMAKE_COMMAND}" -E make_directory "${PROJECT_BINARY_DIR}/docs"
    COMMAND "${CMAKE_COMMAND}" -E env "SLAT_DOCS_OUT=${PROJECT_BINARY_DIR}/docs" "SLAT_VERSION=${PROJECT_VERSION}"
      "${SLAT_DOXYGEN}" docs/Doxyfile
    WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
    COMMENT "API reference: ${PROJECT_BINARY_DIR}/docs/html/index.html" VERBATIM)
else()
  add_custom_target(docs
    COMMAND "${CMAKE_COMMAND}" -E echo "doxygen is not installed: apt-get install doxygen, then cmake --preset again"
    COMMAND "${CMAKE_COMMAND}" -E false VERBATIM)
endif()
