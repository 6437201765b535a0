# cmake --install, and a package config: find_package(slat) and link slat::mmu, slat::kvm or slat::vmm.
include(CMakePackageConfigHelpers)
set(slat_config_dir "${CMAKE_INSTALL_LIBDIR}/cmake/slat")
install(TARGETS slat_mmu slat_kvm slat_vmm EXPORT slat-targets ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
foreach(folder mmu kvm vmm)
  install(DIRECTORY ${folder} DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/slat" FILES_MATCHING PATTERN "*.hpp")
endforeach()
install(EXPORT slat-targets NAMESPACE slat:: DESTINATION "${slat_config_dir}")
configure_package_config_file(tools/cmake/slat-config.cmake.in "${PROJECT_BINARY_DIR}/slat-config.cmake"
                              INSTALL_DESTINATION "${slat_config_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/slat-config-version.cmake"
                                 COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/slat-config.cmake" "${PROJECT_BINARY_DIR}/slat-config-version.cmake"
        DESTINATION "${slat_config_dir}")
install(FILES LICENSE README.md DESTINATION "${CMAKE_INSTALL_DOCDIR}")
