// SPDX-License-Identifier: Apache-2.0
#include "app/export_options.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

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

// --- ublk ----------------------------------------------------------------------------------------

std::string ublk_refusal(const std::string& options) {
    const Outcome<ExportPlan> plan = parse_export("type=ublk,id=e,node-name=n," + options);
    return plan ? "" : plan.error().message;
}

TEST(UblkExportOptions, defaults_leave_the_number_to_the_kernel) {
    const Outcome<ExportPlan> plan = parse_export("type=ublk,id=e,node-name=n");
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_EQ(plan->type, ExportType::ublk);
    EXPECT_EQ(plan->id, "e");
    EXPECT_EQ(plan->node_name, "n");
    EXPECT_EQ(plan->ublk.device, std::nullopt);
    EXPECT_EQ(plan->ublk.queue_count, 1);
    EXPECT_EQ(plan->ublk.queue_depth, 64);
    EXPECT_EQ(plan->ublk.disk.max_io_bytes, 512 * kKiB);
    EXPECT_FALSE(plan->ublk.disk.writable);
    EXPECT_TRUE(plan->ublk.disk.write_cache);
    EXPECT_EQ(plan->io_thread, "");
}

TEST(UblkExportOptions, whole_line_is_taken) {
    const Outcome<ExportPlan> plan = parse_export(
        "type=ublk,id=e,node-name=n,writable=on,writethrough=on,num-queues=4,queue-size=100,"
        "ublk-id=7,max-io-bytes=1M,iothread=t0");
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_EQ(plan->ublk.device, 7U);
    EXPECT_EQ(plan->ublk.queue_count, 4);
    EXPECT_EQ(plan->ublk.queue_depth, 100);
    EXPECT_EQ(plan->ublk.disk.max_io_bytes, kMiB);
    EXPECT_TRUE(plan->ublk.disk.writable);
    EXPECT_FALSE(plan->ublk.disk.write_cache);
    EXPECT_EQ(plan->io_thread, "t0");
}

TEST(UblkExportOptions, json_is_the_same) {
    const Outcome<ExportPlan> plan = parse_export(
        R"({"type":"ublk","id":"e","node-name":"n","writable":true,"ublk-id":0,"queue-size":8,)"
        R"("max-io-bytes":131072})");
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_EQ(plan->ublk.device, 0U);
    EXPECT_EQ(plan->ublk.queue_depth, 8);
    EXPECT_EQ(plan->ublk.disk.max_io_bytes, 128 * kKiB);
    EXPECT_TRUE(plan->ublk.disk.writable);
}

TEST(UblkExportOptions, numbers_of_devices_are_bounded) {
    EXPECT_EQ(ublk_refusal("ublk-id=1048575"), "");
    EXPECT_EQ(ublk_refusal("ublk-id=1048576"),
              "--export: number of the ublk device: 1048576 is not possible: expected 0 to "
              "1048575");
}

TEST(UblkExportOptions, queues_are_bounded) {
    EXPECT_EQ(ublk_refusal("queue-size=1"), "");
    EXPECT_EQ(ublk_refusal("queue-size=1024,num-queues=64"), "");
    EXPECT_EQ(ublk_refusal("queue-size=1025"),
              "--export: queue size: 1025 is not possible: expected 1 to 1024");
    EXPECT_EQ(ublk_refusal("num-queues=65"),
              "--export: number of queues: 65 is not possible: expected 1 to 64");
    EXPECT_EQ(ublk_refusal("num-queues=0"),
              "--export: number of queues: 0 is not possible: expected 1 to 64");
}

TEST(UblkExportOptions, data_of_a_request_is_bounded_and_of_whole_pages) {
    EXPECT_EQ(ublk_refusal("max-io-bytes=64K"), "");
    EXPECT_EQ(ublk_refusal("max-io-bytes=16M"), "");
    EXPECT_EQ(ublk_refusal("max-io-bytes=60K"),
              "--export: bytes of a request: 61440 is not possible: expected 65536 to 16777216");
    EXPECT_EQ(ublk_refusal("max-io-bytes=16388K"),
              "--export: bytes of a request: 16781312 is not possible: expected 65536 to 16777216");
    EXPECT_EQ(ublk_refusal("max-io-bytes=65K"),
              "--export: bytes of a request: 66560 is no multiple of 4 KiB");
}

TEST(UblkExportOptions, options_of_the_other_type_are_unknown) {
    EXPECT_EQ(ublk_refusal("addr.path=p"), "--export: unknown option 'addr.path'");
    EXPECT_EQ(ublk_refusal("serial=S"), "--export: unknown option 'serial'");
    EXPECT_EQ(ublk_refusal("poll-max-us=1"), "--export: unknown option 'poll-max-us'");
    EXPECT_EQ(ublk_refusal("max-segments=4"), "--export: unknown option 'max-segments'");
    EXPECT_EQ(parse_export("id=e,node-name=n,addr.path=p,ublk-id=1").error().message,
              "--export: unknown option 'ublk-id'");
    EXPECT_EQ(parse_export("id=e,node-name=n,addr.path=p,max-io-bytes=1M").error().message,
              "--export: unknown option 'max-io-bytes'");
}

TEST(UblkExportOptions, segments_have_no_limit) {
    ExportPlan plan{.type = ExportType::ublk};
    EXPECT_EQ(set_queues(plan, {.max_segments = 4}).error().message,
              "number of segments: a ublk disk has no limit of it");
}

TEST(ExportOptions, unknown_type_is_refused_with_those_there_are) {
    EXPECT_EQ(parse_export("type=ublkk,id=e,node-name=n").error().message,
              "--export: unknown type 'ublkk' (did you mean 'ublk'?): expected vhost-user-blk or "
              "ublk");
    EXPECT_EQ(parse_export("type=vduse-blk,id=e,node-name=n").error().message,
              "--export: type 'vduse-blk' is not built in");
}

TEST(ExportOptions, access_is_set_for_both_types) {
    ExportPlan plan;

    set_access(plan, {.writable = false, .write_cache = false});
    EXPECT_FALSE(plan.device.writable || plan.ublk.disk.writable);
    EXPECT_FALSE(plan.device.write_cache || plan.ublk.disk.write_cache);

    set_access(plan, {.writable = true, .write_cache = true});
    EXPECT_TRUE(plan.device.writable && plan.ublk.disk.writable);
    EXPECT_TRUE(plan.device.write_cache && plan.ublk.disk.write_cache);
}

// --- the line for QEMU ---------------------------------------------------------------------------

TEST(ExportOptions, qemu_line_doubles_commas_and_quotes) {
    ExportPlan plan{.id = "d", .socket_path = "/run/a, b.sock"};
    ASSERT_TRUE(set_queues(plan, {.queue_count = 2}));
    const std::string line = qemu_arguments(plan);
    EXPECT_NE(line.find("-chardev 'socket,id=d,path=/run/a,, b.sock' "), std::string::npos) << line;
    EXPECT_NE(line.find("num_vqs=2,vq_size=128,config_size=96,chardev=d"), std::string::npos);
}

}  // namespace
}  // namespace zbdkit::app
