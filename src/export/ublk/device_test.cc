// SPDX-License-Identifier: Apache-2.0
#include "export/ublk/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <string>
#include <vector>

#include "tests/support/export/ublk_disk.h"
#include "tests/support/node/captured_log.h"

namespace zbdkit::ublk {
namespace {

using test::CapturedLog;
using test::kZone;
using test::UblkDisk;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Seen = test::BorrowedNode::Seen;

constexpr TagId kTag{0, 0};
constexpr TagId kOther{1, 3};
constexpr std::uint32_t kFua = 0x2000;

/// 8 zones of 1 MiB, the first conventional, over which the kernel asks for this and that.
class UblkDevice : public UblkDisk {
  protected:
    std::int32_t result_of(IoOperation operation, ByteRange range) {
        return ask(operation, range).result;
    }
    /// What a write is answered with if the graph fails with this.
    std::int32_t result_of_error(const Error& error) {
        root_->error = error;
        return result_of(IoOperation::write, {kZone, 4096});
    }
    /// The zones of a report.
    std::vector<ReportedZone> report(std::uint64_t first_sector, std::uint32_t count) {
        const IoDescriptor wanted{
            .operation_and_flags = 18, .sectors = count, .start_sector = first_sector};
        EXPECT_EQ(take_answer(send(wanted, kTag)).result, 65536);
        const std::vector<std::byte>& pages = port_.pages_of(kTag);
        std::vector<ReportedZone> zones(pages.size() / sizeof(ReportedZone));
        std::ranges::copy(pages, std::as_writable_bytes(std::span(zones)).begin());
        return zones;
    }
    static std::vector<std::uint64_t> starts(const std::vector<ReportedZone>& zones) {
        std::vector<std::uint64_t> found;
        for (const ReportedZone& zone : zones) found.push_back(zone.start);
        return found;
    }
    /// From a kernel that lends the data of requests.
    void serve_lent(bool takes_lent_data) {
        stop();
        takes_lent_data_ = takes_lent_data;
        lends_data_ = true;
        start_first();
    }
    void serve_plain() {
        stop();
        disk_.reset();
        disk_ = make_memory_node(memory_.bytes());
        start_first();
    }
};

// --- data ----------------------------------------------------------------------------------------

TEST_F(UblkDevice, write_fetches_and_read_delivers) {
    EXPECT_EQ(ask(IoOperation::write, {kZone, 8192}, kTag, 0xa1).result, 8192);
    EXPECT_EQ(port_.fetched, 1U);
    EXPECT_EQ(port_.delivered, 0U);

    EXPECT_EQ(ask(IoOperation::read, {kZone + 4096, 4096}, kOther).result, 4096);

    EXPECT_EQ(port_.delivered, 1U);
    EXPECT_THAT(port_.pages_of(kOther), testing::Each(std::byte{0xa1}));
    EXPECT_EQ(port_.pages_of(kOther).size(), 4096U);
}

TEST_F(UblkDevice, append_is_answered_with_its_sector) {
    EXPECT_EQ(ask(IoOperation::zone_append, {kZone, 4096}, kTag, 0xa1).append_sector, 2048U);

    const Answer second = ask(IoOperation::zone_append, {kZone, 8192}, kTag, 0xa2);

    EXPECT_EQ(second.result, 8192);
    EXPECT_EQ(second.append_sector, 2056U);
    EXPECT_EQ(byte_at(kZone), 0xa1);
    EXPECT_EQ(byte_at(kZone + 4096), 0xa2);
    EXPECT_EQ(byte_at(kZone + 12287), 0xa2);
}

TEST_F(UblkDevice, write_that_cannot_be_fetched_is_an_io_error_and_touches_nothing) {
    port_.fails = true;

    EXPECT_EQ(result_of(IoOperation::write, {kZone, 4096}), -EIO);
    EXPECT_EQ(result_of(IoOperation::zone_append, {kZone, 4096}), -EIO);

    EXPECT_THAT(root_->seen, IsEmpty());
    EXPECT_EQ(word(kTag), 0U);
}

TEST_F(UblkDevice, read_that_cannot_be_delivered_is_an_io_error) {
    port_.fails = true;

    EXPECT_EQ(result_of(IoOperation::read, {kZone, 4096}), -EIO);
    EXPECT_EQ(result_of(IoOperation::report_zones, {0, 4096}), -EIO);
}

TEST_F(UblkDevice, lent_data_is_written_from_where_it_is) {
    serve_lent(true);

    EXPECT_EQ(ask(IoOperation::write, {kZone, 4096}, kTag, 0xa1).result, 4096);
    EXPECT_EQ(ask(IoOperation::zone_append, {kZone, 4096}, kOther, 0xa2).append_sector, 2056U);

    EXPECT_EQ(port_.fetched, 0U);
    EXPECT_EQ(byte_at(kZone), 0xa1);
    EXPECT_EQ(byte_at(kZone + 4096), 0xa2);
}

TEST_F(UblkDevice, lent_data_that_the_graph_looks_at_is_fetched) {
    serve_lent(false);

    EXPECT_EQ(ask(IoOperation::write, {kZone, 4096}, kTag, 0xa1).result, 4096);

    EXPECT_EQ(port_.fetched, 1U);
    EXPECT_EQ(byte_at(kZone), 0xa1);
}

TEST_F(UblkDevice, data_that_could_not_be_lent_is_fetched) {
    serve_lent(true);
    constexpr std::uint32_t kNoBuffer = 0x20000;
    const IoDescriptor wanted = descriptor(IoOperation::write, {kZone, 4096}, kNoBuffer);

    EXPECT_EQ(take_answer(send(wanted, kTag, 0xa1)).result, 4096);

    EXPECT_EQ(port_.fetched, 1U);
    EXPECT_EQ(byte_at(kZone), 0xa1);
}

TEST_F(UblkDevice, lent_reads_are_delivered) {
    serve_lent(true);

    EXPECT_EQ(ask(IoOperation::read, {kZone, 4096}, kTag).result, 4096);

    EXPECT_EQ(port_.delivered, 1U);
}

TEST_F(UblkDevice, lent_data_is_fetched_while_requests_are_to_come_back) {
    serve_lent(true);
    send(IoOperation::zone_append, {kZone, 4096}, kTag, 0xa1);
    die();

    const Answer other = ask(IoOperation::zone_append, {kZone, 4096}, kOther, 0xa2);
    const Answer again = ask(IoOperation::zone_append, {kZone, 4096}, kTag, 0xa1);
    EXPECT_EQ(port_.fetched, 2U);
    ask(IoOperation::zone_append, {kZone, 4096}, kTag, 0xa3);

    EXPECT_EQ(port_.fetched, 2U);
    EXPECT_EQ(again.append_sector, 2048U);
    EXPECT_EQ(other.append_sector, 2056U);
}

TEST_F(UblkDevice, largest_request_fills_its_buffer) {
    EXPECT_EQ(ask(IoOperation::write, {kZone, 65536}, kTag, 0xa1).result, 65536);
    EXPECT_EQ(result_of(IoOperation::write, {kZone + 65536, 66048}), -EINVAL);

    EXPECT_EQ(byte_at(kZone + 65535), 0xa1);
    EXPECT_EQ(device_->refused(), 1U);
}

TEST_F(UblkDevice, requests_run_side_by_side) {
    hold_data();
    const Asked& write = send(IoOperation::write, {kZone, 4096}, kTag, 0xa1);
    const Asked& append = send(IoOperation::zone_append, {2 * kZone, 4096}, kOther, 0xa2);
    EXPECT_EQ(below_->held_count(), 2U);

    release(1);
    EXPECT_FALSE(write.answer.has_value());
    EXPECT_EQ(take_answer(append).append_sector, 4096U);

    release(0);
    EXPECT_EQ(take_answer(write).result, 4096);
}

// --- what is not data ----------------------------------------------------------------------------

TEST_F(UblkDevice, actions_reach_the_graph) {
    EXPECT_EQ(result_of(IoOperation::zone_open, {kZone, 0}), 0);
    EXPECT_EQ(result_of(IoOperation::write, {kZone, 4096}), 4096);
    EXPECT_EQ(result_of(IoOperation::zone_close, {kZone, 0}), 0);
    EXPECT_EQ(result_of(IoOperation::zone_finish, {kZone, 0}), 0);
    EXPECT_EQ(result_of(IoOperation::zone_reset, {kZone, 0}), 0);
    EXPECT_EQ(result_of(IoOperation::zone_reset_all, {0, 0}), 0);
    EXPECT_EQ(result_of(IoOperation::flush, {0, 0}), 0);

    EXPECT_THAT(
        root_->seen,
        ElementsAre(Seen{Op::zone_open, {kZone, 0}, false}, Seen{Op::write, {kZone, 4096}, false},
                    Seen{Op::zone_close, {kZone, 0}, false},
                    Seen{Op::zone_finish, {kZone, 0}, false},
                    Seen{Op::zone_reset, {kZone, 0}, false},
                    Seen{Op::zone_reset_all, {0, 0}, false}, Seen{Op::flush, {0, 0}, false}));
}

TEST_F(UblkDevice, ranges_without_data_reach_a_plain_disk) {
    serve_plain();

    EXPECT_EQ(result_of(IoOperation::discard, {4096, 131072}), 0);
    EXPECT_EQ(
        take_answer(send(descriptor(IoOperation::write_zeroes, {0, 131072}, kFua), kTag)).result,
        0);

    EXPECT_THAT(root_->seen, ElementsAre(Seen{Op::discard, {4096, 131072}, false},
                                         Seen{Op::write_zeroes, {0, 131072}, true}));
    EXPECT_EQ(port_.fetched + port_.delivered, 0U);
}

TEST_F(UblkDevice, refused_form_touches_no_node_and_is_counted) {
    const CapturedLog log;
    EXPECT_EQ(result_of(IoOperation::write_same, {0, 4096}), -EOPNOTSUPP);
    EXPECT_EQ(result_of(IoOperation::read, {8 * kZone, 4096}), -EIO);
    EXPECT_EQ(result_of(IoOperation::zone_reset, {kZone + 4096, 0}), -EIO);

    EXPECT_EQ(device_->refused(), 3U);
    EXPECT_THAT(root_->seen, IsEmpty());
    EXPECT_THAT(log.text(), HasSubstr("ublk request 0x4 of 8 sectors at 0 is refused: the device "
                                      "does not have this operation\n"));
}

// --- durability ----------------------------------------------------------------------------------

TEST_F(UblkDevice, fua_reaches_the_node) {
    send(descriptor(IoOperation::write, {kZone, 4096}, kFua), kTag);
    send(descriptor(IoOperation::zone_append, {kZone, 4096}, kFua), kTag);
    send(descriptor(IoOperation::write, {kZone + 8192, 4096}), kTag);

    EXPECT_THAT(root_->seen, ElementsAre(Seen{Op::write, {kZone, 4096}, true},
                                         Seen{Op::append, {kZone, 4096}, true},
                                         Seen{Op::write, {kZone + 8192, 4096}, false}));
}

TEST_F(UblkDevice, without_a_write_cache_every_write_is_durable) {
    stop();
    options_.write_cache = false;
    start_first();

    EXPECT_EQ(result_of(IoOperation::write, {kZone, 4096}), 4096);
    EXPECT_EQ(result_of(IoOperation::zone_append, {kZone, 4096}), 4096);
    EXPECT_EQ(result_of(IoOperation::read, {kZone, 4096}), 4096);

    EXPECT_THAT(root_->seen, ElementsAre(Seen{Op::write, {kZone, 4096}, true},
                                         Seen{Op::append, {kZone, 4096}, true},
                                         Seen{Op::read, {kZone, 4096}, false}));
}

// --- errors --------------------------------------------------------------------------------------

TEST_F(UblkDevice, errors_of_the_graph_are_told_as_linux_tells_them) {
    EXPECT_EQ(result_of_error({Errc::zone_open_limit, 0, ""}), -ETOOMANYREFS);
    EXPECT_EQ(result_of_error({Errc::zone_active_limit, 0, ""}), -EOVERFLOW);
    EXPECT_EQ(result_of_error({Errc::no_space, 0, ""}), -ENOSPC);
    EXPECT_EQ(result_of_error({Errc::read_only, 0, ""}), -EPERM);
    EXPECT_EQ(result_of_error({Errc::not_supported, 0, ""}), -EOPNOTSUPP);
    EXPECT_EQ(result_of_error({Errc::misaligned, 0, ""}), -EINVAL);
    EXPECT_EQ(result_of_error({Errc::out_of_range, 0, ""}), -EIO);
    EXPECT_EQ(result_of_error({Errc::zone_invalid, 0, ""}), -EIO);
    EXPECT_EQ(result_of_error({Errc::zone_unaligned_wp, 0, ""}), -EIO);
    EXPECT_EQ(result_of_error({Errc::corrupt, 0, ""}), -EIO);
    EXPECT_EQ(result_of_error({Errc::shutting_down, 0, ""}), -EIO);
    EXPECT_EQ(result_of_error({Errc::io, 0, ""}), -EIO);
}

TEST(UblkAnswerOf, errno_of_the_host_goes_on) {
    EXPECT_EQ(answer_of({Errc::io, EREMOTEIO, ""}), -EREMOTEIO);
    EXPECT_EQ(answer_of({Errc::no_space, EDQUOT, ""}), -EDQUOT);
}

TEST(UblkAnswerOf, nothing_makes_the_kernel_try_again) {
    EXPECT_EQ(answer_of({Errc::io, EAGAIN, ""}), -EIO);
    EXPECT_EQ(answer_of({Errc::io, EBUSY, ""}), -EIO);
    EXPECT_EQ(answer_of({Errc::io, ENOMEM, ""}), -EIO);
    EXPECT_EQ(answer_of({Errc::io, EINTR, ""}), -EIO);
    EXPECT_EQ(answer_of({Errc::io, ENODEV, ""}), -EIO);
}

TEST_F(UblkDevice, storage_failures_are_logged_and_driver_errors_are_not) {
    const CapturedLog log;
    root_->set_name("drive0");
    EXPECT_EQ(result_of_error({Errc::zone_unaligned_wp, 0, "off the pointer"}), -EIO);
    EXPECT_EQ(result_of_error({Errc::io, 0, "bad sector"}), -EIO);

    EXPECT_EQ(log.text(), "error: drive0: write of 4096 bytes at 1048576 failed: bad sector\n");
}

TEST_F(UblkDevice, many_refusals_are_logged_a_few_times_and_counted_in_the_next_log) {
    const CapturedLog log;
    for (int i = 0; i < 15; ++i) EXPECT_EQ(result_of(IoOperation::write_same, {0, 0}), -EOPNOTSUPP);
    const std::string before = log.text();
    time_ns_ = 10'000'000'000;
    EXPECT_EQ(result_of(IoOperation::write_same, {0, 0}), -EOPNOTSUPP);

    EXPECT_EQ(std::ranges::count(before, '\n'), 10);
    EXPECT_EQ(device_->refused(), 16U);
    EXPECT_THAT(log.text(), testing::EndsWith("this operation (and 5 more)\n"));
}

TEST_F(UblkDevice, limits_of_the_disk_are_answered) {
    serve(8 * kZone, "zone.size=1M,zone.max_open_zones=1,zone.max_active_zones=2");
    EXPECT_EQ(result_of(IoOperation::zone_open, {0, 0}), 0);

    EXPECT_EQ(result_of(IoOperation::zone_open, {kZone, 0}), -ETOOMANYREFS);
    EXPECT_EQ(result_of(IoOperation::write, {kZone, 4096}), -ETOOMANYREFS);
    EXPECT_EQ(result_of(IoOperation::write, {0, 4096}), 4096);
    EXPECT_EQ(result_of(IoOperation::zone_close, {0, 0}), 0);
    EXPECT_EQ(result_of(IoOperation::write, {kZone, 4096}), 4096);
    EXPECT_EQ(result_of(IoOperation::write, {2 * kZone, 4096}), -EOVERFLOW);
}

TEST_F(UblkDevice, write_off_the_pointer_is_an_io_error) {
    EXPECT_EQ(result_of(IoOperation::write, {kZone + 4096, 4096}), -EIO);
}

// --- reports -------------------------------------------------------------------------------------

TEST_F(UblkDevice, report_of_the_whole_disk_needs_no_end) {
    EXPECT_THAT(starts(report(0, 8)), ElementsAre(0, 2048, 4096, 6144, 8192, 10240, 12288, 14336));
}

TEST_F(UblkDevice, report_that_has_room_for_more_ends_with_an_empty_entry) {
    const std::vector<ReportedZone> zones = report(12288, 5);

    EXPECT_THAT(starts(zones), ElementsAre(12288, 14336, 0));
    EXPECT_EQ(zones[2].length, 0U);
    EXPECT_EQ(zones[2].type, 0);
}

TEST_F(UblkDevice, report_starts_with_the_zone_that_has_its_sector) {
    EXPECT_THAT(starts(report(4095, 2)), ElementsAre(2048, 4096));
}

TEST_F(UblkDevice, report_of_one_zone_has_one) {
    EXPECT_THAT(starts(report(14336, 1)), ElementsAre(14336));
}

TEST_F(UblkDevice, report_of_no_zones_is_empty) { EXPECT_THAT(report(0, 0), testing::SizeIs(0)); }

TEST_F(UblkDevice, report_of_many_zones_is_made_of_several) {
    serve(200 * kZone, "zone.size=1M");

    const std::vector<std::uint64_t> found = starts(report(2048, 1000));

    ASSERT_EQ(found.size(), 200U);
    EXPECT_EQ(found[0], 2048U);
    EXPECT_EQ(found[63], 131072U);
    EXPECT_EQ(found[64], 133120U);
    EXPECT_EQ(found[198], 407552U);
    EXPECT_EQ(found[199], 0U);
}

TEST_F(UblkDevice, zones_are_reported_in_sectors_with_type_and_state) {
    serve(4 * kZone, "zone.size=1M,zone.capacity=768K,zone.conventional_zones=1");
    EXPECT_EQ(result_of(IoOperation::write, {kZone, 8192}), 8192);
    EXPECT_EQ(result_of(IoOperation::zone_finish, {2 * kZone, 0}), 0);

    const std::vector<ReportedZone> zones = report(0, 4);

    ASSERT_EQ(zones.size(), 4U);
    EXPECT_EQ(zones[0].length, 2048U);
    EXPECT_EQ(zones[0].capacity, 2048U);
    EXPECT_EQ(zones[0].type, 1);
    EXPECT_EQ(zones[0].state, 0);
    EXPECT_EQ(zones[0].write_pointer, 0U);
    EXPECT_EQ(zones[1].length, 2048U);
    EXPECT_EQ(zones[1].capacity, 1536U);
    EXPECT_EQ(zones[1].type, 2);
    EXPECT_EQ(zones[1].state, 2);
    EXPECT_EQ(zones[1].write_pointer, 2064U);
    EXPECT_EQ(zones[2].state, 14);
    EXPECT_EQ(zones[2].write_pointer, 6144U);
    EXPECT_EQ(zones[3].state, 1);
    EXPECT_EQ(zones[3].write_pointer, 6144U);
    EXPECT_EQ(zones[1].non_sequential + zones[1].reset_recommended, 0);
}

TEST_F(UblkDevice, failed_report_is_an_io_error) {
    root_->error = Error{Errc::corrupt, 0, "bad table"};

    EXPECT_EQ(result_of(IoOperation::report_zones, {0, 4096}), -EIO);
    EXPECT_EQ(port_.delivered, 0U);
}

// --- notes ---------------------------------------------------------------------------------------

TEST_F(UblkDevice, write_to_a_sequential_zone_is_noted_with_its_place) {
    hold_data();
    const Asked& write = send(IoOperation::write, {kZone, 4096}, kOther, 0xa1);

    EXPECT_EQ(word(kOther), 2U);
    EXPECT_EQ(slot(kOther).place, kZone + 1);
    EXPECT_EQ(slot(kOther).length, 4096U);

    release(0);
    EXPECT_EQ(slot(kOther).length, 0U);
    EXPECT_EQ(word(kOther), 2U);
    EXPECT_EQ(take_answer(write).result, 4096);
}

TEST_F(UblkDevice, append_is_noted_with_its_place) {
    EXPECT_EQ(result_of(IoOperation::write, {kZone, 4096}), 4096);
    hold_data();
    send(IoOperation::zone_append, {kZone, 8192}, kOther, 0xa1);

    EXPECT_EQ(word(kOther), 14U);
    EXPECT_EQ(inflight_->note(kOther).offset, kZone);
    EXPECT_EQ(inflight_->note(kOther).length, 8192U);
    EXPECT_EQ(slot(kOther).place, kZone + 4097);
    EXPECT_EQ(slot(kOther).length, 8192U);
    release(0);
}

TEST_F(UblkDevice, close_is_noted_and_no_other_action) {
    send(IoOperation::zone_open, {kZone, 0}, kTag);
    EXPECT_EQ(word(kTag), 0U);
    send(IoOperation::zone_finish, {2 * kZone, 0}, kTag);
    EXPECT_EQ(word(kTag), 0U);
    send(IoOperation::zone_reset, {2 * kZone, 0}, kTag);
    EXPECT_EQ(word(kTag), 0U);
    send(IoOperation::zone_reset_all, {0, 0}, kTag);
    EXPECT_EQ(word(kTag), 0U);

    send(IoOperation::zone_close, {kZone, 0}, kTag);

    EXPECT_EQ(word(kTag), 12U);
    EXPECT_EQ(inflight_->note(kTag).offset, kZone);
}

TEST_F(UblkDevice, what_may_be_done_twice_is_not_noted) {
    send(IoOperation::write, {0, 4096}, kTag);  // the conventional zone
    EXPECT_EQ(word(kTag), 0U);
    send(IoOperation::read, {kZone, 4096}, kTag);
    EXPECT_EQ(word(kTag), 0U);
    send(IoOperation::flush, {0, 0}, kTag);
    EXPECT_EQ(word(kTag), 0U);
    send(IoOperation::report_zones, {0, 4096}, kTag);
    EXPECT_EQ(word(kTag), 0U);
}

TEST_F(UblkDevice, disk_without_zones_notes_nothing) {
    serve_plain();

    send(IoOperation::write, {4096, 4096}, kTag);
    send(IoOperation::discard, {4096, 4096}, kTag);

    EXPECT_EQ(word(kTag), 0U);
    EXPECT_THAT(root_->seen, testing::SizeIs(2));
}

TEST_F(UblkDevice, failed_write_keeps_its_note_without_a_place_until_it_is_answered) {
    hold_data();
    const Asked& write = send(IoOperation::write, {kZone, 4096}, kTag, 0xa1);
    below_->release(0, Errc::io);
    settle();

    EXPECT_EQ(word(kTag), 2U);
    EXPECT_EQ(slot(kTag).place, 0U);
    EXPECT_EQ(take_answer(write).result, -EIO);
}

}  // namespace
}  // namespace zbdkit::ublk
