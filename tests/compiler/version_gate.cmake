# SPDX-License-Identifier: Apache-2.0
# Configures zbdkit with each compiler of this host that is too old for it, and expects one clear
# refusal. Usage: cmake -DSOURCE=<zbdkit> -DBINARY=<scratch> -P version_gate.cmake

# Sets ${result} to what the gate will call the compiler, or to "" if it is new enough or absent.
function(find_old_compiler result program pattern oldest_good)
  set(${result} "" PARENT_SCOPE)
  find_program(path_${program} ${program})
  if(NOT path_${program})
    return()
  endif()
  execute_process(COMMAND ${path_${program}} --version OUTPUT_VARIABLE text ERROR_QUIET)
  if(text MATCHES "${pattern}([0-9]+\\.[0-9]+\\.[0-9]+)" AND CMAKE_MATCH_1 VERSION_LESS oldest_good)
    set(${result} ${CMAKE_MATCH_1} PARENT_SCOPE)
  endif()
endfunction()

function(expect_refusal program name)
  set(folder ${BINARY}/${program})
  file(REMOVE_RECURSE ${folder})
  execute_process(
    COMMAND ${CMAKE_COMMAND} -S ${SOURCE} -B ${folder} -G Ninja -DCMAKE_CXX_COMPILER=${program}
    RESULT_VARIABLE code OUTPUT_QUIET ERROR_VARIABLE text)
  file(REMOVE_RECURSE ${folder})
  string(REGEX REPLACE "[ \n]+" " " line "${text}")  # cmake wraps what it prints
  set(expected "zbdkit needs clang >= 19 or GCC >= 14, found ${name}")
  string(FIND "${line}" "${expected}" place)
  if(code EQUAL 0 OR place EQUAL -1)
    message(FATAL_ERROR "${program}: expected a refusal saying '${expected}', got: ${text}")
  endif()
  message(STATUS "${name} is refused")
endfunction()

set(checked 0)
find_old_compiler(gnu g++ "g\\+\\+.*\\) " 14)
if(gnu)
  expect_refusal(g++ "GNU ${gnu}")
  math(EXPR checked "${checked} + 1")
endif()
find_old_compiler(clang clang++ "clang version " 19)
if(clang)
  expect_refusal(clang++ "Clang ${clang}")
  math(EXPR checked "${checked} + 1")
endif()
if(checked EQUAL 0)
  message(STATUS "skipped: no g++ < 14 and no clang++ < 19 on this host")
endif()
