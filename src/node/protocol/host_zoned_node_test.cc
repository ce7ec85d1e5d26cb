// SPDX-License-Identifier: Apache-2.0
// The node over a device that exists only here: its zones answer through FakeZones, its transfers
// end when the test says so.
#include "node/protocol/host_zoned_node.h"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/buffer.h"
#include "tests/support/io/manual_engine.h"

namespace zbdkit {
namespace {

constexpr std::uint64_t kBlock = 4096;
constexpr std::uint64_t kZoneSize = 64 * kKiB;

/// What the device was told to do.
struct Acted {
    ZoneAction action;
    ByteRange zones;
    bool operator==(const Acted&) const = default;
};

/// Zones that tests change by hand. Called by threads of the pool.
class FakeZones final : public ZoneControl {
  public:
    explicit FakeZones(ZoneList zones) : zones_(std::move(zones)) {}

    Result<ZoneList> report(std::uint64_t offset, std::uint32_t most) override {
        std::unique_lock lock(mutex_);
        ++reports_;
        caller_ = std::this_thread::get_id();
        if (report_failure_ != 0) {
            return std::unexpected(error_from_errno(report_failure_, "report"));
        }
        ZoneList answer;
        for (const ZoneDescriptor& zone : zones_) {
            if (zone.start + zone.length > offset && answer.size() < most) answer.push_back(zone);
        }
        changed_.wait(lock, [this] { return !holds_reports_; });
        return answer;
    }

    Result<void> act(ZoneAction action, ByteRange zones) override {
        const std::scoped_lock lock(mutex_);
        acted_.push_back({action, zones});
        caller_ = std::this_thread::get_id();
        if (failures_.empty()) return {};
        const int code = failures_.front();
        failures_.pop_front();
        if (code == 0) return {};
        return std::unexpected(error_from_errno(code, "action"));
    }

    void set(std::size_t zone, ZoneState state, std::uint64_t pointer) {
        const std::scoped_lock lock(mutex_);
        zones_[zone].state = state;
        zones_[zone].write_pointer = zones_[zone].start + pointer;
    }
    void move(std::size_t zone) {
        const std::scoped_lock lock(mutex_);
        zones_[zone].start += kBlock;
    }
    void fail_reports(int code) {
        const std::scoped_lock lock(mutex_);
        report_failure_ = code;
    }
    /// Reports say what is so now, but not before this is called with false.
    void hold_reports(bool on) {
        const std::scoped_lock lock(mutex_);
        holds_reports_ = on;
        changed_.notify_all();
    }
    /// The errno values of the next actions; 0 is a success.
    void fail_actions(std::deque<int> codes) {
        const std::scoped_lock lock(mutex_);
        failures_ = std::move(codes);
    }
    [[nodiscard]] std::vector<Acted> acted() const {
        const std::scoped_lock lock(mutex_);
        return acted_;
    }
    [[nodiscard]] int reports() const {
        const std::scoped_lock lock(mutex_);
        return reports_;
    }
    /// The thread of the last call.
    [[nodiscard]] std::thread::id caller() const {
        const std::scoped_lock lock(mutex_);
        return caller_;
    }

  private:
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    bool holds_reports_ = false;
    std::thread::id caller_;
    ZoneList zones_;
    int report_failure_ = 0;
    std::deque<int> failures_;
    std::vector<Acted> acted_;
    int reports_ = 0;
};

/// Zones of 64 KiB: 0 is conventional, 1 to 4 are sequential, 5 is short and 2 has room for 16 KiB.
ZoneGeometry small_geometry() {
    return {.model = ZoneModel::host_managed,
            .device_size = 5 * kZoneSize + 32 * kKiB,
            .zone_size = kZoneSize,
            .zone_capacity = kZoneSize,
            .conventional_zones = 1,
            .max_append_bytes = 32 * kKiB,
            .write_granularity = kBlock};
}

ZoneList zones_of(const ZoneGeometry& geometry) {
    ZoneList zones;
    for (std::uint32_t i = 0; i < geometry.zone_count(); ++i) {
        const ZoneIndex zone{i};
        const bool is_sequential = geometry.type_of(zone) != ZoneType::conventional;
        zones.push_back({.start = geometry.start_of(zone),
                         .length = geometry.length_of(zone),
                         .capacity = geometry.capacity_of(zone),
                         .write_pointer = geometry.start_of(zone),
                         .type = geometry.type_of(zone),
                         .state = is_sequential ? ZoneState::empty : ZoneState::not_write_pointer});
    }
    return zones;
}

class HostZonedNode : public testing::Test {
  protected:
    /// A request on its way.
    struct Sent {
        Request request;
        std::optional<Result<void>> result{};

        [[nodiscard]] bool is_done() const { return result.has_value(); }
        [[nodiscard]] bool is_ok() const { return result && result->has_value(); }
        [[nodiscard]] std::optional<Errc> error() const {
            if (!result || result->has_value()) return std::nullopt;
            return result->error().code;
        }
    };

    explicit HostZonedNode(ZoneGeometry geometry = small_geometry()) : geometry_(geometry) {
        auto engine = std::make_unique<test::ManualEngine>();
        engine_ = engine.get();
        reactor_.emplace(std::move(engine));
        pool_.emplace(1);
    }

    void SetUp() override {
        ZoneList zones = zones_of(geometry_);
        if (zones.size() > 2) zones[2].capacity = 16 * kKiB;
        ASSERT_TRUE(open(std::move(zones)).has_value());
    }
    void TearDown() override { EXPECT_EQ(scope_.running(), 0U); }

    Outcome<void> open(ZoneList zones, bool read_only = false) {
        auto control = std::make_unique<FakeZones>(std::move(zones));
        zones_ = control.get();
        HostZonedParts parts{.filename = "/dev/fake", .control = std::move(control)};
        parts.info = {.size = geometry_.device_size,
                      .block_size = 512,
                      .physical_block_size = 4096,
                      .read_only = read_only,
                      .zones = geometry_};
        OpenContext context{*reactor_, *pool_};
        Outcome<std::unique_ptr<BlockNode>> node =
            reactor_->run_to_end(open_host_zoned_node(context, std::move(parts)));
        if (!node) return std::unexpected(node.error());
        node_ = std::move(*node);
        return {};
    }

    /// Lets everything run that does not wait for a transfer. What one call of the pool leads to
    /// may be another one; no request makes more than a handful.
    void settle() {
        constexpr int kMostCallsInARow = 32;
        constexpr auto nothing = [](BlockingPool& pool, Reactor& reactor) -> Task<void> {
            BlockingPool::Call call = pool.run(reactor, [] {});
            co_await call;
        };
        for (int i = 0; i < kMostCallsInARow; ++i) reactor_->run_to_end(nothing(*pool_, *reactor_));
    }

    /// Sends a request and lets nothing run but what starts at once.
    Sent& start(Request request) {
        constexpr auto drive = [](BlockNode& node, Sent& sent) -> Task<void> {
            const Result<void> result = co_await node.submit(sent.request);
            sent.result = result;
        };
        Sent& sent = sent_.emplace_back(Sent{request});
        scope_.spawn(drive(*node_, sent));
        return sent;
    }
    Sent& send(Request request) {
        Sent& sent = start(request);
        settle();
        return sent;
    }
    IoSegments data(std::uint64_t length) {
        segments_.push_back({memory_.data(), length});
        return {&segments_.back(), 1};
    }
    Sent& append(std::uint32_t zone, std::uint64_t length = kBlock, bool fua = false) {
        return send(append_request(zone * kZoneSize, data(length), fua));
    }
    Sent& write(std::uint64_t offset, std::uint64_t length = kBlock, bool fua = false) {
        return send(write_request({offset, length}, data(length), fua));
    }
    Sent& read(ByteRange range) { return send(read_request(range, data(range.length))); }
    Sent& act(Op op, std::uint32_t zone) { return send(zone_request(op, zone * kZoneSize)); }

    /// Transfers in flight, as (offset, length).
    [[nodiscard]] std::vector<ByteRange> in_flight() const {
        std::vector<ByteRange> ranges;
        for (const IoOp* op : engine_->in_flight) ranges.push_back(op->range);
        return ranges;
    }
    /// Ends the transfer that has been in flight longest: all of it, or with an errno.
    void end(int os_errno = 0) {
        ASSERT_FALSE(engine_->in_flight.empty());
        IoOp& op = *engine_->in_flight.front();
        const auto all =
            op.kind == IoKind::sync_data ? 0 : static_cast<std::int32_t>(op.range.length);
        engine_->end(op, os_errno == 0 ? all : -os_errno);
        settle();
    }

    ZoneGeometry geometry_;
    test::ManualEngine* engine_ = nullptr;
    std::optional<Reactor> reactor_;
    std::optional<BlockingPool> pool_;
    std::unique_ptr<BlockNode> node_;
    FakeZones* zones_ = nullptr;
    AlignedBuffer memory_{kMiB};
    std::deque<iovec> segments_;
    std::deque<Sent> sent_;
    TaskScope scope_;
};

using Ranges = std::vector<ByteRange>;

// --- Order --------------------------------------------------------------------------------------

TEST_F(HostZonedNode, one_write_of_a_zone_is_in_flight_at_a_time) {
    const Sent& first = write(kZoneSize);
    const Sent& second = write(kZoneSize + 4096);
    EXPECT_EQ(in_flight(), (Ranges{{65536, 4096}}));
    end();
    EXPECT_TRUE(first.is_ok());
    EXPECT_FALSE(second.is_done());
    EXPECT_EQ(in_flight(), (Ranges{{69632, 4096}}));
    end();
    EXPECT_TRUE(second.is_ok());
}

TEST_F(HostZonedNode, zones_are_written_in_parallel) {
    write(kZoneSize);
    append(3);
    append(4);
    EXPECT_EQ(in_flight(), (Ranges{{65536, 4096}, {196608, 4096}, {262144, 4096}}));
    end();
    end();
    end();
}

TEST_F(HostZonedNode, conventional_zone_and_reads_are_not_ordered) {
    write(0);
    write(4096);
    write(kZoneSize);
    read({kZoneSize, 4096});
    read({kZoneSize, 4096});
    EXPECT_EQ(in_flight().size(), 5U);
    for (int i = 0; i < 5; ++i) end();
}

TEST_F(HostZonedNode, action_waits_for_the_writer_of_its_zone) {
    write(kZoneSize);
    const Sent& reset = act(Op::zone_reset, 1);
    EXPECT_TRUE(zones_->acted().empty());
    end();
    EXPECT_TRUE(reset.is_ok());
    EXPECT_EQ(zones_->acted(), (std::vector<Acted>{{ZoneAction::reset, {65536, 65536}}}));
}

TEST_F(HostZonedNode, reset_all_waits_for_writers_and_holds_up_later_ones) {
    const Sent& early = append(1);
    const Sent& reset = send(zone_request(Op::zone_reset_all, 0));
    const Sent& late = append(3);
    EXPECT_EQ(in_flight(), (Ranges{{65536, 4096}}));
    EXPECT_TRUE(zones_->acted().empty());
    end();
    EXPECT_TRUE(early.is_ok());
    EXPECT_TRUE(reset.is_ok());
    EXPECT_EQ(zones_->acted(), (std::vector<Acted>{{ZoneAction::reset, {0, 360448}}}));
    EXPECT_EQ(in_flight(), (Ranges{{196608, 4096}}));
    end();
    EXPECT_TRUE(late.is_ok());
}

TEST_F(HostZonedNode, write_with_fua_is_synced_before_it_completes) {
    const Sent& sent = write(kZoneSize, kBlock, true);
    end();
    ASSERT_EQ(engine_->in_flight.size(), 1U);
    EXPECT_EQ(engine_->in_flight.front()->kind, IoKind::sync_data);
    EXPECT_FALSE(sent.is_done());
    end();
    EXPECT_TRUE(sent.is_ok());
}

// --- Joined appends -----------------------------------------------------------------------------

TEST_F(HostZonedNode, appends_that_wait_become_one_write) {
    const Sent& first = append(1);
    const Sent& second = append(1);
    const Sent& third = append(1, 2 * kBlock);
    end();
    ASSERT_EQ(in_flight(), (Ranges{{69632, 12288}}));
    EXPECT_EQ(engine_->in_flight.front()->segment_count, 2U);
    end();
    EXPECT_TRUE(first.is_ok() && second.is_ok() && third.is_ok());
    EXPECT_EQ(first.request.append_offset, 65536U);
    EXPECT_EQ(second.request.append_offset, 69632U);
    EXPECT_EQ(third.request.append_offset, 73728U);
    EXPECT_TRUE(in_flight().empty());
}

TEST_F(HostZonedNode, joined_appends_record_their_places_before_the_write) {
    WriteSlot slots[2];
    iovec segment{memory_.data(), kBlock};
    append(1);
    for (WriteSlot& slot : slots) {
        Request request = append_request(kZoneSize, IoSegments(&segment, 1));
        request.record = WriteRecord(slot);
        send(request);
    }
    end();
    EXPECT_EQ(slots[0].place, 69632U + 1);
    EXPECT_EQ(slots[1].place, 73728U + 1);
    EXPECT_EQ(slots[1].length, 4096U);
    end();
    EXPECT_EQ(slots[0].length, 0U);
    EXPECT_EQ(slots[1].length, 0U);
}

TEST_F(HostZonedNode, failed_append_has_no_place) {
    WriteSlot slot;
    iovec segment{memory_.data(), kBlock};
    Request request = append_request(kZoneSize, IoSegments(&segment, 1));
    request.record = WriteRecord(slot);
    const Sent& sent = send(request);
    EXPECT_EQ(slot.place, 65536U + 1);
    end(EIO);
    end(EIO);
    EXPECT_EQ(sent.error(), Errc::io);
    EXPECT_EQ(slot.place, 0U);
}

TEST_F(HostZonedNode, joined_write_keeps_to_the_append_limit) {
    for (int i = 0; i < 12; ++i) append(1);  // 32 KiB are 8 of them
    end();
    EXPECT_EQ(in_flight(), (Ranges{{69632, 32768}}));
    end();
    EXPECT_EQ(in_flight(), (Ranges{{102400, 12288}}));
    end();
    EXPECT_EQ(sent_.back().request.append_offset, 110592U);
}

TEST_F(HostZonedNode, joined_write_keeps_to_the_capacity) {
    for (int i = 0; i < 5; ++i) append(2);  // there is room for 4
    end();
    ASSERT_EQ(in_flight(), (Ranges{{135168, 12288}}));
    zones_->set(2, ZoneState::full, kZoneSize);
    end();
    EXPECT_TRUE(sent_[3].is_ok());
    EXPECT_EQ(sent_[4].error(), Errc::zone_invalid);
    EXPECT_TRUE(in_flight().empty());
}

TEST_F(HostZonedNode, joined_write_has_no_more_segments_than_a_call_takes) {
    std::vector<iovec> small(600, iovec{memory_.data(), 8});
    small.back().iov_len = 4096 - 599 * 8 + 4096;
    append(1);
    for (int i = 0; i < 2; ++i) send(append_request(kZoneSize, small));
    end();
    ASSERT_EQ(in_flight(), (Ranges{{69632, 8192}}));
    EXPECT_EQ(engine_->in_flight.front()->segment_count, 600U);
    end();
    EXPECT_EQ(in_flight(), (Ranges{{77824, 8192}}));
    end();
}

TEST_F(HostZonedNode, joined_write_is_synced_once) {
    append(1);
    const Sent& plain = append(1);
    const Sent& durable = append(1, kBlock, true);
    append(1, kBlock, true);
    end();
    end();
    ASSERT_EQ(engine_->in_flight.size(), 1U);
    EXPECT_EQ(engine_->in_flight.front()->kind, IoKind::sync_data);
    end(EIO);
    EXPECT_TRUE(plain.is_ok());
    EXPECT_EQ(durable.error(), Errc::io);
    EXPECT_TRUE(in_flight().empty());
}

TEST_F(HostZonedNode, after_a_joined_write_fails_each_append_is_tried_alone) {
    append(1);
    const Sent& second = append(1);
    const Sent& third = append(1);
    const Sent& fourth = append(1);
    zones_->set(1, ZoneState::implicit_open, kBlock);
    end();
    end(EIO);
    EXPECT_EQ(in_flight(), (Ranges{{69632, 4096}}));
    end();
    EXPECT_EQ(in_flight(), (Ranges{{73728, 4096}}));
    zones_->set(1, ZoneState::implicit_open, 2 * kBlock);
    end(EIO);
    EXPECT_EQ(in_flight(), (Ranges{{73728, 4096}}));
    end();
    EXPECT_EQ(second.request.append_offset, 69632U);
    EXPECT_EQ(third.error(), Errc::io);
    EXPECT_EQ(fourth.request.append_offset, 73728U);
    EXPECT_TRUE(second.is_ok() && fourth.is_ok());
}

TEST_F(HostZonedNode, limit_that_a_joined_write_hits_is_that_of_all_its_appends) {
    write(kZoneSize);
    append(1);
    append(1);
    end();
    end(EOVERFLOW);
    EXPECT_EQ(sent_[1].error(), Errc::zone_active_limit);
    EXPECT_EQ(sent_[2].error(), Errc::zone_active_limit);
    EXPECT_TRUE(in_flight().empty());
}

TEST_F(HostZonedNode, appends_of_a_device_that_is_gone_fail_at_once) {
    append(1);
    append(1);
    append(1);
    zones_->fail_reports(ENODEV);
    end(EIO);
    EXPECT_EQ(in_flight().size(), 1U);
    end(EIO);
    for (const Sent& sent : sent_) EXPECT_EQ(sent.error(), Errc::io);
}

// --- Failures and what others do to the device --------------------------------------------------

/// What the kernel says, what the zone is afterwards, and what the writer is told.
struct FailedWrite {
    int os_errno;
    ZoneState state;
    std::uint64_t pointer;
    Errc expected;
};

class FailedWrites : public HostZonedNode, public testing::WithParamInterface<FailedWrite> {};

TEST_P(FailedWrites, are_explained_by_the_zone_as_it_is_now) {
    const Sent& sent = write(kZoneSize);
    const int before = zones_->reports();
    zones_->set(1, GetParam().state, GetParam().pointer);
    end(GetParam().os_errno);
    EXPECT_EQ(sent.error(), GetParam().expected);
    EXPECT_EQ(zones_->reports(), before + 1);
}

INSTANTIATE_TEST_SUITE_P(
    HostZonedNode, FailedWrites,
    testing::Values(FailedWrite{EIO, ZoneState::empty, 0, Errc::io},
                    FailedWrite{EREMOTEIO, ZoneState::implicit_open, 0, Errc::io},
                    FailedWrite{EIO, ZoneState::implicit_open, 512 * 24, Errc::zone_unaligned_wp},
                    FailedWrite{EIO, ZoneState::full, kZoneSize, Errc::zone_invalid},
                    FailedWrite{EIO, ZoneState::read_only, 0, Errc::zone_invalid},
                    FailedWrite{EIO, ZoneState::offline, 0, Errc::zone_invalid},
                    FailedWrite{ETOOMANYREFS, ZoneState::empty, 0, Errc::zone_open_limit},
                    FailedWrite{EOVERFLOW, ZoneState::empty, 0, Errc::zone_active_limit},
                    FailedWrite{ENOSPC, ZoneState::empty, 0, Errc::no_space}));

TEST_F(HostZonedNode, write_off_the_pointer_is_refused_after_a_fresh_report) {
    const int before = zones_->reports();
    EXPECT_EQ(write(kZoneSize + 4096).error(), Errc::zone_unaligned_wp);
    EXPECT_EQ(zones_->reports(), before + 1);
    EXPECT_TRUE(in_flight().empty());
}

TEST_F(HostZonedNode, write_where_somebody_else_moved_the_pointer_goes_through) {
    zones_->set(1, ZoneState::implicit_open, 8192);
    const Sent& sent = write(kZoneSize + 8192);
    EXPECT_EQ(in_flight(), (Ranges{{73728, 4096}}));
    end();
    EXPECT_TRUE(sent.is_ok());
}

TEST_F(HostZonedNode, append_after_somebody_else_reset_the_zone_lands_at_its_start) {
    append(1);
    end();
    zones_->set(1, ZoneState::empty, 0);
    const Sent& sent = append(1);
    EXPECT_EQ(in_flight(), (Ranges{{69632, 4096}}));
    end(EIO);  // no longer the pointer
    EXPECT_EQ(in_flight(), (Ranges{{65536, 4096}}));
    end();
    EXPECT_TRUE(sent.is_ok());
    EXPECT_EQ(sent.request.append_offset, 65536U);
}

TEST_F(HostZonedNode, append_to_a_zone_that_somebody_else_filled_is_invalid) {
    const Sent& sent = append(1);
    zones_->set(1, ZoneState::full, kZoneSize);
    end(EIO);
    EXPECT_EQ(sent.error(), Errc::zone_invalid);
    EXPECT_TRUE(in_flight().empty());
}

TEST_F(HostZonedNode, append_that_fails_twice_is_a_failure_of_the_medium) {
    const Sent& sent = append(1);
    end(EIO);
    end(EIO);
    EXPECT_EQ(sent.error(), Errc::io);
}

TEST_F(HostZonedNode, writes_across_the_end_of_a_zone_do_not_reach_the_device) {
    EXPECT_EQ(write(2 * kZoneSize - 4096, 8192).error(), Errc::zone_invalid);
    EXPECT_EQ(write(kZoneSize - 4096, 8192).error(), Errc::zone_invalid);
    EXPECT_EQ(append(2, 20 * kKiB).error(), Errc::zone_invalid);
    EXPECT_EQ(append(1, 36 * kKiB).error(), Errc::zone_invalid);
    EXPECT_TRUE(in_flight().empty());
}

TEST_F(HostZonedNode, append_to_a_conventional_zone_is_invalid) {
    EXPECT_EQ(append(0).error(), Errc::zone_invalid);
    EXPECT_EQ(append(1, 0).error(), Errc::zone_invalid);
}

TEST_F(HostZonedNode, write_off_the_granularity_is_refused) {
    EXPECT_EQ(write(kZoneSize, 512).error(), Errc::zone_unaligned_wp);
    EXPECT_EQ(append(1, 512).error(), Errc::zone_unaligned_wp);
}

TEST_F(HostZonedNode, short_last_zone_takes_what_it_has_room_for) {
    EXPECT_EQ(append(5, 32 * kKiB + kBlock).error(), Errc::zone_invalid);
    const Sent& sent = append(5, 32 * kKiB);
    EXPECT_EQ(in_flight(), (Ranges{{327680, 32768}}));
    end();
    EXPECT_EQ(sent.request.append_offset, 327680U);
}

// --- Reads --------------------------------------------------------------------------------------

TEST_F(HostZonedNode, read_across_the_border_of_a_sequential_zone_is_invalid) {
    EXPECT_EQ(read({2 * kZoneSize - 4096, 8192}).error(), Errc::zone_invalid);
    EXPECT_EQ(read({kZoneSize - 4096, 8192}).error(), Errc::zone_invalid);
}

TEST_F(HostZonedNode, failed_read_of_an_offline_zone_is_invalid) {
    const Sent& sent = read({kZoneSize, 4096});
    zones_->set(1, ZoneState::offline, 0);
    end(EIO);
    EXPECT_EQ(sent.error(), Errc::zone_invalid);
}

TEST_F(HostZonedNode, failed_read_of_a_working_zone_is_a_failure_of_the_medium) {
    const Sent& sent = read({kZoneSize, 4096});
    end(ENODATA);
    EXPECT_EQ(sent.error(), Errc::io);
}

TEST_F(HostZonedNode, failed_write_to_a_worn_out_conventional_zone_is_invalid) {
    const Sent& sent = write(0);
    zones_->set(0, ZoneState::read_only, 0);
    end(EIO);
    EXPECT_EQ(sent.error(), Errc::zone_invalid);
}

// --- Actions and reports ------------------------------------------------------------------------

TEST_F(HostZonedNode, actions_are_those_of_the_device) {
    EXPECT_TRUE(act(Op::zone_open, 1).is_ok());
    EXPECT_TRUE(act(Op::zone_close, 2).is_ok());
    EXPECT_TRUE(act(Op::zone_finish, 5).is_ok());
    EXPECT_EQ(zones_->acted(), (std::vector<Acted>{{ZoneAction::open, {65536, 65536}},
                                                   {ZoneAction::close, {131072, 65536}},
                                                   {ZoneAction::finish, {327680, 32768}}}));
}

TEST_F(HostZonedNode, failed_action_is_explained_by_the_zone_as_it_is_now) {
    zones_->fail_actions({EIO, EIO, EIO, ETOOMANYREFS, EOVERFLOW, EIO, EOPNOTSUPP});
    EXPECT_EQ(act(Op::zone_reset, 0).error(), Errc::zone_invalid);
    zones_->set(1, ZoneState::full, kZoneSize);
    EXPECT_EQ(act(Op::zone_open, 1).error(), Errc::zone_invalid);
    zones_->set(2, ZoneState::offline, 0);
    EXPECT_EQ(act(Op::zone_reset, 2).error(), Errc::zone_invalid);
    EXPECT_EQ(act(Op::zone_open, 3).error(), Errc::zone_open_limit);
    EXPECT_EQ(act(Op::zone_open, 3).error(), Errc::zone_active_limit);
    EXPECT_EQ(act(Op::zone_open, 3).error(), Errc::io);
    EXPECT_EQ(act(Op::zone_finish, 3).error(), Errc::not_supported);
}

TEST_F(HostZonedNode, action_shows_in_the_next_write) {
    append(1);
    end();
    zones_->set(1, ZoneState::empty, 0);
    act(Op::zone_reset, 1);
    append(1);
    EXPECT_EQ(in_flight(), (Ranges{{65536, 4096}}));
    end();
}

TEST_F(HostZonedNode, reset_all_goes_zone_by_zone_where_the_driver_stumbles) {
    zones_->set(1, ZoneState::full, kZoneSize);
    zones_->set(2, ZoneState::offline, 0);
    zones_->set(3, ZoneState::closed, kBlock);
    zones_->set(4, ZoneState::read_only, 0);
    zones_->fail_actions({EIO});
    EXPECT_TRUE(send(zone_request(Op::zone_reset_all, 0)).is_ok());
    EXPECT_EQ(zones_->acted(), (std::vector<Acted>{{ZoneAction::reset, {0, 360448}},
                                                   {ZoneAction::reset, {65536, 65536}},
                                                   {ZoneAction::reset, {196608, 65536}}}));
}

TEST_F(HostZonedNode, reset_all_that_fails_for_a_working_zone_fails) {
    zones_->set(1, ZoneState::full, kZoneSize);
    zones_->fail_actions({EIO, EIO});
    EXPECT_EQ(send(zone_request(Op::zone_reset_all, 0)).error(), Errc::io);
}

TEST_F(HostZonedNode, report_comes_from_the_device_and_refreshes_idle_zones) {
    zones_->set(1, ZoneState::closed, 8192);
    std::array<ZoneDescriptor, 8> room{};
    const Sent& report = send(report_request(kZoneSize + 4096, room));
    ASSERT_TRUE(report.is_ok());
    EXPECT_EQ(report.request.zones_reported, 5U);
    EXPECT_EQ(room[0].state, ZoneState::closed);
    EXPECT_EQ(room[0].write_pointer, 73728U);
    EXPECT_EQ(room[1].capacity, 16384U);
    EXPECT_EQ(room[4].length, 32768U);
    append(1);
    EXPECT_EQ(in_flight(), (Ranges{{73728, 4096}}));
    end();
}

TEST_F(HostZonedNode, report_does_not_disturb_a_zone_that_is_being_written) {
    append(1);
    std::array<ZoneDescriptor, 8> room{};
    send(report_request(0, room));
    append(1);
    end();
    EXPECT_EQ(in_flight(), (Ranges{{69632, 4096}}));
    end();
}

TEST_F(HostZonedNode, old_report_does_not_undo_a_newer_write) {
    zones_->hold_reports(true);
    std::array<ZoneDescriptor, 8> room{};
    const int before = zones_->reports();
    const Sent& report = start(report_request(0, room));
    while (zones_->reports() == before) reactor_->turn(false);
    start(append_request(kZoneSize, data(kBlock)));
    while (in_flight().empty()) reactor_->turn(false);
    engine_->end(*engine_->in_flight.front(), 4096);
    while (!sent_.back().is_done()) reactor_->turn(false);
    zones_->hold_reports(false);
    settle();
    EXPECT_TRUE(report.is_ok());
    append(1);
    EXPECT_EQ(in_flight(), (Ranges{{69632, 4096}}));
    end();
}

TEST_F(HostZonedNode, zone_commands_never_run_on_the_reactor) {
    EXPECT_NE(zones_->caller(), std::this_thread::get_id());
    act(Op::zone_open, 1);
    EXPECT_NE(zones_->caller(), std::this_thread::get_id());
}

TEST_F(HostZonedNode, report_without_room_asks_nothing) {
    const int before = zones_->reports();
    EXPECT_TRUE(send(report_request(0, {})).is_ok());
    EXPECT_EQ(zones_->reports(), before);
}

TEST_F(HostZonedNode, report_that_contradicts_the_geometry_is_corrupt) {
    zones_->move(3);
    std::array<ZoneDescriptor, 8> room{};
    EXPECT_EQ(send(report_request(0, room)).error(), Errc::corrupt);
}

TEST_F(HostZonedNode, discard_and_write_zeroes_are_not_supported) {
    EXPECT_EQ(send(range_request(Op::discard, {0, 4096})).error(), Errc::not_supported);
    EXPECT_EQ(send(range_request(Op::write_zeroes, {0, 4096})).error(), Errc::not_supported);
}

TEST_F(HostZonedNode, read_only_node_reports_and_changes_nothing) {
    node_.reset();
    ASSERT_TRUE(open(zones_of(geometry_), true).has_value());
    EXPECT_EQ(append(1).error(), Errc::read_only);
    EXPECT_EQ(act(Op::zone_reset, 1).error(), Errc::read_only);
    std::array<ZoneDescriptor, 8> room{};
    EXPECT_TRUE(send(report_request(0, room)).is_ok());
}

TEST_F(HostZonedNode, device_that_contradicts_its_geometry_is_not_opened) {
    node_.reset();
    ZoneList zones = zones_of(geometry_);
    zones.pop_back();
    const Outcome<void> opened = open(std::move(zones));
    ASSERT_FALSE(opened.has_value());
    EXPECT_EQ(opened.error().message,
              "cannot report the zones of '/dev/fake': a zone report ends too early");
}

// --- Host-aware devices -------------------------------------------------------------------------

class HostAwareDevice : public HostZonedNode {
  protected:
    HostAwareDevice() : HostZonedNode(geometry()) {}
    static ZoneGeometry geometry() {
        ZoneGeometry geometry = small_geometry();
        geometry.model = ZoneModel::host_aware;
        return geometry;
    }
};

TEST_F(HostAwareDevice, zones_are_written_anywhere_and_in_parallel) {
    write(kZoneSize + 8192);
    write(kZoneSize);
    write(2 * kZoneSize - 4096, 8192);
    EXPECT_EQ(in_flight(), (Ranges{{73728, 4096}, {65536, 4096}, {126976, 8192}}));
    for (int i = 0; i < 3; ++i) end();
    EXPECT_EQ(append(1).error(), Errc::zone_invalid);
}

// --- Many zones ---------------------------------------------------------------------------------

class HostDeviceOfManyZones : public HostZonedNode {
  protected:
    HostDeviceOfManyZones() : HostZonedNode(geometry()) {}
    static ZoneGeometry geometry() {
        ZoneGeometry geometry = small_geometry();
        geometry.device_size = 10000 * kZoneSize;
        return geometry;
    }
};

TEST_F(HostDeviceOfManyZones, reports_come_in_pieces) {
    EXPECT_EQ(zones_->reports(), 3);
    std::vector<ZoneDescriptor> room(5000);
    const Sent& sent = send(report_request(kZoneSize, room));
    EXPECT_EQ(sent.request.zones_reported, 5000U);
    EXPECT_EQ(room.back().start, 5000 * kZoneSize);
    EXPECT_EQ(zones_->reports(), 5);
}

}  // namespace
}  // namespace zbdkit
