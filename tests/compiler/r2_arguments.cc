// SPDX-License-Identifier: Apache-2.0
// R2: arguments of an awaited call are named objects, scalars, trivially destructible aggregates,
// class types with a constructor, or lambdas without captures.
#include <gtest/gtest.h>

#include <functional>
#include <utility>

#include "base/units.h"
#include "tests/compiler/canary.h"

namespace zbdkit::canary {
namespace {

Task<int> take(Tracked value) {
    co_await Later();
    co_return value.value();
}

Task<int> pass_named() {
    Tracked value(5);
    const int result = co_await take(std::move(value));
    co_return result;
}

TEST(R2, named_object_is_moved_in_and_destroyed_once) {
    EXPECT_EQ(run(pass_named()), 5);
    EXPECT_EQ(Tracked::alive, 0);
}

Task<int> pass_constructed() {
    const int result = co_await take(Tracked(6));
    co_return result;
}

TEST(R2, object_of_a_class_with_a_constructor_is_destroyed_once) {
    EXPECT_EQ(run(pass_constructed()), 6);
    EXPECT_EQ(Tracked::alive, 0);
}

Task<std::uint64_t> end_of(ByteRange range) {
    co_await Later();
    co_return range.end();
}

Task<std::uint64_t> pass_trivial_aggregate() {
    const std::uint64_t end = co_await end_of({.offset = 40, .length = 2});
    co_return end;
}

TEST(R2, trivially_destructible_aggregate_arrives) {
    EXPECT_EQ(run(pass_trivial_aggregate()), 42U);
}

Task<int> apply(int (*function)(int), int value) {
    co_await Later();
    co_return function(value);
}

Task<int> pass_captureless() {
    const int result = co_await apply([](int value) { return 2 * value; }, 21);
    co_return result;
}

TEST(R2, lambda_without_captures_is_called) { EXPECT_EQ(run(pass_captureless()), 42); }

Task<int> call(std::function<int()> function) {
    co_await Later();
    co_return function();
}

/// The form that replaces H2.
Task<int> pass_named_function() {
    const Tracked captured(7);
    std::function<int()> function = [captured] { return captured.value(); };
    const int result = co_await call(std::move(function));
    co_return result;
}

TEST(R2, named_function_object_outlives_the_awaited_call) {
    EXPECT_EQ(run(pass_named_function()), 7);
    EXPECT_EQ(Tracked::alive, 0);
}

}  // namespace
}  // namespace zbdkit::canary
