// SPDX-License-Identifier: Apache-2.0
#include "graph/objects.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "graph/graph.h"
#include "io/blocking_pool.h"
#include "io/reactor.h"
#include "tests/support/io/manual_engine.h"

namespace zbdkit {
namespace {

class Objects : public testing::Test {
  protected:
    /// Makes an object, and returns the message if that fails.
    std::string make(std::string_view text) {
        const Outcome<ObjectPlan> plan = parse_object(text);
        if (!plan) return plan.error().message;
        const Outcome<void> made = make_object(context_, *plan);
        return made ? "" : made.error().message;
    }
    /// Opens a node and closes it, and returns the message if that fails.
    std::string open(std::string_view text) {
        NamedNodes named;
        Outcome<std::unique_ptr<BlockNode>> node =
            reactor_.run_to_end(open_node(context_, parse_node_options(text).value(), named));
        if (!node) return node.error().message;
        EXPECT_TRUE(reactor_.run_to_end((*node)->close()).has_value());
        return "";
    }

    Reactor reactor_{std::make_unique<test::ManualEngine>()};
    BlockingPool pool_{1};
    OpenContext context_{reactor_, pool_};
};

TEST_F(Objects, object_is_made_and_found_by_nodes) {
    EXPECT_EQ(make("throttle-group,id=tg0,x-iops-total=100"), "");
    EXPECT_EQ(open("driver=throttle,throttle-group=tg0,file.driver=null"), "");
}

TEST_F(Objects, object_is_made_from_json) {
    EXPECT_EQ(make(R"({"qom-type": "throttle-group", "id": "tg0", "limits": {"iops-total": 9}})"),
              "");
    EXPECT_TRUE(context_.objects.contains("tg0"));
}

TEST_F(Objects, two_objects_of_one_id_are_refused) {
    ASSERT_EQ(make("throttle-group,id=tg0"), "");
    EXPECT_EQ(make("throttle-group,id=tg0"), "--object: there are two objects with id 'tg0'");
}

TEST_F(Objects, unknown_kind_names_the_nearest) {
    EXPECT_EQ(make("throttel-group,id=tg0"),
              "--object: unknown kind of object 'throttel-group' (did you mean 'throttle-group'?): "
              "known are iothread, throttle-group");
}

TEST_F(Objects, io_thread_is_an_object_but_no_throttle_group) {
    EXPECT_EQ(make("iothread,id=t0"), "");
    EXPECT_EQ(open("driver=throttle,throttle-group=t0,file.driver=null"),
              "driver 'throttle': object 't0' is no throttle-group");
    EXPECT_EQ(make("throttle-group,id=t0"), "--object: there are two objects with id 't0'");
}

TEST_F(Objects, kind_and_id_are_required) {
    EXPECT_EQ(make("id=tg0"), "--object: option 'qom-type' is missing");
    EXPECT_EQ(make("throttle-group"), "--object: option 'id' is missing");
}

TEST_F(Objects, unknown_option_names_the_nearest) {
    EXPECT_EQ(make("throttle-group,id=tg0,x-iops-totl=5"),
              "object 'tg0': unknown option 'x-iops-totl' (did you mean 'x-iops-total'?)");
}

TEST_F(Objects, impossible_limit_is_refused_and_makes_nothing) {
    EXPECT_EQ(make("throttle-group,id=tg0,x-iops-total=-5"),
              "object 'tg0': option 'x-iops-total': '-5' is not a whole number from 0 to "
              "1000000000000000");
    EXPECT_TRUE(context_.objects.empty());
}

}  // namespace
}  // namespace zbdkit
