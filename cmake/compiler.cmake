# SPDX-License-Identifier: Apache-2.0
# Which compilers build zbdkit, and how strictly.

if((CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 19)
   OR (CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 14)
   OR NOT CMAKE_CXX_COMPILER_ID MATCHES "^(Clang|GNU)$")
  message(FATAL_ERROR "zbdkit needs clang >= 19 or GCC >= 14, found ${CMAKE_CXX_COMPILER_ID} "
                      "${CMAKE_CXX_COMPILER_VERSION}: older compilers miscompile coroutines "
                      "(docs/style.md, Compilers). Try: cmake --preset dev")
endif()

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
# Everything can go into the shared library, which shows nothing but its C functions.
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)

find_program(ZBDKIT_CCACHE ccache)
if(ZBDKIT_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER ${ZBDKIT_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${ZBDKIT_CCACHE})
endif()

set(ZBDKIT_LTO_OPTIONS -flto=thin -ffat-lto-objects)

# Optimises the program or library across source files, if the build does that at all.
function(zbdkit_optimised_link target)
  if(ZBDKIT_LTO)
    target_link_options(${target} PRIVATE ${ZBDKIT_LTO_OPTIONS})
  endif()
endfunction()

function(zbdkit_compiler_settings)
  add_library(zbdkit_settings INTERFACE)
  target_compile_options(zbdkit_settings INTERFACE
    -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wswitch-enum
    -Wnon-virtual-dtor -Wold-style-cast -Werror -fno-omit-frame-pointer)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC 14 warns of our designated initializers with defaults and inside libstdc++ expected.
    target_compile_options(zbdkit_settings INTERFACE
      -Wno-missing-field-initializers -Wno-maybe-uninitialized)
  else()
    # The kernel's uapi structs end in zero-length arrays.
    target_compile_options(zbdkit_settings INTERFACE -Wno-missing-designated-field-initializers
                                                     -Wno-zero-length-array)
  endif()
  target_include_directories(zbdkit_settings INTERFACE ${CMAKE_SOURCE_DIR}/src
                                                       ${CMAKE_SOURCE_DIR}/include)
  target_compile_definitions(zbdkit_settings INTERFACE ZBDKIT_VERSION="${PROJECT_VERSION}")
  if(ZBDKIT_SANITIZE)
    target_compile_options(zbdkit_settings INTERFACE -fsanitize=${ZBDKIT_SANITIZE}
                                                     -fno-sanitize-recover=all)
    target_link_options(zbdkit_settings INTERFACE -fsanitize=${ZBDKIT_SANITIZE})
  endif()
  if(ZBDKIT_LTO)
    # Both forms in each object, so that only what is to be fast pays for the longer link.
    target_compile_options(zbdkit_settings INTERFACE ${ZBDKIT_LTO_OPTIONS})
  endif()
  if(ZBDKIT_LIBFUZZER)
    target_compile_options(zbdkit_settings INTERFACE -fsanitize=fuzzer-no-link)
  endif()
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    # bpftrace 0.17 and bcc take a probe's address for its place in the file; lld makes the two equal
    # only when it is asked to.
    target_link_options(zbdkit_settings INTERFACE -fuse-ld=lld -Wl,-z,separate-loadable-segments)
  endif()
endfunction()
