// SPDX-License-Identifier: Apache-2.0
#include "io/task.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "io/scope.h"
#include "tests/support/io/uring_reactor.h"

namespace zbdkit {
namespace {

using test::UringReactor;
using Journal = std::vector<std::string>;

/// Writes a line when it is made and one when it goes.
class Mark {
  public:
    Mark(Journal& journal, std::string name) : journal_(journal), name_(std::move(name)) {
        journal_.push_back("+" + name_);
    }
    Mark(const Mark&) = delete;
    Mark& operator=(const Mark&) = delete;
    ~Mark() { journal_.push_back("-" + name_); }

  private:
    Journal& journal_;
    std::string name_;
};

Task<int> number(int value) { co_return value; }
Task<void> nothing() { co_return; }

Task<int> sum(int a, int b) {
    const int first = co_await number(a);
    const int second = co_await number(b);
    co_return first + second;
}

TEST(Task, value_awaited_is_returned) {
    UringReactor reactor;
    EXPECT_EQ(reactor.run_to_end(sum(40, 2)), 42);
}

Task<std::unique_ptr<int>> boxed(int value) { co_return std::make_unique<int>(value); }

TEST(Task, move_only_value_is_moved_out) {
    UringReactor reactor;
    const std::unique_ptr<int> value = reactor.run_to_end(boxed(7));
    EXPECT_EQ(*value, 7);
}

Task<void> note(Journal& journal) {
    journal.push_back("ran");
    co_return;
}

TEST(Task, not_awaited_never_starts) {
    Journal journal;
    {
        const Task<void> task = note(journal);
    }
    EXPECT_TRUE(journal.empty());
}

TEST(Task, assigned_over_frees_the_old_frame) {
    UringReactor reactor;
    Task<int> task = number(1);
    task = number(2);
    EXPECT_EQ(reactor.run_to_end(std::move(task)), 2);
}

Task<void> marked(Journal& journal) {
    const Mark mark(journal, "inner");
    co_await nothing();
}

Task<void> outer_of_marked(Journal& journal) {
    co_await marked(journal);
    journal.push_back("outer continues");
}

TEST(Task, frame_is_gone_before_the_awaiters_next_statement) {
    UringReactor reactor;
    Journal journal;
    reactor.run_to_end(outer_of_marked(journal));
    EXPECT_EQ(journal, (Journal{"+inner", "-inner", "outer continues"}));
}

Task<std::uint64_t> add_up(std::uint64_t count) {
    std::uint64_t total = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        const int one = co_await number(1);
        total += static_cast<std::uint64_t>(one);
    }
    co_return total;
}

TEST(Task, two_million_ready_awaits_do_not_grow_the_stack) {
    UringReactor reactor;
    EXPECT_EQ(reactor.run_to_end(add_up(2'000'000)), 2'000'000U);
}

Task<Result<int>> checked(int value) {
    if (value < 0) co_return fail(Errc::out_of_range, "negative");
    co_return value;
}

Task<Result<int>> twice(int value) {
    const int once = co_await ok(checked(value));
    co_return 2 * once;
}

TEST(Ok, value_is_unwrapped) {
    UringReactor reactor;
    const Result<int> result = reactor.run_to_end(twice(21));
    ASSERT_TRUE(result.has_value());
    EXPECT_EQ(*result, 42);
}

/// Each level has another value type: the error alone goes through.
Task<Result<std::string>> level_one(Journal& journal, int value) {
    const Mark mark(journal, "one");
    const int number = co_await ok(twice(value));
    journal.push_back("one continues");
    co_return std::to_string(number);
}

Task<Result<void>> level_two(Journal& journal, int value) {
    const Mark first(journal, "two a");
    const Mark second(journal, "two b");
    co_await ok(level_one(journal, value));
    journal.push_back("two continues");
    co_return Result<void>();
}

Task<Result<int>> top(Journal& journal, int value) {
    const Result<void> result = co_await level_two(journal, value);
    journal.push_back("top continues");
    if (!result) co_return std::unexpected(result.error());
    co_return 1;
}

TEST(Ok, error_passes_several_levels) {
    UringReactor reactor;
    Journal journal;
    const Result<int> result = reactor.run_to_end(top(journal, -1));
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code, Errc::out_of_range);
    EXPECT_STREQ(result.error().text, "negative");
}

TEST(Ok, error_runs_guards_innermost_first_and_before_the_callers_next_statement) {
    UringReactor reactor;
    Journal journal;
    (void)reactor.run_to_end(top(journal, -1));
    EXPECT_EQ(journal,
              (Journal{"+two a", "+two b", "+one", "-one", "-two b", "-two a", "top continues"}));
}

TEST(Ok, success_runs_every_level) {
    UringReactor reactor;
    Journal journal;
    const Result<int> result = reactor.run_to_end(top(journal, 1));
    EXPECT_TRUE(result.has_value());
    EXPECT_EQ(journal, (Journal{"+two a", "+two b", "+one", "one continues", "-one",
                                "two continues", "-two b", "-two a", "top continues"}));
}

Task<Outcome<std::unique_ptr<int>>> find(std::string name) {
    if (name != "disk") co_return failure("no such thing: " + name, Errc::not_supported);
    co_return std::make_unique<int>(3);
}

Task<Outcome<int>> use(std::string name) {
    const std::unique_ptr<int> found = co_await ok(find(std::move(name)));
    co_return *found;
}

TEST(Ok, failure_of_an_outcome_keeps_its_message) {
    UringReactor reactor;
    const Outcome<int> outcome = reactor.run_to_end(use("tape"));
    ASSERT_FALSE(outcome.has_value());
    EXPECT_EQ(outcome.error().message, "no such thing: tape");
    EXPECT_EQ(outcome.error().code, Errc::not_supported);
}

TEST(Ok, move_only_value_of_an_outcome_is_unwrapped) {
    UringReactor reactor;
    const Outcome<int> outcome = reactor.run_to_end(use("disk"));
    ASSERT_TRUE(outcome.has_value());
    EXPECT_EQ(*outcome, 3);
}

Task<Result<int>> unwrap_present(Result<int> present) {
    const int value = co_await ok(present);
    co_return value + 1;
}

TEST(Ok, present_value_is_unwrapped) {
    UringReactor reactor;
    EXPECT_EQ(reactor.run_to_end(unwrap_present(4)).value_or(0), 5);
}

TEST(Ok, present_error_is_returned) {
    UringReactor reactor;
    const Result<int> result = reactor.run_to_end(unwrap_present(fail(Errc::corrupt, "bad")));
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code, Errc::corrupt);
}

Task<Result<void>> fail_after_sleep(Reactor& reactor, Journal& journal) {
    const Mark mark(journal, "sleeper");
    co_await reactor.sleep_ns(1000);
    co_return fail(Errc::io, "late");
}

Task<Result<void>> pass_on(Reactor& reactor, Journal& journal) {
    const Mark mark(journal, "passer");
    co_await ok(fail_after_sleep(reactor, journal));
    co_return Result<void>();
}

TEST(Ok, error_after_a_suspension_passes_too) {
    UringReactor reactor;
    Journal journal;
    const Result<void> result = reactor.run_to_end(pass_on(reactor, journal));
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code, Errc::io);
    EXPECT_EQ(journal, (Journal{"+passer", "+sleeper", "-sleeper", "-passer"}));
}

Task<std::uint64_t> count_errors(std::uint64_t rounds) {
    std::uint64_t errors = 0;
    for (std::uint64_t i = 0; i < rounds; ++i) {
        const Result<int> result = co_await twice(-1);
        errors += result.has_value() ? 0 : 1;
    }
    co_return errors;
}

TEST(Ok, a_million_errors_do_not_grow_the_stack) {
    UringReactor reactor;
    EXPECT_EQ(reactor.run_to_end(count_errors(1'000'000)), 1'000'000U);
}

}  // namespace
}  // namespace zbdkit
