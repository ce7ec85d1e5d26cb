// SPDX-License-Identifier: Apache-2.0
// H2: a capturing lambda with a destructor as an argument of an awaited call. g++ 12 used what it
// captured after it was freed.
#include <gtest/gtest.h>

#include <functional>

#include "tests/compiler/canary.h"

namespace zbdkit::canary {
namespace {

template <class Function>
Task<int> call(Function function) {
    co_await Later();
    co_return function();
}

Task<int> pass_lambda(int value) {
    const Tracked captured(value);
    const int result = co_await call([captured] { return captured.value(); });
    co_return result;
}

TEST(H2, capture_outlives_the_awaited_call) {
    EXPECT_EQ(run(pass_lambda(7)), 7);
    EXPECT_EQ(Tracked::alive, 0);
}

Task<int> call_function(std::function<int()> function) {
    co_await Later();
    co_return function();
}

Task<int> pass_function(int value) {
    const Tracked captured(value);
    const int result = co_await call_function([captured] { return captured.value(); });
    co_return result;
}

TEST(H2, capture_in_a_std_function_outlives_the_awaited_call) {
    EXPECT_EQ(run(pass_function(7)), 7);
    EXPECT_EQ(Tracked::alive, 0);
}

}  // namespace
}  // namespace zbdkit::canary
