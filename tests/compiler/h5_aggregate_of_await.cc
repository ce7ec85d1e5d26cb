// SPDX-License-Identifier: Apache-2.0
// H5: an aggregate initialised by a co_await, and a method of a temporary aggregate awaited.
// g++ 12 destroyed the members twice.
#include <gtest/gtest.h>

#include "tests/compiler/canary.h"

namespace zbdkit::canary {
namespace {

struct Pair {
    Tracked first;
    int second;

    Task<int> sum() {
        co_await Later();
        co_return first.value() + second;
    }
};

Task<int> unpack() {
    auto [first, second] = Pair{co_await tracked(40), 2};
    co_return first.value() + second;
}

TEST(H5, structured_binding_of_an_awaited_aggregate_is_destroyed_once) {
    EXPECT_EQ(run(unpack()), 42);
    EXPECT_EQ(Tracked::alive, 0);
}

Task<int> await_method_of_temporary() {
    const int result = co_await Pair{Tracked(40), 2}.sum();
    co_return result;
}

TEST(H5, temporary_lives_until_its_awaited_method_ends) {
    EXPECT_EQ(run(await_method_of_temporary()), 42);
    EXPECT_EQ(Tracked::alive, 0);
}

}  // namespace
}  // namespace zbdkit::canary
