// SPDX-License-Identifier: Apache-2.0
// Bugs on purpose, so that a test sees that a fuzzer would find one. The environment variable
// ZBDKIT_FUZZ_CANARY names the one to plant; each is described where it is asked for.
#pragma once

#include <cstdlib>
#include <string_view>

namespace zbdkit::test {

/// @return whether this run plants the bug of that name
[[nodiscard]] inline bool has_fuzz_canary(std::string_view name) {
    static const char* const planted = std::getenv("ZBDKIT_FUZZ_CANARY");
    return planted != nullptr && name == planted;
}

}  // namespace zbdkit::test
