// SPDX-License-Identifier: Apache-2.0
// main() of every gtest program: takes --seed=N (or ZBDKIT_SEED) for the random tests.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <string_view>

#include "tests/support/seed.h"

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    for (int i = 1; i < argc; ++i) {
        constexpr std::string_view kSeed = "--seed=";
        const std::string_view argument = argv[i];
        if (!argument.starts_with(kSeed)) {
            std::fprintf(stderr, "unknown option %s; known: --seed=N and gtest's own\n", argv[i]);
            return 2;
        }
        zbdkit::test::set_seed(std::stoull(std::string(argument.substr(kSeed.size()))));
    }
    return RUN_ALL_TESTS();
}
