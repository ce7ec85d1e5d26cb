// SPDX-License-Identifier: Apache-2.0
#include "export/vhost_user/event_fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <array>

#include "tests/support/export/front_end.h"
#include "tests/support/io/temp_file.h"

namespace zbdkit::vhost_user {
namespace {

using test::make_event;
using test::take_event;

TEST(EventFd, blocking_eventfd_becomes_non_blocking) {
    const Outcome<UniqueFd> taken = take_event_fd(make_event());

    ASSERT_TRUE(taken.has_value());
    EXPECT_NE(::fcntl(taken->get(), F_GETFL) & O_NONBLOCK, 0);
}

TEST(EventFd, anything_else_is_refused) {
    std::array<int, 2> pipe_ends{};
    ASSERT_EQ(::pipe(pipe_ends.data()), 0);
    EXPECT_FALSE(take_event_fd(UniqueFd(pipe_ends[0])).has_value());
    EXPECT_FALSE(take_event_fd(UniqueFd(pipe_ends[1])).has_value());
    EXPECT_FALSE(take_event_fd(test::temp_file()).has_value());
    EXPECT_FALSE(take_event_fd(UniqueFd(::epoll_create1(0))).has_value());
}

TEST(EventFd, clearing_an_event_that_nobody_signalled_is_no_kick) {
    const Outcome<UniqueFd> event = take_event_fd(make_event());

    EXPECT_FALSE(clear_event(*event));
    signal_event(*event);
    signal_event(*event);
    EXPECT_TRUE(clear_event(*event));
    EXPECT_FALSE(clear_event(*event));
}

TEST(EventFd, signalling_a_full_counter_does_not_block) {
    const Outcome<UniqueFd> event = take_event_fd(make_event());
    constexpr std::uint64_t kFull = 0xfffffffffffffffe;
    ASSERT_EQ(::write(event->get(), &kFull, sizeof kFull), 8);

    signal_event(*event);

    EXPECT_TRUE(take_event(*event));
}

TEST(EventFd, signalling_none_does_nothing) { signal_event(UniqueFd()); }

}  // namespace
}  // namespace zbdkit::vhost_user
