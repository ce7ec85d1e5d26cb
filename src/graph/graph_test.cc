// SPDX-License-Identifier: Apache-2.0
#include "graph/graph.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "io/blocking_pool.h"
#include "io/reactor.h"
#include "io/uring_engine.h"

namespace zbdkit {
namespace {

class Graph : public testing::Test {
  protected:
    /// Opens, and returns the message if that fails.
    std::string open(std::string_view text) {
        Outcome<OptionValues> options = parse_node_options(text);
        if (!options) return options.error().message;
        Outcome<std::unique_ptr<BlockNode>> node =
            reactor_.run_to_end(open_node(context_, std::move(*options), named_));
        if (!node) return node.error().message;
        node_ = std::move(*node);
        return "";
    }

    Reactor reactor_{make_uring_engine(8).value()};
    BlockingPool pool_{1};
    OpenContext context_{reactor_, pool_};
    NamedNodes named_;
    std::unique_ptr<BlockNode> node_;
};

TEST_F(Graph, node_is_opened_from_dotted_options) {
    ASSERT_EQ(open("driver=memory,size=1M,node-name=m0"), "");
    EXPECT_EQ(node_->info().size, 1048576U);
    EXPECT_EQ(node_->name(), "m0");
}

TEST_F(Graph, node_is_opened_from_json) {
    ASSERT_EQ(open(R"({"driver": "null", "size": 4096, "read-zeroes": true})"), "");
    EXPECT_EQ(node_->info().size, 4096U);
}

TEST_F(Graph, nested_json_is_the_same_as_dotted_options) {
    const auto options = parse_node_options(
        R"({"driver":"zoned","file":{"driver":"file","cache":{"direct":true}}})");
    ASSERT_TRUE(options.has_value());
    EXPECT_EQ(options->text("file.cache.direct"), "on");
}

TEST_F(Graph, unknown_driver_names_the_nearest) {
    const std::string message = open("driver=memroy,size=1M");
    EXPECT_NE(message.find("unknown driver 'memroy' (did you mean 'memory'?)"), std::string::npos)
        << message;
}

TEST_F(Graph, unknown_option_names_the_nearest) {
    EXPECT_EQ(open("driver=memory,siez=1M"),
              "driver 'memory': unknown option 'siez' (did you mean 'size'?)");
}

TEST_F(Graph, missing_driver_is_said) {
    EXPECT_EQ(open("size=1M"),
              "node options: option 'driver' is missing (for example driver=file)");
}

TEST_F(Graph, child_of_a_protocol_is_refused) {
    EXPECT_EQ(open("driver=memory,size=1M,file.driver=null"),
              "driver 'memory' is a protocol: it has no child 'file'");
}

TEST_F(Graph, format_without_a_child_is_refused) {
    EXPECT_EQ(open("driver=zoned"),
              "driver 'zoned' needs a child: file.driver=..., or file=NODE-NAME");
}

TEST_F(Graph, names_of_other_threads_are_in_use_and_their_nodes_cannot_be_taken) {
    NamedNodes named(std::set<std::string>{"there"});
    EXPECT_EQ(named.claim("there").error().message, "there are two nodes named 'there'");
    EXPECT_EQ(named.take("there").error().message,
              "node 'there' belongs to an export of another thread");
    EXPECT_EQ(named.take("thre").error().message,
              "there is no node named 'thre' (did you mean 'there'?)");
}

TEST_F(Graph, named_node_is_taken_once) {
    ASSERT_EQ(open("driver=memory,size=1M,node-name=m0"), "");
    named_.put(std::move(node_));
    EXPECT_NE(open("driver=zoned,file=m0").find("it is no zbdkit image"), std::string::npos);
    EXPECT_EQ(open("driver=zoned,file=m0"),
              "driver 'zoned': node 'm0' is in use: a node has one parent or export, and graphs "
              "have no loops");
}

TEST_F(Graph, json_that_is_no_object_is_refused) {
    EXPECT_NE(open("{"), "");
    EXPECT_NE(open(R"({"driver": 1.5})"), "");
    EXPECT_NE(open(R"({"driver": null})"), "");
}

TEST_F(Graph, options_nested_too_deeply_are_refused) {
    std::string text = "driver=zoned";
    std::string prefix;
    for (int i = 0; i < 20; ++i) {
        prefix += "file.";
        text += "," + prefix + "driver=zoned";
    }
    EXPECT_EQ(open(text), "node options: nested too deeply");
}

TEST_F(Graph, list_in_json_becomes_indexes) {
    const auto options = parse_node_options(R"({"driver":"x","rule":[{"a":1},{"a":2}]})");
    ASSERT_TRUE(options.has_value());
    EXPECT_EQ(options->text("rule.1.a"), "2");
}

TEST_F(Graph, node_that_names_itself_as_its_child_is_refused) {
    EXPECT_EQ(open("driver=zoned,node-name=a,file=a"),
              "driver 'zoned': node 'a' is in use: a node has one parent or export, and graphs "
              "have no loops");
}

TEST_F(Graph, two_nodes_of_one_name_are_refused) {
    EXPECT_EQ(open("driver=zoned,node-name=a,file.driver=memory,file.size=1M,file.node-name=a"),
              "there are two nodes named 'a'");
}

TEST_F(Graph, name_of_a_node_that_did_not_open_is_free_again) {
    EXPECT_NE(open("driver=memory,node-name=a"), "");
    EXPECT_EQ(open("driver=memory,node-name=a,size=1M"), "");
}

TEST_F(Graph, unknown_child_names_the_nearest) {
    ASSERT_EQ(open("driver=memory,size=1M,node-name=disk0"), "");
    named_.put(std::move(node_));
    EXPECT_EQ(open("driver=zoned,file=disk1"),
              "driver 'zoned': there is no node named 'disk1' (did you mean 'disk0'?)");
}

TEST_F(Graph, loop_over_two_nodes_cannot_be_described) {
    EXPECT_EQ(open("driver=raw,node-name=a,file=b"), "driver 'raw': there is no node named 'b'");
    EXPECT_EQ(
        open("driver=raw,node-name=b,file.driver=raw,file.node-name=a,file.file=b"),
        "driver 'raw': node 'b' is in use: a node has one parent or export, and graphs have no "
        "loops");
}

TEST_F(Graph, tower_of_named_nodes_higher_than_the_bound_is_refused) {
    ASSERT_EQ(open("driver=memory,size=1M,node-name=n0"), "");
    for (int i = 1; i < kMaxGraphDepth; ++i) {
        named_.put(std::move(node_));
        ASSERT_EQ(open(fmt::format("driver=raw,node-name=n{},file=n{}", i, i - 1)), "");
    }
    EXPECT_EQ(node_->depth(), 15);
    named_.put(std::move(node_));
    EXPECT_EQ(open("driver=raw,file=n15"),
              "driver 'raw': the graph would be more than 16 nodes deep");
}

TEST_F(Graph, second_child_that_is_missing_is_said) {
    EXPECT_EQ(open("driver=write_log,file.driver=memory,file.size=1M"),
              "driver 'write_log' needs a child: log.driver=..., or log=NODE-NAME");
}

TEST_F(Graph, filter_without_a_child_is_refused) {
    EXPECT_EQ(open("driver=delay,delay-read=1ms"),
              "driver 'delay' needs a child: file.driver=..., or file=NODE-NAME");
}

}  // namespace
}  // namespace zbdkit
