// SPDX-License-Identifier: Apache-2.0
#include "app/disk_placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>

#include "graph/graph.h"

namespace zbdkit::app {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

class DiskPlacement : public testing::Test {
  protected:
    void object(std::string_view text) { plan_.objects.push_back(parse_object(text).value()); }
    void node(std::string_view text) { plan_.nodes.push_back(parse_node_options(text).value()); }
    void exported(std::string_view text) {
        ExportPlan plan = parse_export(text).value();
        plan.place = plan_.exports.size();
        plan_.exports.push_back(plan);
    }

    DaemonPlan place() {
        Outcome<DaemonPlan> placed = place_disks(plan_);
        EXPECT_TRUE(placed.has_value()) << placed.error().message;
        return std::move(*placed);
    }
    std::string place_fails() {
        const Outcome<DaemonPlan> placed = place_disks(plan_);
        return placed ? "it did not" : placed.error().message;
    }
    static std::vector<std::string> nodes_of(const DiskGroupPlan& group) {
        std::vector<std::string> names;
        for (const OptionValues& node : group.nodes) names.push_back(node.text("node-name"));
        return names;
    }
    static std::vector<std::string> exports_of(const DiskGroupPlan& group) {
        std::vector<std::string> ids;
        for (const ExportPlan& plan : group.exports) ids.push_back(plan.id);
        return ids;
    }
    static std::vector<std::string> objects_of(const DiskGroupPlan& group) {
        std::vector<std::string> ids;
        for (const ObjectPlan& plan : group.objects) ids.push_back(plan.id);
        return ids;
    }

    ServePlan plan_;
};

TEST_F(DiskPlacement, without_io_threads_everything_is_on_the_main_thread) {
    node("driver=null,node-name=n");
    node("driver=null,node-name=idle");
    exported("id=e,node-name=n,addr.path=p");
    const DaemonPlan placed = place();
    ASSERT_EQ(placed.groups.size(), 1U);
    EXPECT_EQ(placed.groups[0].io_thread, "");
    EXPECT_THAT(nodes_of(placed.groups[0]), ElementsAre("n", "idle"));
    EXPECT_THAT(placed.groups[0].elsewhere, IsEmpty());
}

TEST_F(DiskPlacement, nodes_go_with_the_export_that_needs_them) {
    object("iothread,id=t0");
    object("iothread,id=t1");
    node("driver=null,node-name=a-file");
    node("driver=null,node-name=b-file");
    node("driver=null,node-name=b-log");
    node("driver=raw,node-name=a,file=a-file");
    node("driver=raw,node-name=b,file.driver=write_log,file.file=b-file,file.log=b-log");
    node("driver=null,node-name=c,size=1M");
    exported("id=ea,node-name=a,addr.path=a,iothread=t1");
    exported("id=ec,node-name=c,addr.path=c");
    exported("id=eb,node-name=b,addr.path=b,iothread=t0");
    const DaemonPlan placed = place();
    ASSERT_EQ(placed.groups.size(), 3U);
    EXPECT_EQ(placed.groups[0].io_thread, "");
    EXPECT_THAT(nodes_of(placed.groups[0]), ElementsAre("c"));
    EXPECT_EQ(placed.groups[1].io_thread, "t0");
    EXPECT_THAT(nodes_of(placed.groups[1]), ElementsAre("b-file", "b-log", "b"));
    EXPECT_THAT(exports_of(placed.groups[1]), ElementsAre("eb"));
    EXPECT_EQ(placed.groups[1].exports[0].place, 2U);
    EXPECT_EQ(placed.groups[2].io_thread, "t1");
    EXPECT_THAT(nodes_of(placed.groups[2]), ElementsAre("a-file", "a"));
    EXPECT_THAT(placed.groups[2].elsewhere, UnorderedElementsAre("b-file", "b-log", "b", "c"));
    EXPECT_THAT(placed.idle_threads, IsEmpty());
}

TEST_F(DiskPlacement, io_thread_that_no_export_names_is_not_started) {
    object("iothread,id=t0");
    node("driver=null,node-name=n");
    exported("id=e,node-name=n,addr.path=p");
    const DaemonPlan placed = place();
    EXPECT_EQ(placed.groups.size(), 1U);
    EXPECT_THAT(placed.idle_threads, ElementsAre("t0"));
}

TEST_F(DiskPlacement, unknown_io_thread_names_the_nearest) {
    object("iothread,id=fast");
    node("driver=null,node-name=n");
    exported("id=e,node-name=n,addr.path=p,iothread=fats");
    EXPECT_EQ(place_fails(),
              "export 'e': there is no iothread 'fats' (did you mean 'fast'?): expected --object "
              "iothread,id=fats");
}

TEST_F(DiskPlacement, object_that_is_no_io_thread_is_none) {
    object("throttle-group,id=slow");
    node("driver=null,node-name=n");
    exported("id=e,node-name=n,addr.path=p,iothread=slow");
    EXPECT_EQ(place_fails(),
              "export 'e': there is no iothread 'slow': expected --object iothread,id=slow");
}

TEST_F(DiskPlacement, node_that_exports_of_two_threads_need_is_refused) {
    object("iothread,id=t0");
    node("driver=null,node-name=f");
    node("driver=raw,node-name=a,file=f");
    node("driver=raw,node-name=b,file=f");
    exported("id=ea,node-name=a,addr.path=a");
    exported("id=eb,node-name=b,addr.path=b,iothread=t0");
    EXPECT_EQ(place_fails(),
              "node 'f' is needed by export 'ea' on the main thread and by export 'eb' on iothread "
              "'t0': a node has one parent or export");
}

TEST_F(DiskPlacement, node_that_two_exports_of_one_thread_need_is_left_to_the_open) {
    object("iothread,id=t0");
    node("driver=null,node-name=n");
    exported("id=e1,node-name=n,addr.path=a,iothread=t0");
    exported("id=e2,node-name=n,addr.path=b,iothread=t0");
    EXPECT_THAT(exports_of(place().groups[1]), ElementsAre("e1", "e2"));
}

TEST_F(DiskPlacement, nodes_in_a_loop_are_left_to_the_open) {
    object("iothread,id=t0");
    node("driver=raw,node-name=a,file=b");
    node("driver=raw,node-name=b,file=a");
    exported("id=e,node-name=a,addr.path=a,iothread=t0");
    EXPECT_THAT(nodes_of(place().groups[1]), ElementsAre("a", "b"));
}

TEST_F(DiskPlacement, object_goes_with_the_nodes_that_use_it) {
    object("iothread,id=t0");
    object("throttle-group,id=slow");
    object("throttle-group,id=nobody");
    node("driver=null,node-name=f");
    node("driver=raw,node-name=a,file.driver=throttle,file.throttle-group=slow,file.file=f");
    node("driver=null,node-name=m");
    exported("id=ea,node-name=a,addr.path=a,iothread=t0");
    exported("id=em,node-name=m,addr.path=m");
    const DaemonPlan placed = place();
    ASSERT_EQ(placed.groups.size(), 2U);
    EXPECT_THAT(objects_of(placed.groups[0]), ElementsAre("t0", "nobody"));
    EXPECT_THAT(objects_of(placed.groups[1]), ElementsAre("t0", "slow", "nobody"));
}

TEST_F(DiskPlacement, object_with_disks_on_two_threads_is_refused) {
    object("iothread,id=t0");
    object("iothread,id=t1");
    object("throttle-group,id=slow");
    node("driver=throttle,node-name=a,throttle-group=slow,file.driver=null");
    node("driver=throttle,node-name=b,throttle-group=slow,file.driver=null");
    exported("id=ea,node-name=a,addr.path=a,iothread=t0");
    exported("id=eb,node-name=b,addr.path=b,iothread=t1");
    EXPECT_EQ(place_fails(),
              "object 'slow' is used by node 'a' on iothread 't0' and by node 'b' on iothread "
              "'t1': expected all disks that share it on one thread");
}

}  // namespace
}  // namespace zbdkit::app
