// SPDX-License-Identifier: Apache-2.0
#include "zone/zone_locks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "io/scope.h"
#include "io/sync.h"
#include "io/task.h"
#include "tests/support/seed.h"

namespace zbdkit {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Mode = ZoneLocks::Mode;

constexpr ZoneIndex kZone{7};
constexpr ZoneIndex kOther{8};

/// Runs whatever is ready until nothing is.
void settle() {
    while (run_scheduled() > 0) {
    }
}

/// A coroutine that takes a lock, says so, and holds it until it is let go.
class Holder {
  public:
    Holder(ZoneLocks& locks, TaskScope& scope, std::vector<std::string>& journal)
        : locks_(locks), scope_(scope), journal_(journal) {}

    void take(ZoneIndex zone, Mode mode, std::string name) {
        scope_.spawn(run(zone, mode, std::move(name)));
    }
    void let_go() {
        end_.set();
        settle();
    }

  private:
    Task<void> run(ZoneIndex zone, Mode mode, std::string name) {
        if (mode == Mode::shared) {
            const ZoneLocks::Guard guard = co_await locks_.shared(zone);
            journal_.push_back(name);
            co_await end_.wait();
        } else {
            const ZoneLocks::Guard guard = co_await locks_.exclusive(zone);
            journal_.push_back(name);
            co_await end_.wait();
        }
    }

    ZoneLocks& locks_;
    TaskScope& scope_;
    std::vector<std::string>& journal_;
    AsyncEvent end_;
};

class ZoneLocksTest : public testing::Test {
  protected:
    std::unique_ptr<Holder> start(ZoneIndex zone, Mode mode, const std::string& name) {
        auto holder = std::make_unique<Holder>(locks, scope, journal);
        holder->take(zone, mode, name);
        return holder;
    }

    std::vector<std::string> journal;
    ZoneLocks locks;
    TaskScope scope;
};

TEST_F(ZoneLocksTest, uncontended_lock_does_not_suspend) {
    const auto writer = start(kZone, Mode::shared, "writer");
    EXPECT_THAT(journal, ElementsAre("writer"));
    EXPECT_FALSE(has_scheduled());
    EXPECT_TRUE(locks.is_locked(kZone));
    writer->let_go();
    EXPECT_FALSE(locks.is_locked(kZone));
}

TEST_F(ZoneLocksTest, writers_share_a_zone) {
    const auto first = start(kZone, Mode::shared, "first");
    const auto second = start(kZone, Mode::shared, "second");
    EXPECT_THAT(journal, ElementsAre("first", "second"));
    first->let_go();
    EXPECT_TRUE(locks.is_locked(kZone));
    second->let_go();
    EXPECT_FALSE(locks.is_locked(kZone));
}

TEST_F(ZoneLocksTest, action_waits_for_all_writers) {
    const auto first = start(kZone, Mode::shared, "first");
    const auto second = start(kZone, Mode::shared, "second");
    const auto action = start(kZone, Mode::exclusive, "action");
    first->let_go();
    EXPECT_THAT(journal, ElementsAre("first", "second"));
    second->let_go();
    EXPECT_THAT(journal, ElementsAre("first", "second", "action"));
    action->let_go();
}

TEST_F(ZoneLocksTest, waiting_action_holds_up_later_writers) {
    const auto first = start(kZone, Mode::shared, "first");
    const auto action = start(kZone, Mode::exclusive, "action");
    const auto late = start(kZone, Mode::shared, "late");
    EXPECT_THAT(journal, ElementsAre("first"));
    first->let_go();
    EXPECT_THAT(journal, ElementsAre("first", "action"));
    action->let_go();
    EXPECT_THAT(journal, ElementsAre("first", "action", "late"));
    late->let_go();
}

TEST_F(ZoneLocksTest, writers_that_wait_in_a_row_start_together) {
    const auto action = start(kZone, Mode::exclusive, "action");
    const auto first = start(kZone, Mode::shared, "first");
    const auto second = start(kZone, Mode::shared, "second");
    const auto last = start(kZone, Mode::exclusive, "last");
    const auto third = start(kZone, Mode::shared, "third");
    action->let_go();
    EXPECT_THAT(journal, ElementsAre("action", "first", "second"));
    second->let_go();
    first->let_go();
    EXPECT_THAT(journal, ElementsAre("action", "first", "second", "last"));
    last->let_go();
    third->let_go();
    EXPECT_THAT(journal, ElementsAre("action", "first", "second", "last", "third"));
}

TEST_F(ZoneLocksTest, actions_take_turns_in_order) {
    const auto first = start(kZone, Mode::exclusive, "first");
    const auto second = start(kZone, Mode::exclusive, "second");
    const auto third = start(kZone, Mode::exclusive, "third");
    first->let_go();
    second->let_go();
    EXPECT_THAT(journal, ElementsAre("first", "second", "third"));
    third->let_go();
}

TEST_F(ZoneLocksTest, lock_is_handed_over_before_the_waiter_runs) {
    auto holder = std::make_unique<Holder>(locks, scope, journal);
    ZoneLocks::Acquisition direct = locks.exclusive(kZone);
    EXPECT_TRUE(direct.await_ready());
    {
        const ZoneLocks::Guard guard = direct.await_resume();
        holder->take(kZone, Mode::exclusive, "waiter");
    }
    // Released, but the waiter's turn has not come: nobody slips in.
    EXPECT_TRUE(has_scheduled());
    const auto late = start(kZone, Mode::shared, "late");
    EXPECT_THAT(journal, IsEmpty());
    settle();
    EXPECT_THAT(journal, ElementsAre("waiter"));
    holder->let_go();
    late->let_go();
}

TEST_F(ZoneLocksTest, zones_do_not_disturb_each_other) {
    const auto here = start(kZone, Mode::exclusive, "here");
    const auto there = start(kOther, Mode::exclusive, "there");
    EXPECT_THAT(journal, ElementsAre("here", "there"));
    EXPECT_EQ(locks.locked_zones(), 2U);
    here->let_go();
    there->let_go();
    EXPECT_EQ(locks.locked_zones(), 0U);
}

TEST_F(ZoneLocksTest, moved_guard_holds_the_lock_once) {
    ZoneLocks::Acquisition here = locks.exclusive(kZone);
    ZoneLocks::Acquisition there = locks.shared(kOther);
    EXPECT_TRUE(here.await_ready());
    EXPECT_TRUE(there.await_ready());
    ZoneLocks::Guard first = here.await_resume();
    ZoneLocks::Guard second = there.await_resume();
    EXPECT_EQ(second.zone(), kOther);
    second = std::move(first);
    EXPECT_FALSE(locks.is_locked(kOther));
    EXPECT_TRUE(locks.is_locked(kZone));
    EXPECT_EQ(second.zone(), kZone);
    second.release();
    EXPECT_FALSE(locks.is_locked(kZone));
    second.release();
}

/// Gives the others a turn.
struct Yield {
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> self) const { schedule(self); }
    void await_resume() const noexcept {}
};

/// Coroutines that take random locks for random times; their rules are checked by counters.
struct Traffic {
    struct ZoneUse {
        int writers = 0;
        int actions = 0;
    };

    ZoneLocks locks;
    TaskScope scope;
    std::vector<ZoneUse> uses = std::vector<ZoneUse>(4);
    std::mt19937_64 random{test::seed()};
    int done = 0;

    Task<void> pause() {
        for (std::uint64_t turns = random() % 4; turns > 0; --turns) {
            co_await Yield{};
        }
    }

    Task<void> visit(std::uint32_t zone, bool is_action) {
        ZoneUse& use = uses[zone];
        if (is_action) {
            const ZoneLocks::Guard guard = co_await locks.exclusive(ZoneIndex(zone));
            EXPECT_EQ(use.writers + use.actions, 0);
            ++use.actions;
            co_await pause();
            --use.actions;
        } else {
            const ZoneLocks::Guard guard = co_await locks.shared(ZoneIndex(zone));
            EXPECT_EQ(use.actions, 0);
            ++use.writers;
            co_await pause();
            --use.writers;
        }
        ++done;
    }
};

TEST(ZoneLocksStorm, actions_always_see_a_quiet_zone_and_all_end) {
    SCOPED_TRACE(test::seed_trace());
    Traffic traffic;
    for (int i = 0; i < 20000; ++i) {
        const auto zone = static_cast<std::uint32_t>(traffic.random() % 4);
        traffic.scope.spawn(traffic.visit(zone, traffic.random() % 4 == 0));
        if (traffic.random() % 2 == 0) run_scheduled();
    }
    settle();
    EXPECT_EQ(traffic.done, 20000);
    EXPECT_EQ(traffic.locks.locked_zones(), 0U);
}

}  // namespace
}  // namespace zbdkit
