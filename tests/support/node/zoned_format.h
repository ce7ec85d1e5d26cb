// SPDX-License-Identifier: Apache-2.0
// A zoned image in memory, with a HeldNode between the format and the storage, for tests that hold
// and fail single writes, kill the daemon and cut the power. Sectors of the storage can be bad.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/buffer.h"
#include "io/blocking_pool.h"
#include "io/reactor.h"
#include "io/uring_engine.h"
#include "node/filter/fault.h"
#include "node/format/zoned.h"
#include "node/format/zoned_create.h"
#include "node/format/zoned_store.h"
#include "node/protocol/memory.h"
#include "tests/support/node/held_node.h"

namespace zbdkit::test {

inline constexpr std::uint64_t kZone = kMiB;

/// A write on its way, with its answer when it has one.
struct Pending {
    AlignedBuffer buffer;
    iovec segment{};
    Request request;
    bool done = false;
    std::optional<Errc> error;
};

class ZonedFormat : public testing::Test {
  protected:
    void SetUp() override { make(8 * kZone, "zone.size=1M,zone.conventional_zones=1"); }

    /// Makes a new image and opens it.
    void make(std::uint64_t size, std::string_view text) {
        disk_.reset();
        const OptionValues options = OptionValues::parse(text, "", "test").value();
        image_ = zoned::plan_image(size, options).value();
        layout_ = zoned::layout_of(image_.geometry);
        memory_ = AlignedBuffer(layout_.image_size);
        const std::unique_ptr<BlockNode> node = make_memory_node(memory_.bytes());
        ASSERT_TRUE(reactor_.run_to_end(zoned::format_image(*node, image_)).has_value());
        ASSERT_EQ(open(), "");
    }

    void TearDown() override {
        if (disk_) EXPECT_TRUE(reactor_.run_to_end(disk_->close()).has_value());
    }

    std::string open(bool read_only = false) {
        auto held = std::make_unique<HeldNode>(storage(), mappable_, durable_);
        below_ = held.get();
        OpenContext context{reactor_, pool_};
        OptionValues options("test");
        if (read_only) options.replace("read-only", "on");
        ChildNodes children;
        children.push_back(std::move(held));
        Outcome<std::unique_ptr<BlockNode>> node =
            reactor_.run_to_end(kZonedDriver.open(context, options, children));
        if (!node) return node.error().message;
        disk_ = std::move(*node);
        return "";
    }

    /// The memory, behind a fault filter if faults_ says so.
    std::unique_ptr<BlockNode> storage() {
        std::unique_ptr<BlockNode> memory = make_memory_node(memory_.bytes());
        if (faults_.empty()) return memory;
        OpenContext context{reactor_, pool_};
        const OptionValues options = OptionValues::parse(faults_, "", "test").value();
        ChildNodes children;
        children.push_back(std::move(memory));
        return std::move(
            reactor_.run_to_end(kFaultDriver.open(context, options, children)).value());
    }
    /// Makes the bytes unreadable for whoever opens the storage from now on, and garbage.
    void lose_sectors(ByteRange range) {
        std::ranges::fill(memory_.bytes().subspan(range.offset, range.length), std::byte{0xa5});
        if (!faults_.empty()) faults_ += ',';
        faults_ += fmt::format(
            "inject-error.{0}.event=read,inject-error.{0}.offset={1},inject-error.{0}.length={2}",
            lost_count_++, range.offset, range.length);
    }
    /// What was written to them since can be read.
    void replace_sectors() {
        faults_.clear();
        lost_count_ = 0;
    }

    /// Leaves the image as the daemon's death does: the live table holds what was completed.
    void kill_daemon() { disk_.reset(); }

    /// Leaves the image as another boot of the host finds it.
    void lose_power() {
        disk_.reset();
        zoned::Page page;
        std::ranges::copy(memory_.bytes().first(zoned::kPageSize), page.begin());
        zoned::Superblock superblock = zoned::decode_superblock(page).value();
        superblock.boot_id.fill(std::byte{0x77});
        page = zoned::encode_superblock(superblock);
        std::ranges::copy(page, memory_.bytes().begin());
        std::ranges::copy(page, memory_.bytes().subspan(zoned::kSecondSuperblockOffset).begin());
    }

    /// A write, or an append to the zone that starts at `at`, not yet begun.
    Pending& prepare(Op op, std::uint64_t at, std::uint64_t length, std::uint8_t value) {
        Pending& pending = pendings_.emplace_back();
        pending.buffer = AlignedBuffer(length);
        std::ranges::fill(pending.buffer.bytes(), std::byte{value});
        pending.segment = segment_of(pending.buffer.bytes());
        const IoSegments segments(&pending.segment, 1);
        pending.request =
            op == Op::append ? append_request(at, segments) : write_request({at, length}, segments);
        return pending;
    }
    Pending& start(Op op, std::uint64_t at, std::uint64_t length, std::uint8_t value) {
        Pending& pending = prepare(op, at, length, value);
        scope_.spawn(drive(*disk_, pending));
        return pending;
    }
    Pending& start(const Request& request) {
        Pending& pending = pendings_.emplace_back();
        pending.request = request;
        scope_.spawn(drive(*disk_, pending));
        return pending;
    }
    static Task<void> drive(BlockNode& disk, Pending& pending) {
        const Result<void> result = co_await disk.submit(pending.request);
        pending.done = true;
        if (!result) pending.error = result.error().code;
    }
    /// Runs everything that can run.
    void settle() {
        for (int turn = 0; turn < 64; ++turn) reactor_.turn(false);
    }
    std::optional<Errc> now(const Request& request) {
        Pending& pending = start(request);
        settle();
        EXPECT_TRUE(pending.done);
        return pending.error;
    }
    ZoneDescriptor zone_at(std::uint64_t offset) {
        std::array<ZoneDescriptor, 1> zones;
        EXPECT_EQ(now(report_request(offset, zones)), std::nullopt);
        return zones[0];
    }
    ZoneDescriptor zone(std::uint32_t index) { return zone_at(index * kZone); }
    std::uint64_t pointer(std::uint32_t index) {
        const ZoneDescriptor descriptor = zone(index);
        return descriptor.write_pointer - descriptor.start;
    }
    std::uint8_t byte_at(std::uint64_t offset) {
        const std::uint64_t block = round_down(offset, 4096);
        AlignedBuffer buffer(4096);
        const iovec segment = segment_of(buffer.bytes());
        EXPECT_EQ(now(read_request({block, 4096}, IoSegments(&segment, 1))), std::nullopt);
        return std::to_integer<std::uint8_t>(buffer.bytes()[offset - block]);
    }
    void hold_data() { below_->hold_from(layout_.data_offset); }

    Reactor reactor_{make_uring_engine(16).value()};
    BlockingPool pool_{1};
    bool mappable_ = true;  ///< whether the storage can be mapped
    bool durable_ = false;  ///< whether what completed there outlives the host
    std::string faults_;    ///< options of a fault filter over the storage
    int lost_count_ = 0;
    zoned::NewImage image_;
    zoned::Layout layout_;
    AlignedBuffer memory_;
    HeldNode* below_ = nullptr;
    std::unique_ptr<BlockNode> disk_;
    std::deque<Pending> pendings_;
    TaskScope scope_;
};

}  // namespace zbdkit::test
