# SPDX-License-Identifier: Apache-2.0
# Fuzzers: a file x_fuzz.cc defines LLVMFuzzerTestOneInput. With ZBDKIT_LIBFUZZER it is a libFuzzer
# program; otherwise it is linked with a driver that feeds it its seeds and seeded random inputs,
# which is its entry in ctest. dev/fuzz is for long runs.

# Inputs of an entry. A fuzzer of a whole image or connection does a thousand times the work of a
# parser's.
function(zbdkit_fuzz_runs name output)
  set(${output} 100000 PARENT_SCOPE)
  if(name MATCHES "^(blk_device|filter_options|inflight|io_words|node_options)_fuzz$")
    set(${output} 20000 PARENT_SCOPE)
  elseif(name MATCHES "^(blk_ring|image_check|session)_fuzz$")
    set(${output} 1000 PARENT_SCOPE)
  endif()
endfunction()

set(ZBDKIT_CORPUS ${CMAKE_BINARY_DIR}/corpus)

# The seeds are made once in each run of ctest, before the entries that use them.
function(zbdkit_fuzz_corpus)
  if(TEST fuzz.corpus)
    return()
  endif()
  find_program(ZBDKIT_PYTHON NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH)
  find_program(ZBDKIT_PYTHON NAMES python3 REQUIRED)
  add_test(NAME fuzz.corpus COMMAND ${ZBDKIT_PYTHON} -B ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus.py
                                    ${ZBDKIT_CORPUS})
  set_tests_properties(fuzz.corpus PROPERTIES LABELS fuzz FIXTURES_SETUP fuzz_corpus)
endfunction()

# zbdkit_fuzzer(NAME SOURCE LIBRARY)
function(zbdkit_fuzzer name source library)
  add_executable(${name} ${source})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${library})
  if(ZBDKIT_LIBFUZZER)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    return()
  endif()
  target_sources(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/fuzz/smoke_main.cc)
  zbdkit_fuzz_runs(${name} runs)
  zbdkit_fuzz_corpus()
  add_test(NAME fuzz.${name} COMMAND ${name} --runs=${runs} --corpus=${ZBDKIT_CORPUS}/${name})
  set_tests_properties(fuzz.${name} PROPERTIES LABELS fuzz TIMEOUT 300
                                               FIXTURES_REQUIRED fuzz_corpus)
endfunction()

# zbdkit_fuzz_canary(FUZZER CANARY MESSAGE): with this bug planted the fuzzer must find it and say so.
function(zbdkit_fuzz_canary name canary message)
  if(ZBDKIT_LIBFUZZER)
    return()
  endif()
  add_test(NAME fuzz.canary.${canary}
           COMMAND ${ZBDKIT_PYTHON} -B ${CMAKE_SOURCE_DIR}/tests/fuzz/canary_test.py
                   $<TARGET_FILE:${name}> ${ZBDKIT_CORPUS}/${name} ${canary} ${message})
  set_tests_properties(fuzz.canary.${canary} PROPERTIES LABELS fuzz TIMEOUT 300
                                                        FIXTURES_REQUIRED fuzz_corpus)
endfunction()
