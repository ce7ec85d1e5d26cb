// SPDX-License-Identifier: Apache-2.0
#include "io/shared_round.h"

#include <gtest/gtest.h>

#include <deque>
#include <optional>

#include "io/reactor.h"
#include "tests/support/io/manual_engine.h"

namespace zbdkit {
namespace {

class SharedRounds : public testing::Test {
  protected:
    /// Starts waiting for a round.
    std::optional<Result<void>>& ask() {
        std::optional<Result<void>>& answer = answers_.emplace_back();
        asking_.spawn(wait(rounds_, answer));
        return answer;
    }
    static Task<void> wait(SharedRound& rounds, std::optional<Result<void>>& answer) {
        answer = co_await rounds.join();
    }
    void settle() {
        for (int turn = 0; turn < 8; ++turn) reactor_.turn(false);
    }
    /// Lets the round that runs end.
    void end_round() {
        gates_.front().set();
        gates_.pop_front();
        settle();
    }
    Task<Result<void>> work() {
        ++begun_;
        AsyncEvent& gate = gates_.emplace_back();
        co_await gate.wait();
        if (fails_) co_return fail(Errc::io, "failed by the test");
        co_return Result<void>{};
    }

    Reactor reactor_{std::make_unique<test::ManualEngine>()};
    std::deque<AsyncEvent> gates_;
    std::deque<std::optional<Result<void>>> answers_;
    int begun_ = 0;
    bool fails_ = false;
    SharedRound rounds_{[this] { return work(); }};
    TaskScope asking_;
};

TEST_F(SharedRounds, first_who_asks_starts_a_round) {
    const std::optional<Result<void>>& answer = ask();
    settle();
    EXPECT_EQ(begun_, 1);
    EXPECT_FALSE(answer.has_value());
    EXPECT_TRUE(rounds_.is_running());
    end_round();
    ASSERT_TRUE(answer.has_value());
    EXPECT_TRUE(answer->has_value());
    EXPECT_FALSE(rounds_.is_running());
}

TEST_F(SharedRounds, those_who_ask_while_one_runs_share_the_next) {
    ask();
    settle();
    const std::optional<Result<void>>& second = ask();
    const std::optional<Result<void>>& third = ask();
    settle();
    EXPECT_EQ(begun_, 1);
    end_round();
    EXPECT_EQ(begun_, 2);
    EXPECT_FALSE(second.has_value());
    end_round();
    EXPECT_TRUE(second.has_value() && third.has_value());
    EXPECT_EQ(begun_, 2);
}

TEST_F(SharedRounds, failure_is_told_to_all_of_its_round_and_no_other) {
    fails_ = true;
    const std::optional<Result<void>>& first = ask();
    const std::optional<Result<void>>& second = ask();
    settle();
    end_round();
    fails_ = false;
    const std::optional<Result<void>>& third = ask();
    settle();
    while (!gates_.empty()) end_round();
    EXPECT_EQ(first->error().code, Errc::io);
    EXPECT_FALSE(second->has_value() && third->error().code == Errc::io);
    EXPECT_TRUE(third->has_value());
}

}  // namespace
}  // namespace zbdkit
