// SPDX-License-Identifier: Apache-2.0
// ZBDKIT_ASSERT states what a programmer of zbdkit got wrong. It stays on in release builds: a
// storage daemon that continues with a broken invariant loses data. Bytes from a guest, a file or
// a socket never reach an assert; they are parsed and refused.
#pragma once

namespace zbdkit {

/// Prints the failed condition and its place to stderr and aborts.
[[noreturn]] void assert_failed(const char* condition, const char* file, int line);

}  // namespace zbdkit

#define ZBDKIT_ASSERT(condition)                                     \
    do {                                                             \
        if (!(condition)) [[unlikely]]                               \
            ::zbdkit::assert_failed(#condition, __FILE__, __LINE__); \
    } while (false)
