// SPDX-License-Identifier: Apache-2.0
#include "virtio/blk_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "io/scope.h"
#include "tests/support/virtio/blk_chain.h"
#include "tests/support/virtio/fake_zoned_node.h"

namespace zbdkit {
namespace {

using test::BlkChain;
using test::operator+;
using test::Bytes;
using test::bytes;
using test::FakeZonedNode;
using test::header_bytes;
using test::range_bytes;
using test::run_now;
using testing::Each;
using testing::ElementsAre;
using testing::IsEmpty;
using Seen = FakeZonedNode::Seen;

constexpr std::uint64_t kVersion1 = 0x1'0000'0000;
constexpr std::uint64_t kFlushBit = 0x200;
constexpr std::uint64_t kConfigWceBit = 0x800;
constexpr std::uint64_t kDiscardBit = 0x2000;
constexpr std::uint64_t kWriteZeroesBit = 0x4000;
constexpr std::uint64_t kZonedBit = 0x2'0000;
constexpr std::uint64_t kLogAllBit = 0x400'0000;
constexpr std::uint64_t kLinux = kVersion1 | kFlushBit | kConfigWceBit | kZonedBit;
constexpr std::uint64_t kSeaBios = 0x1'4000'0046;

std::uint64_t time_ns = 0;
std::uint64_t now_ns() { return time_ns; }

class BlkDeviceTest : public testing::Test {
  protected:
    /// Makes the disk and the device, and negotiates.
    void start(const NodeInfo& info, std::uint64_t features,
               const BlkDevice::Options& options = {.serial = "zbd0"}) {
        auto held = std::make_unique<FakeZonedNode>(info);
        node = held.get();
        backend.emplace(std::move(held));
        device.emplace(*backend, options, now_ns);
        device->set_features(features);
        time_ns = 0;
    }
    void start_host_managed() { start(FakeZonedNode::small_host_managed(), kLinux); }

    std::uint32_t handle(BlkChain& guest) { return run_now(device->handle(guest.chain)); }
    /// Sends a request whose only writable byte is the status.
    unsigned status_of(const Bytes& readable) {
        BlkChain guest(readable, 1);
        EXPECT_EQ(handle(guest), 1U);
        return guest.status();
    }
    unsigned status_of_read(std::uint64_t sector) {
        BlkChain guest(header_bytes(0, sector), 513);
        EXPECT_EQ(handle(guest), 513U);
        return guest.status();
    }
    unsigned status_of_failed_write(Errc code) {
        node->error = Error{code, 0, "as told"};
        return status_of(header_bytes(1, 128) + bytes(4096, 0));
    }
    Bytes config(std::uint32_t offset, std::size_t size) const {
        Bytes shown(size, std::byte{0x77});
        device->read_config(offset, shown);
        return shown;
    }
    std::string write_error(std::uint32_t offset, const Bytes& from) {
        const Outcome<void> written = device->write_config(offset, from);
        return written ? "" : written.error().message;
    }

    FakeZonedNode* node = nullptr;
    std::optional<BlockBackend> backend;
    std::optional<BlkDevice> device;
};

// --- what requests do ------------------------------------------------------------------------

TEST_F(BlkDeviceTest, in_reads_into_odd_segments) {
    start_host_managed();
    BlkChain guest(header_bytes(0, 4), 1025, {}, {1, 100, 411, 512});
    EXPECT_EQ(handle(guest), 1025U);
    EXPECT_THAT(node->seen, ElementsAre(Seen{Op::read, {2048, 1024}, false, 4}));
    EXPECT_EQ(guest.written(), bytes(1024, 0xd5) + bytes(1, 0));
}

TEST_F(BlkDeviceTest, in_with_status_in_the_last_data_segment) {
    start_host_managed();
    BlkChain guest(header_bytes(0, 4), 1025, {}, {512});
    EXPECT_EQ(handle(guest), 1025U);
    EXPECT_THAT(node->seen, ElementsAre(Seen{Op::read, {2048, 1024}, false, 2}));
    EXPECT_EQ(guest.written(), bytes(1024, 0xd5) + bytes(1, 0));
}

TEST_F(BlkDeviceTest, out_writes_from_a_segment_that_holds_the_header_too) {
    start_host_managed();
    BlkChain guest(header_bytes(1, 128) + bytes(512, 0xa1) + bytes(3584, 0xa2), 1, {528});
    EXPECT_EQ(handle(guest), 1U);
    EXPECT_THAT(node->seen, ElementsAre(Seen{Op::write, {65536, 4096}, false, 2}));
    EXPECT_EQ(node->received, bytes(512, 0xa1) + bytes(3584, 0xa2));
    EXPECT_EQ(guest.status(), 0U);
}

TEST_F(BlkDeviceTest, out_with_a_split_header_writes_only_data) {
    start_host_managed();
    BlkChain guest(header_bytes(1, 128) + bytes(4096, 0xa1), 1, {3, 13});
    EXPECT_EQ(handle(guest), 1U);
    EXPECT_THAT(node->seen, ElementsAre(Seen{Op::write, {65536, 4096}, false, 1}));
    EXPECT_EQ(node->received, bytes(4096, 0xa1));
}

TEST_F(BlkDeviceTest, flush_flushes) {
    start_host_managed();
    EXPECT_EQ(status_of(header_bytes(4, 0)), 0U);
    EXPECT_THAT(node->seen, ElementsAre(Seen{Op::flush, {0, 0}, false, 0}));
}

TEST_F(BlkDeviceTest, zone_management_reaches_the_graph) {
    start_host_managed();
    EXPECT_EQ(status_of(header_bytes(18, 128)), 0U);
    EXPECT_EQ(status_of(header_bytes(20, 128)), 0U);
    EXPECT_EQ(status_of(header_bytes(22, 256)), 0U);
    EXPECT_EQ(status_of(header_bytes(24, 256)), 0U);
    EXPECT_EQ(status_of(header_bytes(26, 0)), 0U);
    EXPECT_THAT(node->seen, ElementsAre(Seen{Op::zone_open, {65536, 0}, false, 0},
                                        Seen{Op::zone_close, {65536, 0}, false, 0},
                                        Seen{Op::zone_finish, {131072, 0}, false, 0},
                                        Seen{Op::zone_reset, {131072, 0}, false, 0},
                                        Seen{Op::zone_reset_all, {0, 0}, false, 0}));
}

TEST_F(BlkDeviceTest, append_replies_in_9_bytes) {
    start_host_managed();
    node->append_offset = 0x1'2200;
    BlkChain guest(header_bytes(15, 128) + bytes(4096, 0xa1), 9);
    EXPECT_EQ(handle(guest), 9U);
    EXPECT_THAT(node->seen, ElementsAre(Seen{Op::append, {65536, 4096}, false, 1}));
    EXPECT_EQ(node->received, bytes(4096, 0xa1));
    EXPECT_EQ(guest.u64_at(0), 0x91U);
    EXPECT_EQ(guest.byte_at(8), 0U);
}

TEST_F(BlkDeviceTest, append_replies_in_the_16_bytes_of_linux) {
    start_host_managed();
    node->append_offset = 0x1'2200;
    BlkChain guest(header_bytes(15, 128) + bytes(4096, 0xa1), 16);
    EXPECT_EQ(handle(guest), 16U);
    EXPECT_EQ(guest.u64_at(0), 0x91U);
    EXPECT_EQ(guest.u64_at(8), 0U);  // padding, and status 0 in the last byte
}

TEST_F(BlkDeviceTest, append_replies_over_odd_segments) {
    start_host_managed();
    node->append_offset = 0x1'2200;
    BlkChain guest(header_bytes(15, 128) + bytes(4096, 0xa1), 12, {}, {3, 4, 4});
    EXPECT_EQ(handle(guest), 12U);
    EXPECT_EQ(guest.u64_at(0), 0x91U);
    EXPECT_EQ(guest.status(), 0U);
}

TEST_F(BlkDeviceTest, failed_append_leaves_its_sector_and_writes_the_last_byte) {
    start_host_managed();
    node->error = Error{Errc::zone_active_limit, 0, "as told"};
    BlkChain guest(header_bytes(15, 128) + bytes(4096, 0xa1), 16);
    EXPECT_EQ(handle(guest), 16U);
    EXPECT_EQ(guest.written(), bytes(15, 0xee) + bytes(1, 6));
}

TEST_F(BlkDeviceTest, report_fills_the_buffer) {
    start_host_managed();
    BlkChain guest(header_bytes(16, 130), 64 + 2 * 64 + 1, {}, {50, 50, 50});
    EXPECT_EQ(handle(guest), 193U);
    EXPECT_EQ(guest.u64_at(0), 2U);
    EXPECT_EQ(guest.u64_at(64 + 8), 128U);
    EXPECT_EQ(guest.u64_at(128 + 8), 256U);
    EXPECT_EQ(guest.status(), 0U);
}

TEST_F(BlkDeviceTest, failed_report_is_an_io_error) {
    start_host_managed();
    node->error = Error{Errc::corrupt, 0, "as told"};
    BlkChain guest(header_bytes(16, 0), 1089);
    EXPECT_EQ(handle(guest), 1089U);
    EXPECT_EQ(guest.status(), 1U);
}

TEST_F(BlkDeviceTest, get_id_pads_with_zeroes) {
    start_host_managed();
    BlkChain guest(header_bytes(8, 0), 21);
    EXPECT_EQ(handle(guest), 21U);
    Bytes expected = bytes(21, 0);
    expected[0] = std::byte{'z'};
    expected[1] = std::byte{'b'};
    expected[2] = std::byte{'d'};
    expected[3] = std::byte{'0'};
    EXPECT_EQ(guest.written(), expected);
    EXPECT_THAT(node->seen, IsEmpty());
}

TEST_F(BlkDeviceTest, get_id_cuts_a_long_serial_to_20_bytes) {
    start(FakeZonedNode::plain(), kVersion1, {.serial = std::string(30, 'x')});
    BlkChain guest(header_bytes(8, 0), 26);
    EXPECT_EQ(handle(guest), 26U);
    EXPECT_EQ(guest.written(), bytes(20, 'x') + bytes(5, 0xee) + bytes(1, 0));
}

TEST_F(BlkDeviceTest, get_id_cuts_to_a_short_buffer) {
    start_host_managed();
    BlkChain guest(header_bytes(8, 0), 3);
    EXPECT_EQ(handle(guest), 3U);
    EXPECT_EQ(guest.written(), bytes(1, 'z') + bytes(1, 'b') + bytes(1, 0));
}

TEST_F(BlkDeviceTest, get_id_without_a_buffer_is_ok) {
    start_host_managed();
    EXPECT_EQ(status_of(header_bytes(8, 0)), 0U);
}

TEST_F(BlkDeviceTest, discard_does_each_range) {
    start(FakeZonedNode::plain(), kVersion1 | kFlushBit | kDiscardBit);
    EXPECT_EQ(status_of(header_bytes(11, 0) + range_bytes(8, 2, 0) + range_bytes(64, 1, 0)), 0U);
    EXPECT_THAT(node->seen, ElementsAre(Seen{Op::discard, {4096, 1024}, false, 0},
                                        Seen{Op::discard, {32768, 512}, false, 0}));
}

TEST_F(BlkDeviceTest, write_zeroes_stops_at_the_first_failure) {
    start(FakeZonedNode::plain(), kVersion1 | kFlushBit | kWriteZeroesBit);
    node->error = Error{Errc::no_space, 0, "as told"};
    EXPECT_EQ(status_of(header_bytes(13, 0) + range_bytes(8, 2, 1) + range_bytes(64, 1, 0)), 1U);
    EXPECT_THAT(node->seen, ElementsAre(Seen{Op::write_zeroes, {4096, 1024}, false, 0}));
}

TEST_F(BlkDeviceTest, ranges_that_are_empty_are_ok_and_do_nothing) {
    start(FakeZonedNode::plain(), kVersion1 | kFlushBit | kDiscardBit);
    EXPECT_EQ(status_of(header_bytes(11, 0) + range_bytes(8, 0, 0)), 0U);
    EXPECT_THAT(node->seen, IsEmpty());
}

TEST_F(BlkDeviceTest, block_of_a_node_below_a_sector_is_a_sector) {
    NodeInfo info = FakeZonedNode::plain();
    info.block_size = 1;
    start(info, kVersion1 | kFlushBit);
    EXPECT_EQ(config(20, 4), bytes(1, 0) + bytes(1, 2) + bytes(2, 0));
    EXPECT_EQ(status_of_read(2047), 0U);
}

TEST_F(BlkDeviceTest, requests_run_side_by_side) {
    start_host_managed();
    node->holds = true;
    constexpr auto run = [](BlkDevice& blk, BlkChain& guest, std::uint32_t& length) -> Task<void> {
        length = co_await blk.handle(guest.chain);
    };
    std::array<std::uint32_t, 2> lengths{};
    BlkChain write(header_bytes(1, 128) + bytes(4096, 0), 1);
    BlkChain read(header_bytes(0, 0), 513);
    TaskScope scope;
    scope.spawn(run(*device, write, lengths[0]));
    scope.spawn(run(*device, read, lengths[1]));
    EXPECT_EQ(backend->in_flight(), 2U);
    EXPECT_EQ(write.status(), 0xeeU);
    node->holds = false;
    node->held.wake_all();
    run_scheduled();
    EXPECT_THAT(lengths, ElementsAre(1U, 513U));
    EXPECT_EQ(write.status(), 0U);
    EXPECT_EQ(read.status(), 0U);
}

TEST_F(BlkDeviceTest, chain_keeps_what_the_ring_and_the_dirty_log_need) {
    start_host_managed();
    BlkChain guest(header_bytes(0, 4), 1025, {}, {512});
    guest.chain.id = 7;
    handle(guest);
    EXPECT_EQ(guest.chain.id, 7);
    EXPECT_THAT(guest.chain.writable_guest,
                ElementsAre(ByteRange{0x1000, 512}, ByteRange{0x11000, 513}));
}

// --- what comes ahead of requests ------------------------------------------------------------

class PrepareTest : public BlkDeviceTest {
  protected:
    PrepareTest() {
        NodeInfo info = FakeZonedNode::small_host_managed();
        info.resident = memory_;
        start(info, kLinux);
    }
    void prepare(const BlkChain& guest) { device->prepare(guest.chain); }

    Bytes memory_ = bytes(1536, 0);
};

TEST_F(PrepareTest, changes_nothing) {
    BlkChain guest(header_bytes(0, 1), 1025);
    prepare(guest);
    EXPECT_THAT(node->seen, IsEmpty());
    EXPECT_EQ(guest.status(), 0xeeU);
    EXPECT_EQ(handle(guest), 1025U);
    EXPECT_THAT(node->seen, ElementsAre(Seen{Op::read, {512, 1024}, false, 1}));
}

TEST_F(PrepareTest, takes_any_chain) {
    prepare(BlkChain(header_bytes(0, 2), 1025));  // ends behind the memory
    prepare(BlkChain(header_bytes(0, 3), 1025));  // begins behind it
    prepare(BlkChain(header_bytes(0, ~std::uint64_t{0}), 1025));
    prepare(BlkChain(header_bytes(0, 0), 1025, {3, 13}));
    prepare(BlkChain({}, 1));
    prepare(BlkChain(header_bytes(15, 0) + bytes(512, 1), 16));
    prepare(BlkChain(header_bytes(15, 128) + bytes(512, 1), 16));
    EXPECT_THAT(node->seen, IsEmpty());
    EXPECT_EQ(device->refused(), 0U);
}

// --- statuses --------------------------------------------------------------------------------

TEST_F(BlkDeviceTest, zone_errors_of_the_graph_are_told_apart) {
    start_host_managed();
    EXPECT_EQ(status_of_failed_write(Errc::zone_invalid), 3U);
    EXPECT_EQ(status_of_failed_write(Errc::zone_unaligned_wp), 4U);
    EXPECT_EQ(status_of_failed_write(Errc::zone_open_limit), 5U);
    EXPECT_EQ(status_of_failed_write(Errc::zone_active_limit), 6U);
}

TEST_F(BlkDeviceTest, other_errors_of_the_graph_are_io_errors) {
    start_host_managed();
    EXPECT_EQ(status_of_failed_write(Errc::io), 1U);
    EXPECT_EQ(status_of_failed_write(Errc::no_space), 1U);
    EXPECT_EQ(status_of_failed_write(Errc::not_supported), 2U);
}

TEST_F(BlkDeviceTest, failed_read_returns_its_status_in_the_last_byte) {
    start_host_managed();
    node->error = Error{Errc::zone_invalid, 0, "offline"};
    EXPECT_EQ(status_of_read(128), 3U);
}

TEST_F(BlkDeviceTest, closing_backend_is_an_io_error) {
    start_host_managed();
    EXPECT_TRUE(run_now(backend->close()).has_value());
    EXPECT_EQ(status_of(header_bytes(4, 0)), 1U);
}

TEST_F(BlkDeviceTest, host_aware_disk_without_zoned_tells_zone_errors_as_io_errors) {
    start(FakeZonedNode::small_host_aware(), kVersion1 | kFlushBit);
    EXPECT_EQ(status_of_failed_write(Errc::zone_open_limit), 1U);
}

// --- refusals --------------------------------------------------------------------------------

TEST_F(BlkDeviceTest, refusal_writes_the_status_counts_and_touches_no_node) {
    start_host_managed();
    BlkChain guest(header_bytes(99, 0), 100);
    EXPECT_EQ(handle(guest), 100U);
    EXPECT_EQ(guest.written(), bytes(99, 0xee) + bytes(1, 2));
    EXPECT_EQ(device->refused(), 1U);
    EXPECT_THAT(node->seen, IsEmpty());
}

TEST_F(BlkDeviceTest, chain_without_room_for_a_status_is_answered_with_nothing) {
    start_host_managed();
    BlkChain guest(header_bytes(4, 0), 0);
    EXPECT_EQ(handle(guest), 0U);
    EXPECT_EQ(device->refused(), 1U);
}

TEST_F(BlkDeviceTest, empty_chain_is_answered_with_nothing) {
    start_host_managed();
    BlkChain guest({}, 0);
    EXPECT_EQ(handle(guest), 0U);
}

TEST_F(BlkDeviceTest, short_header_is_an_io_error) {
    start_host_managed();
    EXPECT_EQ(status_of(bytes(15, 0)), 1U);
}

TEST_F(BlkDeviceTest, many_refusals_are_logged_a_few_times_and_all_counted) {
    start_host_managed();
    testing::internal::CaptureStdout();
    for (int i = 0; i < 1000; ++i) EXPECT_EQ(status_of(header_bytes(99, 0)), 2U);
    const std::string log = testing::internal::GetCapturedStdout();
    EXPECT_EQ(std::ranges::count(log, '\n'), 10);
    EXPECT_THAT(log, testing::HasSubstr("fake disk: virtio-blk request of type 99 at sector 0 is "
                                        "refused with UNSUPP: unknown request type"));
    EXPECT_EQ(device->refused(), 1000U);
}

TEST_F(BlkDeviceTest, refusals_that_were_not_logged_are_counted_in_the_next_log) {
    start_host_managed();
    for (int i = 0; i < 15; ++i) EXPECT_EQ(status_of(header_bytes(99, 0)), 2U);
    time_ns = 10'000'000'000;
    testing::internal::CaptureStdout();
    EXPECT_EQ(status_of(header_bytes(99, 0)), 2U);
    EXPECT_THAT(testing::internal::GetCapturedStdout(),
                testing::HasSubstr("unknown request type (and 5 more)"));
}

TEST_F(BlkDeviceTest, log_names_the_node_if_it_has_a_name) {
    start_host_managed();
    node->set_name("drive0");
    testing::internal::CaptureStdout();
    EXPECT_EQ(status_of(header_bytes(99, 0)), 2U);
    EXPECT_THAT(testing::internal::GetCapturedStdout(), testing::HasSubstr("drive0: virtio-blk"));
}

TEST_F(BlkDeviceTest, storage_failures_are_logged_and_driver_errors_are_not) {
    start_host_managed();
    testing::internal::CaptureStdout();
    EXPECT_EQ(status_of_failed_write(Errc::zone_unaligned_wp), 4U);
    EXPECT_EQ(status_of_failed_write(Errc::io), 1U);
    const std::string log = testing::internal::GetCapturedStdout();
    EXPECT_EQ(std::ranges::count(log, '\n'), 1);
    EXPECT_THAT(log, testing::HasSubstr("fake disk: write of 4096 bytes at 65536 failed: as told"));
}

// --- negotiation -----------------------------------------------------------------------------

TEST_F(BlkDeviceTest, nothing_negotiated_refuses_a_host_managed_disk) {
    start(FakeZonedNode::small_host_managed(), 0);
    EXPECT_TRUE(device->refuses_all());
    EXPECT_EQ(status_of_read(0), 1U);
    EXPECT_EQ(status_of(header_bytes(26, 0)), 2U);
}

TEST_F(BlkDeviceTest, nothing_negotiated_serves_a_plain_disk_write_through) {
    start(FakeZonedNode::plain(), 0);
    EXPECT_FALSE(device->refuses_all());
    EXPECT_EQ(status_of(header_bytes(1, 0) + bytes(512, 0)), 0U);
    EXPECT_THAT(node->seen, ElementsAre(Seen{Op::write, {0, 512}, true, 1}));
}

TEST_F(BlkDeviceTest, firmware_without_zoned_is_refused_and_linux_after_it_is_served) {
    start(FakeZonedNode::small_host_managed(), kSeaBios);
    EXPECT_TRUE(device->refuses_all());
    EXPECT_EQ(status_of_read(0), 1U);
    device->set_features(kLinux);
    EXPECT_FALSE(device->refuses_all());
    EXPECT_EQ(status_of_read(0), 0U);
}

TEST_F(BlkDeviceTest, reset_forgets_the_negotiation) {
    start_host_managed();
    device->reset();
    EXPECT_EQ(device->features(), 0U);
    EXPECT_TRUE(device->refuses_all());
}

TEST_F(BlkDeviceTest, features_that_were_not_offered_are_ignored) {
    start(FakeZonedNode::small_host_managed(), ~std::uint64_t{0});
    EXPECT_EQ(device->features(), device->offered_features());
    EXPECT_EQ(status_of(header_bytes(11, 0) + range_bytes(0, 1, 0)), 2U);
}

TEST_F(BlkDeviceTest, features_are_offered_as_the_options_say) {
    start(FakeZonedNode::plain(), 0, {.queue_count = 2, .writable = false, .packed = false});
    // 1 2 5 6 9 10 11 12 28 29 32
    EXPECT_EQ(device->offered_features(), 0x1'3000'1e66U);
}

TEST_F(BlkDeviceTest, option_read_only_refuses_writes) {
    start(FakeZonedNode::plain(), kVersion1, {.writable = false});
    EXPECT_EQ(status_of(header_bytes(1, 0) + bytes(512, 0)), 1U);
    EXPECT_EQ(device->refused(), 1U);
}

TEST_F(BlkDeviceTest, read_only_node_refuses_writes) {
    NodeInfo info = FakeZonedNode::plain();
    info.read_only = true;
    start(info, kVersion1);
    EXPECT_EQ(status_of(header_bytes(1, 0) + bytes(512, 0)), 1U);
    EXPECT_EQ(device->refused(), 1U);
}

TEST_F(BlkDeviceTest, node_that_cannot_append_shows_no_append) {
    NodeInfo info = FakeZonedNode::small_host_managed();
    info.ops.remove(Op::append);
    start(info, kLinux);
    EXPECT_EQ(config(84, 4), bytes(4, 0));
    BlkChain guest(header_bytes(15, 128) + bytes(4096, 0xa1), 9);
    handle(guest);
    EXPECT_EQ(guest.status(), 2U);
}

TEST_F(BlkDeviceTest, check_names_what_does_not_fit) {
    NodeInfo info = FakeZonedNode::plain();
    EXPECT_TRUE(BlkDevice::check(info, {}).has_value());
    info.size = 1000;
    EXPECT_EQ(BlkDevice::check(info, {}).error().message,
              "a virtio disk is a multiple of 512 bytes, this one has 1000 bytes");
}

TEST_F(BlkDeviceTest, check_bounds_the_queues) {
    const NodeInfo info = FakeZonedNode::plain();
    EXPECT_TRUE(BlkDevice::check(info, {.queue_count = 64}).has_value());
    EXPECT_EQ(BlkDevice::check(info, {.queue_count = 65}).error().message,
              "a virtio disk has 1 to 64 queues, not 65");
    EXPECT_EQ(BlkDevice::check(info, {.queue_count = 0}).error().message,
              "a virtio disk has 1 to 64 queues, not 0");
}

// --- the write cache -------------------------------------------------------------------------

class WriteCacheTest : public BlkDeviceTest {
  protected:
    /// Whether a write and an append are made durable at once.
    std::pair<bool, bool> forced() {
        node->seen.clear();
        EXPECT_EQ(status_of(header_bytes(1, 128) + bytes(4096, 0)), 0U);
        BlkChain append(header_bytes(15, 128) + bytes(4096, 0), 9);
        EXPECT_EQ(handle(append), 9U);
        return {node->seen.at(0).fua, node->seen.at(1).fua};
    }
};

TEST_F(WriteCacheTest, on_writes_are_not_forced) {
    start_host_managed();
    EXPECT_EQ(forced(), std::pair(false, false));
}

TEST_F(WriteCacheTest, off_by_the_driver_forces_writes) {
    start_host_managed();
    EXPECT_EQ(write_error(32, bytes(1, 0)), "");
    EXPECT_EQ(forced(), std::pair(true, true));
    EXPECT_EQ(write_error(32, bytes(1, 1)), "");
    EXPECT_EQ(forced(), std::pair(false, false));
}

TEST_F(WriteCacheTest, off_by_option_forces_writes) {
    start(FakeZonedNode::small_host_managed(), kLinux, {.write_cache = false});
    EXPECT_EQ(config(32, 1), bytes(1, 0));
    EXPECT_EQ(forced(), std::pair(true, true));
}

TEST_F(WriteCacheTest, driver_without_flush_forces_writes) {
    start(FakeZonedNode::small_host_managed(), kVersion1 | kZonedBit);
    EXPECT_EQ(forced(), std::pair(true, true));
}

TEST_F(WriteCacheTest, config_wce_without_flush_starts_write_through) {
    start(FakeZonedNode::small_host_managed(), kVersion1 | kZonedBit | kConfigWceBit);
    EXPECT_EQ(config(32, 1), bytes(1, 0));
    EXPECT_EQ(forced(), std::pair(true, true));
}

TEST_F(WriteCacheTest, flush_without_config_wce_is_write_back) {
    start(FakeZonedNode::small_host_managed(), kVersion1 | kZonedBit | kFlushBit);
    EXPECT_EQ(forced(), std::pair(false, false));
}

TEST_F(WriteCacheTest, off_forces_write_zeroes_but_not_discard) {
    start(FakeZonedNode::plain(), kVersion1 | kDiscardBit | kWriteZeroesBit);
    EXPECT_EQ(status_of(header_bytes(13, 0) + range_bytes(8, 2, 0)), 0U);
    EXPECT_EQ(status_of(header_bytes(11, 0) + range_bytes(8, 2, 0)), 0U);
    EXPECT_THAT(node->seen, ElementsAre(Seen{Op::write_zeroes, {4096, 1024}, true, 0},
                                        Seen{Op::discard, {4096, 1024}, false, 0}));
}

TEST_F(WriteCacheTest, same_features_again_keep_the_drivers_choice) {
    start_host_managed();
    EXPECT_EQ(write_error(32, bytes(1, 0)), "");
    device->set_features(kLinux | kLogAllBit);
    EXPECT_EQ(config(32, 1), bytes(1, 0));
    device->set_features(kLinux);
    EXPECT_EQ(config(32, 1), bytes(1, 0));
}

TEST_F(WriteCacheTest, new_negotiation_starts_from_the_option) {
    start_host_managed();
    EXPECT_EQ(write_error(32, bytes(1, 0)), "");
    device->set_features(kSeaBios);
    device->set_features(kLinux);
    EXPECT_EQ(config(32, 1), bytes(1, 1));
}

TEST_F(WriteCacheTest, reset_starts_from_the_option) {
    start_host_managed();
    EXPECT_EQ(write_error(32, bytes(1, 0)), "");
    device->reset();
    EXPECT_EQ(config(32, 1), bytes(1, 1));
}

// --- the configuration space -----------------------------------------------------------------

TEST_F(BlkDeviceTest, config_is_read_in_any_pieces) {
    start_host_managed();
    EXPECT_EQ(config(0, 8), bytes(1, 0) + bytes(1, 8) + bytes(6, 0));  // 2048 sectors
    EXPECT_EQ(config(1, 1), bytes(1, 8));
    EXPECT_EQ(config(72, 4), bytes(1, 128) + bytes(3, 0));
    EXPECT_EQ(config(92, 1), bytes(1, 1));
}

TEST_F(BlkDeviceTest, config_beyond_its_end_is_zero) {
    start_host_managed();
    EXPECT_EQ(config(92, 164), bytes(1, 1) + bytes(163, 0));
    EXPECT_EQ(config(96, 10), bytes(10, 0));
    EXPECT_EQ(config(0xffff'ffff, 10), bytes(10, 0));
    EXPECT_EQ(config(5, 0), Bytes{});
}

TEST_F(BlkDeviceTest, config_of_a_host_aware_disk_hides_zones_from_a_driver_without_zoned) {
    start(FakeZonedNode::small_host_aware(), 0);
    EXPECT_EQ(config(92, 1), bytes(1, 2));
    device->set_features(kVersion1);
    EXPECT_THAT(config(72, 24), Each(std::byte{0}));
    device->set_features(kVersion1 | kZonedBit);
    EXPECT_EQ(config(92, 1), bytes(1, 2));
    device->reset();
    EXPECT_EQ(config(92, 1), bytes(1, 2));
}

TEST_F(BlkDeviceTest, write_config_of_the_whole_space_that_changes_writeback_is_taken) {
    start_host_managed();
    Bytes whole = config(0, 96);
    whole[32] = std::byte{0};
    EXPECT_EQ(write_error(0, whole), "");
    EXPECT_EQ(config(32, 1), bytes(1, 0));
}

TEST_F(BlkDeviceTest, write_config_that_repeats_everything_is_taken) {
    start(FakeZonedNode::small_host_managed(), 0);
    EXPECT_EQ(write_error(0, config(0, 256)), "");
    EXPECT_EQ(write_error(32, bytes(1, 1)), "");
}

TEST_F(BlkDeviceTest, write_config_elsewhere_is_refused_and_changes_nothing) {
    start_host_managed();
    Bytes whole = config(0, 96);
    whole[32] = std::byte{0};
    whole[84] = std::byte{0xff};
    EXPECT_EQ(write_error(0, whole), "byte 84 of the configuration is read-only");
    EXPECT_EQ(config(32, 1), bytes(1, 1));
}

TEST_F(BlkDeviceTest, write_config_beyond_the_end_is_refused) {
    start_host_managed();
    EXPECT_EQ(write_error(96, bytes(1, 1)), "byte 96 of the configuration is read-only");
    EXPECT_EQ(write_error(0xffff'ffff, bytes(2, 1)),
              "byte 4294967295 of the configuration is read-only");
}

TEST_F(BlkDeviceTest, write_config_of_writeback_other_than_0_and_1_is_refused) {
    start_host_managed();
    EXPECT_EQ(write_error(32, bytes(1, 2)), "byte 32, writeback, is 0 or 1, not 2");
}

TEST_F(BlkDeviceTest, write_config_of_writeback_needs_config_wce) {
    start(FakeZonedNode::small_host_managed(), kVersion1 | kFlushBit | kZonedBit);
    EXPECT_EQ(write_error(32, bytes(1, 0)),
              "byte 32, writeback, is read-only: CONFIG_WCE was not negotiated");
}

// --- what an earlier process may have done ---------------------------------------------------

class AgainTest : public BlkDeviceTest {
  protected:
    /// The answer to an action on zone 1, taken again or not, which the disk refuses.
    unsigned status_of_refused(unsigned type, bool again, ZoneState state, Errc code) {
        start_host_managed();
        node->error = Error{code, 0, "as told"};
        node->error_of = type == 20 ? Op::zone_close : Op::zone_open;
        node->zones[1].state = state;
        BlkChain guest(header_bytes(type, 128), 1);
        EXPECT_EQ(run_now(device->handle(guest.chain, {.is_again = again})), 1U);
        return guest.status();
    }
};

TEST_F(AgainTest, close_whose_zone_is_empty_was_done_before) {
    EXPECT_EQ(status_of_refused(20, true, ZoneState::empty, Errc::zone_invalid), 0U);
}

TEST_F(AgainTest, close_whose_zone_is_anything_else_keeps_its_error) {
    EXPECT_EQ(status_of_refused(20, true, ZoneState::full, Errc::zone_invalid), 3U);
    EXPECT_EQ(status_of_refused(20, true, ZoneState::offline, Errc::zone_invalid), 3U);
}

TEST_F(AgainTest, close_that_failed_otherwise_keeps_its_error) {
    EXPECT_EQ(status_of_refused(20, true, ZoneState::empty, Errc::io), 1U);
}

TEST_F(AgainTest, close_that_nobody_took_before_keeps_its_error) {
    EXPECT_EQ(status_of_refused(20, false, ZoneState::empty, Errc::zone_invalid), 3U);
}

TEST_F(AgainTest, other_actions_keep_their_errors) {
    EXPECT_EQ(status_of_refused(18, true, ZoneState::empty, Errc::zone_invalid), 3U);
}

}  // namespace
}  // namespace zbdkit
