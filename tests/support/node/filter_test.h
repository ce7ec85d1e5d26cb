// SPDX-License-Identifier: Apache-2.0
// What tests of filters start from: a zoned disk and a plain one in memory, a way to open a filter
// over either, and blocking requests with short answers.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/buffer.h"
#include "block/driver.h"
#include "io/blocking_pool.h"
#include "node/format/zoned.h"
#include "node/format/zoned_create.h"
#include "node/format/zoned_header.h"
#include "node/protocol/memory.h"
#include "tests/support/io/uring_reactor.h"

namespace zbdkit::test {

/// What a request answered: nothing for success.
using Answer = std::optional<Errc>;
inline constexpr Answer kOk = std::nullopt;

class FilterTest : public testing::Test {
  protected:
    static constexpr std::uint64_t kZone = kMiB;
    static constexpr std::uint64_t kZones = 8;
    static constexpr std::uint64_t kBlock = 4096;
    /// The first zone is conventional; at most 3 are open and 4 active.
    static constexpr const char* kZonedOptions =
        "zone.size=1M,zone.conventional_zones=1,zone.max_open_zones=3,zone.max_active_zones=4";

    /// A fresh zoned disk of 8 zones of 1 MiB.
    std::unique_ptr<BlockNode> zoned_disk(const char* options = kZonedOptions) {
        const OptionValues create = OptionValues::parse(options, "", "test").value();
        const zoned::NewImage image = zoned::plan_image(kZones * kZone, create).value();
        images_.push_back(
            std::make_unique<AlignedBuffer>(zoned::layout_of(image.geometry).image_size));
        std::unique_ptr<BlockNode> storage = make_memory_node(images_.back()->bytes());
        EXPECT_TRUE(reactor_.run_to_end(zoned::format_image(*storage, image)).has_value());
        return open(kZonedDriver, "", std::move(storage)).value();
    }

    /// Zeroed storage that the test can look into.
    std::unique_ptr<BlockNode> plain_disk(std::uint64_t size = 2 * kMiB) {
        images_.push_back(std::make_unique<AlignedBuffer>(size));
        return make_memory_node(images_.back()->bytes());
    }
    /// The bytes of the last disk made.
    MutableBytes image() { return images_.back()->bytes(); }

    Outcome<std::unique_ptr<BlockNode>> open(const DriverInfo& driver, const std::string& options,
                                             std::unique_ptr<BlockNode> child,
                                             std::unique_ptr<BlockNode> second = nullptr) {
        const std::string subject = "driver '" + std::string(driver.name) + "'";
        const OptionValues values = options.empty()
                                        ? OptionValues(subject)
                                        : OptionValues::parse(options, "", subject).value();
        const Outcome<void> known = values.check_known(driver.options);
        if (!known) return std::unexpected(known.error());
        ChildNodes children;
        children.push_back(std::move(child));
        if (second) children.push_back(std::move(second));
        return reactor_.run_to_end(driver.open(context_, values, children));
    }
    /// The message of an open that must fail.
    std::string refusal(const DriverInfo& driver, const std::string& options,
                        std::unique_ptr<BlockNode> child,
                        std::unique_ptr<BlockNode> second = nullptr) {
        const auto node = open(driver, options, std::move(child), std::move(second));
        return node ? "it was opened" : node.error().message;
    }

    Answer submit(BlockNode& node, Request request) {
        const Result<void> result = reactor_.run_to_end(node.submit(request));
        last_ = request;
        if (result) return kOk;
        return result.error().code;
    }
    Answer write(BlockNode& node, std::uint64_t offset, std::uint64_t length,
                 std::uint8_t value = 0x5a, bool fua = false) {
        AlignedBuffer buffer(length);
        std::ranges::fill(buffer.bytes(), std::byte{value});
        const iovec segment = segment_of(buffer.bytes());
        return submit(node, write_request({offset, length}, IoSegments(&segment, 1), fua));
    }
    Answer append(BlockNode& node, std::uint64_t zone_start, std::uint64_t length,
                  std::uint8_t value = 0x5a) {
        AlignedBuffer buffer(length);
        std::ranges::fill(buffer.bytes(), std::byte{value});
        const iovec segment = segment_of(buffer.bytes());
        return submit(node, append_request(zone_start, IoSegments(&segment, 1)));
    }
    Answer read(BlockNode& node, std::uint64_t offset, std::uint64_t length) {
        AlignedBuffer buffer(length);
        const iovec segment = segment_of(buffer.bytes());
        return submit(node, read_request({offset, length}, IoSegments(&segment, 1)));
    }
    Answer act(BlockNode& node, Op op, std::uint64_t zone_start = 0) {
        return submit(node, zone_request(op, zone_start));
    }
    std::vector<ZoneDescriptor> report(BlockNode& node) {
        std::vector<ZoneDescriptor> zones(kZones);
        EXPECT_EQ(submit(node, report_request(0, zones)), kOk);
        zones.resize(last_.zones_reported);
        return zones;
    }
    ZoneDescriptor zone(BlockNode& node, std::uint32_t index) { return report(node).at(index); }
    void close(BlockNode& node) { EXPECT_TRUE(reactor_.run_to_end(node.close()).has_value()); }
    /// The last request with its results.
    [[nodiscard]] const Request& last() const { return last_; }

    UringReactor reactor_{16};
    BlockingPool pool_{1};
    OpenContext context_{reactor_, pool_};

  private:
    std::vector<std::unique_ptr<AlignedBuffer>> images_;
    Request last_;
};

}  // namespace zbdkit::test
