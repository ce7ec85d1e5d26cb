// SPDX-License-Identifier: Apache-2.0
// R4: `co_await ok(...)` leaves the coroutine on an error: the guards of the abandoned frames run,
// innermost first, before the caller's next statement.
#include <gtest/gtest.h>

#include <string>

#include "tests/compiler/canary.h"

namespace zbdkit::canary {
namespace {

/// Adds its letter to the journal when it goes.
class Guard {
  public:
    Guard(std::string& journal, char letter) : journal_(journal), letter_(letter) {}
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;
    ~Guard() { journal_ += letter_; }

  private:
    std::string& journal_;
    char letter_;
};

Task<Result<int>> innermost(std::string& journal, int value) {
    const Guard guard(journal, 'a');
    co_await Later();
    if (value < 0) co_return fail(Errc::io, "negative");
    co_return value;
}

Task<Result<int>> middle(std::string& journal, int value) {
    const Guard first(journal, 'c');
    const Guard second(journal, 'b');
    const int got = co_await ok(innermost(journal, value));
    journal += '+';
    co_return got;
}

Task<Result<void>> outer(std::string& journal, int value) {
    const Guard guard(journal, 'd');
    co_await ok(middle(journal, value));
    journal += '+';
    co_return Result<void>();
}

Task<bool> caller(std::string& journal, int value) {
    const Result<void> result = co_await outer(journal, value);
    journal += '.';
    co_return result.has_value();
}

TEST(R4, error_leaves_every_level_and_guards_run_first) {
    std::string journal;
    EXPECT_FALSE(run(caller(journal, -1)));
    EXPECT_EQ(journal, "abcd.");
}

TEST(R4, value_goes_on_at_every_level) {
    std::string journal;
    EXPECT_TRUE(run(caller(journal, 1)));
    EXPECT_EQ(journal, "a+bc+d.");
}

}  // namespace
}  // namespace zbdkit::canary
