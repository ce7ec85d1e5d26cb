// SPDX-License-Identifier: Apache-2.0
#include "graph/resume.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/iovec.h"
#include "tests/support/io/uring_reactor.h"

namespace zbdkit {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

/// A zoned disk of 4 MiB that notes what it is asked and has one zone to report.
class NotingNode final : public BlockNode {
  public:
    struct Seen {
        Op op;
        ByteRange range;
        bool fua;
        std::vector<std::byte> data;
        bool operator==(const Seen&) const = default;
    };

    explicit NotingNode(bool is_zoned = true) : BlockNode("noting") {
        NodeInfo info{.size = 4 * kMiB, .ops = {Op::read, Op::write, Op::flush}};
        if (is_zoned) {
            info.ops = {Op::write,      Op::append,    Op::flush,     Op::report_zones,
                        Op::zone_close, Op::zone_open, Op::zone_reset};
            info.zones = {.model = ZoneModel::host_managed,
                          .device_size = 4 * kMiB,
                          .zone_size = kMiB,
                          .zone_capacity = kMiB,
                          .max_append_bytes = 65536,
                          .write_granularity = 512};
        }
        set_info(info);
    }
    [[nodiscard]] std::string describe() const override { return "noting"; }

    std::vector<Seen> seen;
    std::optional<Op> fails;
    /// Zone 1, written up to 8 KiB from its start.
    ZoneDescriptor zone{.start = kMiB,
                        .length = kMiB,
                        .capacity = kMiB,
                        .write_pointer = kMiB + 8192,
                        .type = ZoneType::sequential_required,
                        .state = ZoneState::closed};

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        std::vector<std::byte> data(total_length(request.segments));
        copy_from(request.segments, 0, data);
        seen.push_back({request.op, request.range, request.fua, std::move(data)});
        if (fails == request.op) co_return fail(Errc::io, "as told");
        request.record.placed({kMiB + 65536, request.range.length});
        if (request.op == Op::append) request.append_offset = kMiB + 65536;
        if (request.op == Op::report_zones) {
            request.zones[0] = zone;
            request.zones_reported = 1;
        }
        co_return Result<void>{};
    }
};
using Seen = NotingNode::Seen;

class Resume : public testing::Test {
  protected:
    void serve(bool is_zoned) {
        auto held = std::make_unique<NotingNode>(is_zoned);
        node = held.get();
        backend.emplace(std::move(held));
    }
    void SetUp() override { serve(true); }

    Result<void> submit(Request& request, EarlierWrite earlier, bool is_again = true) {
        const RequestHistory history{
            .record = WriteRecord(slot), .earlier = earlier, .is_again = is_again};
        return reactor.run_to_end(submit_rest(*backend, request, history));
    }
    /// A write of 4 KiB of 1, 4 KiB of 2, at 4 KiB in zone 1.
    Request write(bool fua = false) {
        return write_request({kMiB + 4096, 8192}, IoSegments(segments), fua);
    }
    Request append(bool fua = false) { return append_request(kMiB, IoSegments(segments), fua); }
    EarlierWrite judged() { return reactor.run_to_end(judge_slot(*backend, slot)).value(); }

    static std::vector<std::byte> pattern(std::uint8_t value, std::size_t length) {
        return std::vector<std::byte>(length, std::byte{value});
    }

    test::UringReactor reactor;
    NotingNode* node = nullptr;
    std::optional<BlockBackend> backend;
    WriteSlot slot;
    std::vector<std::byte> first = pattern(1, 4096);
    std::vector<std::byte> second = pattern(2, 4096);
    std::array<iovec, 2> segments = {segment_of(MutableBytes(first)),
                                     segment_of(MutableBytes(second))};
};

// --- what is left to do --------------------------------------------------------------------------

TEST_F(Resume, new_request_is_submitted_with_the_record_of_its_history) {
    Request request = append();

    EXPECT_TRUE(submit(request, {}, false).has_value());

    EXPECT_EQ(node->seen.size(), 1U);
    EXPECT_EQ(request.append_offset, kMiB + 65536);
    EXPECT_EQ(slot.place, kMiB + 65537);
}

TEST_F(Resume, request_of_which_nothing_is_there_is_submitted_as_a_whole) {
    Request request = write(true);

    EXPECT_TRUE(submit(request, {.offset = kMiB + 4096, .landed = 0}).has_value());

    std::vector<std::byte> whole = first;
    whole.insert(whole.end(), second.begin(), second.end());
    EXPECT_THAT(node->seen, ElementsAre(Seen{Op::write, {kMiB + 4096, 8192}, true, whole}));
    EXPECT_EQ(slot.place, kMiB + 65537);
}

TEST_F(Resume, rest_of_a_torn_write_is_written_and_its_place_kept) {
    slot = {.place = kMiB + 4097, .length = 8192};
    Request request = write();

    EXPECT_TRUE(submit(request, {.offset = kMiB + 4096, .landed = 4096}).has_value());

    EXPECT_THAT(node->seen, ElementsAre(Seen{Op::write, {kMiB + 8192, 4096}, false, second}));
    EXPECT_EQ(slot.place, kMiB + 4097);
    EXPECT_EQ(slot.length, 8192U);
}

TEST_F(Resume, rest_of_a_durable_write_is_written_durably) {
    Request request = write(true);

    EXPECT_TRUE(submit(request, {.offset = kMiB + 4096, .landed = 4096}).has_value());

    EXPECT_THAT(node->seen, ElementsAre(Seen{Op::write, {kMiB + 8192, 4096}, true, second}));
}

TEST_F(Resume, rest_of_a_torn_append_is_written_behind_its_part) {
    Request request = append();

    EXPECT_TRUE(submit(request, {.offset = kMiB + 512, .landed = 4096}).has_value());

    EXPECT_THAT(node->seen, ElementsAre(Seen{Op::write, {kMiB + 4608, 4096}, false, second}));
    EXPECT_EQ(request.append_offset, kMiB + 512);
}

TEST_F(Resume, write_that_is_there_is_not_submitted) {
    Request request = append();

    EXPECT_TRUE(submit(request, {.offset = kMiB + 512, .landed = EarlierWrite::kAll}).has_value());

    EXPECT_THAT(node->seen, IsEmpty());
    EXPECT_EQ(request.append_offset, kMiB + 512);
}

TEST_F(Resume, durable_write_that_is_there_is_flushed) {
    Request request = write(true);
    EXPECT_TRUE(submit(request, {.offset = kMiB + 4096, .landed = EarlierWrite::kAll}).has_value());
    EXPECT_THAT(node->seen, ElementsAre(Seen{Op::flush, {0, 0}, false, {}}));

    node->fails = Op::flush;
    EXPECT_EQ(submit(request, {.offset = kMiB + 4096, .landed = EarlierWrite::kAll}).error().code,
              Errc::io);
}

TEST_F(Resume, rest_that_fails_is_told) {
    node->fails = Op::write;
    Request request = write();

    EXPECT_EQ(submit(request, {.offset = kMiB + 4096, .landed = 4096}).error().code, Errc::io);
}

// --- slots ---------------------------------------------------------------------------------------

TEST_F(Resume, slot_without_a_place_asks_for_no_report) {
    EXPECT_EQ(judged().landed, 0U);

    EXPECT_THAT(node->seen, IsEmpty());
}

TEST_F(Resume, slot_of_what_did_not_land_loses_its_place) {
    slot = {.place = kMiB + 8193, .length = 4096};

    EXPECT_EQ(judged().landed, 0U);

    EXPECT_EQ(slot.place, 0U);
}

TEST_F(Resume, slot_of_what_landed_says_so_from_now_on) {
    slot = {.place = kMiB + 4097, .length = 4096};

    const EarlierWrite earlier = judged();

    EXPECT_EQ(earlier.offset, kMiB + 4096);
    EXPECT_EQ(earlier.landed, EarlierWrite::kAll);
    EXPECT_EQ(slot.place, kMiB + 4097);
    EXPECT_EQ(slot.length, 0U);
}

TEST_F(Resume, slot_of_a_torn_write_is_left_as_it_is) {
    slot = {.place = kMiB + 4097, .length = 8192};

    EXPECT_EQ(judged().landed, 4096U);

    EXPECT_EQ(slot.place, kMiB + 4097);
    EXPECT_EQ(slot.length, 8192U);
}

TEST_F(Resume, place_beyond_the_disk_is_none) {
    slot = {.place = 4 * kMiB + 1, .length = 4096};

    EXPECT_EQ(judged().landed, 0U);

    EXPECT_EQ(slot.place, 0U);
    EXPECT_THAT(node->seen, IsEmpty());
}

TEST_F(Resume, place_on_a_disk_without_zones_is_none) {
    serve(false);
    slot = {.place = 4097, .length = 4096};

    EXPECT_EQ(judged().landed, 0U);

    EXPECT_THAT(node->seen, IsEmpty());
}

TEST_F(Resume, zone_that_cannot_be_reported_leaves_the_slot) {
    slot = {.place = kMiB + 4097, .length = 4096};
    node->fails = Op::report_zones;

    EXPECT_FALSE(reactor.run_to_end(judge_slot(*backend, slot)).has_value());

    EXPECT_EQ(slot.place, kMiB + 4097);
    EXPECT_EQ(slot.length, 4096U);
}

}  // namespace
}  // namespace zbdkit
