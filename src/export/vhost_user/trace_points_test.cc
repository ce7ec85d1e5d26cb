// SPDX-License-Identifier: Apache-2.0
// What the trace points tell of the life of a connection.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "base/trace.h"
#include "tests/support/export/server_thread.h"
#include "tests/support/export/test_guest.h"

namespace zbdkit::vhost_user {
namespace {

using test::ServerThread;
using test::TestGuest;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

/// What is logged while a guest works with a disk, from its connection to the end of the server.
std::string log_of(const std::function<void(TestGuest&)>& work) {
    EXPECT_TRUE(enable_trace("*"));
    testing::internal::CaptureStderr();
    {
        ServerThread server;
        TestGuest guest(server.path());
        guest.boot();
        work(guest);
        guest.stop_queue(0);
    }
    disable_trace();
    return testing::internal::GetCapturedStderr();
}

TEST(TracePoints, life_of_a_connection_is_told_in_order) {
    const std::string log = log_of(
        [](TestGuest& guest) { EXPECT_EQ(guest.write(0, test::pattern(4096, 1)).status, 0); });
    EXPECT_THAT(log, ContainsRegex("session_connected socket=/[^ ]+ pid=[1-9]"));
    EXPECT_THAT(log, ContainsRegex("session_features socket=/[^ ]+ features=0x1"));
    EXPECT_THAT(log, ContainsRegex("ring_started socket=/[^ ]+ ring=0 size=64"));
    EXPECT_THAT(log, ContainsRegex("ring_kick socket=/[^ ]+ ring=0"));
    EXPECT_THAT(log, ContainsRegex("ring_notify socket=/[^ ]+ ring=0"));
    EXPECT_THAT(log, HasSubstr("op=write offset=0 length=4096 error=ok"));
    EXPECT_LT(log.find("session_connected"), log.find("ring_started"));
    EXPECT_LT(log.find("ring_kick"), log.find("ring_notify"));
    EXPECT_LT(log.find("ring_notify"), log.find("ring_stopped"));
    EXPECT_LT(log.find("ring_stopped"), log.find("session_closed"));
    EXPECT_NE(log.find("session_closed"), std::string::npos);
}

TEST(TracePoints, refused_chain_is_told_with_the_reason) {
    const std::string log = log_of([](TestGuest& guest) {
        constexpr std::uint64_t kNowhere = std::uint64_t{1} << 50;
        const auto added =
            guest.queues[0].driver->add({{kNowhere, 16, false}}, test::ChainForm::direct);
        EXPECT_TRUE(added.has_value());
        guest.kick(0);
        EXPECT_EQ(guest.wait_used(0, 1), 1U);
    });
    EXPECT_THAT(log,
                ContainsRegex("ring_chain_refused socket=/[^ ]+ ring=0 id=[0-9]+ reason='[a-z]"));
}

}  // namespace
}  // namespace zbdkit::vhost_user
