// SPDX-License-Identifier: Apache-2.0
// H3: a braced aggregate with a destructor as an argument of an awaited call. g++ 12 destroyed it
// twice.
#include <gtest/gtest.h>

#include "tests/compiler/canary.h"

namespace zbdkit::canary {
namespace {

struct Options {
    Tracked name;
    int factor;
};

Task<int> product(Options options) {
    co_await Later();
    co_return options.name.value() * options.factor;
}

Task<int> pass_aggregate() {
    const Tracked name(21);
    const int result = co_await product(Options{name, 2});
    co_return result;
}

TEST(H3, aggregate_argument_is_destroyed_once) {
    EXPECT_EQ(run(pass_aggregate()), 42);
    EXPECT_EQ(Tracked::alive, 0);
}

Task<int> pass_designated() {
    const Tracked name(21);
    const int result = co_await product({.name = name, .factor = 2});
    co_return result;
}

TEST(H3, designated_aggregate_argument_is_destroyed_once) {
    EXPECT_EQ(run(pass_designated()), 42);
    EXPECT_EQ(Tracked::alive, 0);
}

}  // namespace
}  // namespace zbdkit::canary
