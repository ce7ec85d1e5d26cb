// SPDX-License-Identifier: Apache-2.0
#include "app/export_options.h"

#include <gtest/gtest.h>

#include "base/units.h"

namespace zbdkit::app {
namespace {

constexpr const char* kWhole =
    "type=vhost-user-blk,id=e,node-name=n,addr.type=unix,addr.path=/run/z.sock,writable=on,"
    "num-queues=4,queue-size=256,writethrough=on,serial=S1";

TEST(ExportOptions, whole_line_is_taken) {
    const Outcome<ExportPlan> plan = parse_export(kWhole);
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_EQ(plan->id, "e");
    EXPECT_EQ(plan->node_name, "n");
    EXPECT_EQ(plan->socket_path, "/run/z.sock");
    EXPECT_EQ(plan->queue_size, 256U);
    EXPECT_EQ(plan->device.queue_count, 4);
    EXPECT_EQ(plan->device.seg_max, 254U);
    EXPECT_EQ(plan->device.serial, "S1");
    EXPECT_TRUE(plan->device.writable);
    EXPECT_FALSE(plan->device.write_cache);
}

TEST(ExportOptions, defaults_are_those_of_qemu_storage_daemon) {
    const Outcome<ExportPlan> plan = parse_export("id=e,node-name=n,addr.path=p");
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_FALSE(plan->device.writable);
    EXPECT_EQ(plan->device.queue_count, 1);
    EXPECT_EQ(plan->device.seg_max, 126U);
    EXPECT_EQ(plan->device.serial, "e");
    EXPECT_EQ(plan->io_thread, "");
}

TEST(ExportOptions, io_thread_is_taken_and_must_have_a_name) {
    EXPECT_EQ(parse_export("id=e,node-name=n,addr.path=p,iothread=t0").value().io_thread, "t0");
    EXPECT_EQ(parse_export("id=e,node-name=n,addr.path=p,iothread=").error().message,
              "--export: option 'iothread' is missing");
}

TEST(ExportOptions, json_is_the_same) {
    const Outcome<ExportPlan> plan = parse_export(
        R"({"type":"vhost-user-blk","id":"e","node-name":"n","writable":true,"num-queues":2,)"
        R"("addr":{"type":"unix","path":"p"}})");
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_EQ(plan->socket_path, "p");
    EXPECT_EQ(plan->device.queue_count, 2);
    EXPECT_TRUE(plan->device.writable);
}

TEST(ExportOptions, unknown_option_names_the_nearest) {
    const Outcome<ExportPlan> plan = parse_export("id=e,node-name=n,addr.path=p,num-queue=2");
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error().message,
              "--export: unknown option 'num-queue' (did you mean 'num-queues'?)");
}

TEST(ExportOptions, segments_follow_the_queue_and_stay_bounded) {
    ExportPlan plan;
    ASSERT_TRUE(set_queues(plan, {.queue_size = 64}));
    EXPECT_EQ(plan.device.seg_max, 62U);
    ASSERT_TRUE(set_queues(plan, {.queue_size = 32768}));
    EXPECT_EQ(plan.device.seg_max, 1024U);
    ASSERT_TRUE(set_queues(plan, {.queue_size = 128, .max_segments = 4}));
    EXPECT_EQ(plan.device.seg_max, 4U);
}

TEST(ExportOptions, impossible_queues_are_refused) {
    ExportPlan plan;
    EXPECT_FALSE(set_queues(plan, {.queue_count = 0}));
    EXPECT_FALSE(set_queues(plan, {.queue_count = 65}));
    EXPECT_FALSE(set_queues(plan, {.queue_size = 4}));
    EXPECT_FALSE(set_queues(plan, {.queue_size = 96}));
    EXPECT_FALSE(set_queues(plan, {.queue_size = 65536}));
    EXPECT_FALSE(set_queues(plan, {.max_segments = 1025}));
}

TEST(ExportOptions, small_requests_are_warned_of) {
    ExportPlan plan;
    ASSERT_TRUE(set_queues(plan, {.queue_size = 128}));
    EXPECT_EQ(append_warning(plan, 504 * kKiB), "");
    ASSERT_TRUE(set_queues(plan, {.queue_size = 64}));
    EXPECT_NE(append_warning(plan, 504 * kKiB), "");
    EXPECT_EQ(append_warning(plan, 0), "");
}

TEST(ExportOptions, qemu_line_doubles_commas_and_quotes) {
    ExportPlan plan{.id = "d", .socket_path = "/run/a, b.sock"};
    ASSERT_TRUE(set_queues(plan, {.queue_count = 2}));
    const std::string line = qemu_arguments(plan);
    EXPECT_NE(line.find("-chardev 'socket,id=d,path=/run/a,, b.sock' "), std::string::npos) << line;
    EXPECT_NE(line.find("num_vqs=2,vq_size=128,config_size=96,chardev=d"), std::string::npos);
}

}  // namespace
}  // namespace zbdkit::app
