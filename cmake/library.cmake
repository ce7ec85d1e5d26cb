# SPDX-License-Identifier: Apache-2.0
# libzbdkit: the C API as a shared library; and what `cmake --install` installs.

include(GNUInstallDirs)

set(map ${CMAKE_SOURCE_DIR}/src/capi/libzbdkit.map)
add_library(libzbdkit SHARED $<TARGET_OBJECTS:zbdkit_capi>)
target_link_libraries(libzbdkit PRIVATE zbdkit_capi)
zbdkit_optimised_link(libzbdkit)
target_link_options(libzbdkit PRIVATE -Wl,--version-script=${map})
target_include_directories(libzbdkit INTERFACE $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include>
                                               $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
# The number in the library's name changes with everything that breaks programs linked before.
set_target_properties(libzbdkit PROPERTIES OUTPUT_NAME zbdkit VERSION ${PROJECT_VERSION} SOVERSION 0
                                           LINKER_LANGUAGE CXX LINK_DEPENDS ${map})

file(RELATIVE_PATH to_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(${CMAKE_SOURCE_DIR}/cmake/zbdkit.pc.in ${CMAKE_BINARY_DIR}/zbdkit.pc @ONLY)

install(TARGETS zbdkit RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS libzbdkit LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/zbdkit.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${CMAKE_BINARY_DIR}/zbdkit.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
