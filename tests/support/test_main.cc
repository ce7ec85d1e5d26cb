// SPDX-License-Identifier: Apache-2.0
// main() of every gtest program: takes --seed=N (or ZBDKIT_SEED) for the random tests.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <string_view>

#include "tests/support/seed.h"

namespace {

constexpr std::string_view kSeed = "--seed=";

/// First of all: gtest asks the generators of parameters already while it reads its own options.
void read_seed(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
        const std::string_view argument = argv[i];
        if (!argument.starts_with(kSeed)) continue;
        zbdkit::test::set_seed(std::stoull(std::string(argument.substr(kSeed.size()))));
    }
}

}  // namespace

int main(int argc, char** argv) {
    read_seed(argc, argv);
    testing::InitGoogleTest(&argc, argv);
    for (int i = 1; i < argc; ++i) {
        if (std::string_view(argv[i]).starts_with(kSeed)) continue;
        std::fprintf(stderr, "unknown option %s; known: --seed=N and gtest's own\n", argv[i]);
        return 2;
    }
    return RUN_ALL_TESTS();
}
