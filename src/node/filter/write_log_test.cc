// SPDX-License-Identifier: Apache-2.0
#include "node/filter/write_log.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "io/scope.h"
#include "node/filter/write_log_format.h"
#include "tests/support/node/captured_log.h"
#include "tests/support/node/filter_test.h"
#include "tests/support/node/held_node.h"
#include "tests/support/seed.h"

namespace zbdkit {
namespace {

using test::kOk;
using write_log::Header;

constexpr std::uint64_t kSector = 512;

class WriteLog : public test::FilterTest {
  protected:
    std::unique_ptr<BlockNode> log_storage(std::uint64_t size = 8 * kMiB) {
        log_ = AlignedBuffer(size);
        return make_memory_node(log_.bytes());
    }
    std::unique_ptr<BlockNode> over(std::unique_ptr<BlockNode> child, const std::string& options) {
        return open(kWriteLogDriver, options, std::move(child), log_storage()).value();
    }
    std::uint64_t entries_in_super() {
        return write_log::decode_super(log_.bytes().first(write_log::kSuperSize)).value().entries;
    }

    struct Entry {
        Header header;
        std::string text;
        std::uint8_t first_byte = 0;  ///< of the data, if it has any
    };
    /// What a reader of the log finds: as many entries as the super says.
    std::vector<Entry> entries(std::uint64_t sector_size = kSector) {
        std::vector<Entry> found;
        const ConstBytes log = log_.bytes();
        std::uint64_t at = sector_size;
        while (found.size() < entries_in_super()) {
            const Result<Header> header = write_log::decode_header(log.subspan(at), sector_size);
            if (!header) break;
            Entry entry = {.header = *header};
            for (std::uint64_t i = 0; i < header->text_length; ++i) {
                entry.text += static_cast<char>(log[at + 32 + i]);
            }
            at += sector_size;
            if (header->data_sectors() != 0) entry.first_byte = static_cast<std::uint8_t>(log[at]);
            at += header->data_sectors() * sector_size;
            found.push_back(entry);
        }
        return found;
    }

    AlignedBuffer log_;
};

TEST_F(WriteLog, writes_and_flushes_are_logged_in_order) {
    const auto node = over(plain_disk(), "");
    ASSERT_EQ(write(*node, 4096, 1024, 7), kOk);
    ASSERT_EQ(write(*node, 0, 512, 8, true), kOk);
    ASSERT_EQ(submit(*node, flush_request()), kOk);
    const std::vector<Entry> found = entries();
    ASSERT_EQ(found.size(), 3U);
    EXPECT_EQ(found[0].header, (Header{.sector = 8, .sectors = 2}));
    EXPECT_EQ(found[0].first_byte, 7);
    EXPECT_EQ(found[1].header, (Header{.sector = 0, .sectors = 1, .flags = write_log::kFua}));
    EXPECT_EQ(found[1].first_byte, 8);
    EXPECT_EQ(found[2].header, (Header{.flags = write_log::kFlush}));
    close(*node);
}

TEST_F(WriteLog, discards_have_no_data_and_zeroes_have) {
    const auto node = over(plain_disk(), "");
    ASSERT_EQ(submit(*node, range_request(Op::discard, {0, 8192})), kOk);
    ASSERT_EQ(submit(*node, range_request(Op::write_zeroes, {8192, 4096})), kOk);
    ASSERT_EQ(write(*node, 0, 512, 9), kOk);
    close(*node);
    const std::vector<Entry> found = entries();
    ASSERT_EQ(found.size(), 3U);
    EXPECT_EQ(found[0].header, (Header{.sectors = 16, .flags = write_log::kDiscard}));
    EXPECT_EQ(found[1].header, (Header{.sector = 16, .sectors = 8}));
    EXPECT_EQ(found[1].first_byte, 0);
    EXPECT_EQ(found[2].first_byte, 9);
}

TEST_F(WriteLog, append_is_logged_where_it_landed_and_zone_actions_are_marks) {
    const auto node = over(zoned_disk(), "");
    ASSERT_EQ(append(*node, kZone, 4096, 1), kOk);
    ASSERT_EQ(append(*node, kZone, 8192, 2), kOk);
    ASSERT_EQ(act(*node, Op::zone_finish, kZone), kOk);
    ASSERT_EQ(act(*node, Op::zone_reset_all), kOk);
    close(*node);
    const std::vector<Entry> found = entries();
    ASSERT_EQ(found.size(), 4U);
    EXPECT_EQ(found[0].header, (Header{.sector = 2048, .sectors = 8}));
    EXPECT_EQ(found[1].header, (Header{.sector = 2056, .sectors = 16}));
    EXPECT_EQ(found[1].first_byte, 2);
    EXPECT_EQ(found[2].text, "zone_finish 2048");
    EXPECT_EQ(found[3].text, "zone_reset_all");
}

TEST_F(WriteLog, what_failed_is_not_logged) {
    const auto node = over(zoned_disk(), "");
    ASSERT_EQ(write(*node, kZone + 4096, 4096), Errc::zone_unaligned_wp);
    ASSERT_EQ(act(*node, Op::zone_close, kZone), Errc::zone_invalid);
    close(*node);
    EXPECT_EQ(entries_in_super(), 0U);
}

TEST_F(WriteLog, reads_and_reports_are_not_logged) {
    const auto node = over(zoned_disk(), "");
    ASSERT_EQ(read(*node, 0, 4096), kOk);
    ASSERT_EQ(report(*node).size(), 8U);
    close(*node);
    EXPECT_EQ(entries_in_super(), 0U);
}

TEST_F(WriteLog, entries_stand_in_the_order_of_completion) {
    auto held = std::make_unique<test::HeldNode>(plain_disk());
    test::HeldNode& below = *held;
    const auto node = over(std::move(held), "");
    below.hold_from(0);
    std::array<std::byte, 512> data{};
    const iovec segment = segment_of(MutableBytes(data));
    Request first = write_request({0, 512}, IoSegments(&segment, 1));
    Request second = write_request({512, 512}, IoSegments(&segment, 1));
    constexpr auto drive = [](BlockNode& target, Request& request) -> Task<void> {
        const Result<void> result = co_await target.submit(request);
        EXPECT_TRUE(result.has_value());
    };
    TaskScope scope;
    scope.spawn(drive(*node, first));
    scope.spawn(drive(*node, second));
    below.release(1);
    for (int i = 0; i < 8; ++i) reactor_.turn(false);
    below.release(0);
    for (int i = 0; i < 8; ++i) reactor_.turn(false);
    EXPECT_EQ(scope.running(), 0U);
    close(*node);
    const std::vector<Entry> found = entries();
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0].header.sector, 1U);
    EXPECT_EQ(found[1].header.sector, 0U);
}

TEST_F(WriteLog, super_is_brought_up_to_date_at_each_interval) {
    const auto node = over(plain_disk(), "log-super-update-interval=2");
    ASSERT_EQ(write(*node, 0, 512), kOk);
    EXPECT_EQ(entries_in_super(), 0U);
    ASSERT_EQ(write(*node, 0, 512), kOk);
    EXPECT_EQ(entries_in_super(), 2U);
    close(*node);
}

TEST_F(WriteLog, log_goes_on_behind_what_it_has) {
    const auto first = over(plain_disk(), "log-sector-size=4096");
    ASSERT_EQ(write(*first, 0, 8192, 1), kOk);
    ASSERT_EQ(submit(*first, range_request(Op::discard, {0, 4096})), kOk);
    close(*first);
    const auto second =
        open(kWriteLogDriver, "log-append=on", plain_disk(), make_memory_node(log_.bytes()))
            .value();
    ASSERT_EQ(write(*second, 4096, 4096, 2), kOk);
    close(*second);
    const std::vector<Entry> found = entries(4096);
    ASSERT_EQ(found.size(), 3U);
    EXPECT_EQ(found[0].header.sectors, 2U);
    EXPECT_EQ(found[2].header, (Header{.sector = 1, .sectors = 1}));
    EXPECT_EQ(found[2].first_byte, 2);
}

TEST_F(WriteLog, full_log_fails_the_write_and_all_later_ones) {
    const auto node = open(kWriteLogDriver, "", plain_disk(), log_storage(4 * kSector)).value();
    ASSERT_EQ(write(*node, 0, 512), kOk);
    const test::CapturedLog log;
    EXPECT_EQ(write(*node, 0, 512), Errc::no_space);
    EXPECT_EQ(write(*node, 0, 512), Errc::no_space);
    EXPECT_EQ(read(*node, 0, 512), kOk);
    EXPECT_EQ(log.text(),
              "error: log 'memory of 2 KiB' lacks entry 1, so later writes of 'memory of 2 MiB' "
              "fail: the write log is full\n");
    close(*node);
}

TEST_F(WriteLog, replaying_the_log_rebuilds_the_disk) {
    SCOPED_TRACE(test::seed_trace());
    std::mt19937_64 random(test::seed());
    const auto node = over(plain_disk(256 * kKiB), "");
    const MutableBytes disk = image();
    for (int i = 0; i < 300; ++i) {
        const std::uint64_t length = kSector * (1 + random() % 16);
        const std::uint64_t offset = kSector * (random() % 496);
        const auto value = static_cast<std::uint8_t>(random());
        const auto choice = random() % 8;
        const Op zeroing = choice == 0 ? Op::write_zeroes : Op::discard;
        ASSERT_EQ(choice < 2 ? submit(*node, range_request(zeroing, {offset, length}))
                             : write(*node, offset, length, value),
                  kOk);
    }
    close(*node);
    AlignedBuffer replayed(256 * kKiB);
    std::uint64_t at = kSector;
    for (const Entry& entry : entries()) {
        const MutableBytes place =
            replayed.bytes().subspan(entry.header.sector * kSector, entry.header.sectors * kSector);
        std::ranges::fill(place, std::byte{0});  // of a discard, as memory has it
        const std::uint64_t length = entry.header.data_sectors() * kSector;
        std::ranges::copy(log_.bytes().subspan(at + kSector, length), place.begin());
        at += kSector + length;
    }
    EXPECT_TRUE(std::ranges::equal(replayed.bytes(), disk));
}

TEST_F(WriteLog, requests_are_multiples_of_the_sector_size) {
    const auto node = over(plain_disk(), "log-sector-size=4096");
    EXPECT_EQ(node->info().block_size, 4096U);
    EXPECT_EQ(write(*node, 512, 4096), Errc::misaligned);
    close(*node);
}

TEST_F(WriteLog, mapping_is_refused_because_it_would_pass_the_log_by) {
    const auto node = over(plain_disk(), "");
    EXPECT_EQ(node->map({0, 4096}).error().code, Errc::not_supported);
    close(*node);
}

TEST_F(WriteLog, zoned_log_is_refused) {
    const std::string message = refusal(kWriteLogDriver, "", plain_disk(), zoned_disk());
    EXPECT_NE(message.find("is zoned: expected storage whose first sector can be written again"),
              std::string::npos)
        << message;
}

TEST_F(WriteLog, bad_sector_sizes_are_refused) {
    EXPECT_EQ(refusal(kWriteLogDriver, "log-sector-size=100", plain_disk(), log_storage()),
              "driver 'write_log': option 'log-sector-size': expected a power of two from 512 to "
              "64K, not 100");
    EXPECT_EQ(refusal(kWriteLogDriver, "log-sector-size=8K", zoned_disk(), log_storage())
                  .find("log-sector-size 8192: expected at most 4096, the block size of zoned"),
              0U);
    EXPECT_EQ(refusal(kWriteLogDriver, "log-super-update-interval=0", plain_disk(), log_storage()),
              "driver 'write_log': option 'log-super-update-interval': expected at least 1");
}

TEST_F(WriteLog, log_that_is_none_cannot_be_appended_to) {
    EXPECT_EQ(refusal(kWriteLogDriver, "log-append=on", plain_disk(), log_storage()),
              "cannot append to log 'memory of 8 MiB': it does not begin with the magic number of "
              "a write log");
}

TEST_F(WriteLog, log_whose_entries_pass_its_end_cannot_be_appended_to) {
    auto storage = log_storage(4 * kSector);
    write_log::encode_super({.entries = 2, .sector_size = kSector},
                            log_.bytes().first(write_log::kSuperSize));
    write_log::encode_header({.sectors = 1'000'000}, "",
                             log_.bytes().subspan(kSector, write_log::kHeaderSize));
    EXPECT_EQ(refusal(kWriteLogDriver, "log-append=on", plain_disk(), std::move(storage)),
              "cannot append to log 'memory of 2 KiB': entry 1 of 2 lies beyond its end");
}

}  // namespace
}  // namespace zbdkit
