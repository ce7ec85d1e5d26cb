// SPDX-License-Identifier: Apache-2.0
#include "base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace zbdkit {

void assert_failed(const char* condition, const char* file, int line) {
    std::fprintf(stderr, "zbdkit: internal error: %s:%d: %s does not hold\n", file, line,
                 condition);
    std::abort();
}

}  // namespace zbdkit
