// SPDX-License-Identifier: Apache-2.0
#include "graph/node_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "graph/graph.h"

namespace zbdkit {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

NodeReferences references(std::string_view text) {
    return references_of(parse_node_options(text).value());
}

TEST(NodeOptions, leaf_names_itself_alone) {
    const NodeReferences found = references("driver=file,node-name=f,filename=driver");
    EXPECT_THAT(found.own_names, ElementsAre("f"));
    EXPECT_THAT(found.children, IsEmpty());
    EXPECT_THAT(found.objects, IsEmpty());
}

TEST(NodeOptions, child_is_named_at_any_depth) {
    EXPECT_THAT(references("driver=zoned,node-name=z,file=f").children, ElementsAre("f"));
    EXPECT_THAT(references("driver=delay,file.driver=raw,file.file=f").children, ElementsAre("f"));
}

TEST(NodeOptions, every_child_of_a_node_is_named) {
    EXPECT_THAT(references("driver=write_log,file=f,log=l").children, ElementsAre("f", "l"));
}

TEST(NodeOptions, inline_children_have_names_too) {
    const NodeReferences found = references(
        R"({"driver":"zoned","node-name":"z","file":{"driver":"file","node-name":"f"}})");
    EXPECT_THAT(found.own_names, testing::UnorderedElementsAre("z", "f"));
    EXPECT_THAT(found.children, IsEmpty());
}

TEST(NodeOptions, objects_are_named_where_the_driver_takes_one) {
    EXPECT_THAT(references("driver=throttle,throttle-group=g,file=f").objects, ElementsAre("g"));
    EXPECT_THAT(references("driver=raw,file.driver=throttle,file.throttle-group=g").objects,
                ElementsAre("g"));
    EXPECT_THAT(references("driver=delay,throttle-group=g,file=f").objects, IsEmpty());
}

TEST(NodeOptions, unknown_driver_names_nothing) {
    EXPECT_THAT(references("driver=zonde,file=f").children, IsEmpty());
}

}  // namespace
}  // namespace zbdkit
