// SPDX-License-Identifier: Apache-2.0
#include "node/format/raw.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "base/text.h"

namespace zbdkit {
namespace {

constexpr std::array kOptions = {
    OptionInfo{"offset", "SIZE", "where in the child the disk starts (default 0)"},
    OptionInfo{"size", "SIZE", "how long the disk is (default all that follows)"},
    OptionInfo{"read-only", "on|off", "refuse writes and zone actions (default off)"},
};

/// How many zones of a RESET ALL are looked at in one report.
constexpr std::size_t kResetBatch = 64;

/// True for what RESET ALL empties. [virtio 1.3, 5.2.6.2]
bool is_reset_by_reset_all(const ZoneDescriptor& zone) {
    return zone.state == ZoneState::implicit_open || zone.state == ZoneState::explicit_open ||
           zone.state == ZoneState::closed || zone.state == ZoneState::full;
}

/// The zones of the window as a device of its own. The limits are those of the whole device: its
/// other zones count as well.
ZoneGeometry zones_of_window(ZoneGeometry zones, ByteRange window) {
    const auto first = static_cast<std::uint32_t>(window.offset / zones.zone_size);
    zones.device_size = window.length;
    const std::uint32_t conventional_from_first =
        zones.conventional_zones > first ? zones.conventional_zones - first : 0;
    zones.conventional_zones = std::min(conventional_from_first, zones.zone_count());
    return zones;
}

class RawNode final : public TranslatingNode {
  public:
    RawNode(std::unique_ptr<BlockNode> child_node, ByteRange window, bool read_only)
        : TranslatingNode("raw", std::move(child_node)),
          window_(window),
          is_whole_(window == ByteRange{0, child().info().size}) {
        NodeInfo info = child().info();
        info.size = window.length;
        if (!info.resident.empty()) {
            info.resident = info.resident.subspan(window.offset, window.length);
        }
        info.read_only = info.read_only || read_only;
        if (info.zones.is_zoned()) info.zones = zones_of_window(info.zones, window);
        set_info(info);
    }

    [[nodiscard]] std::string describe() const override {
        if (is_whole_) return child().describe();
        return fmt::format("{} of {} at {}", format_size(window_.length), child().describe(),
                           format_size(window_.offset));
    }
    [[nodiscard]] Result<NodeMapping> map(ByteRange range) override {
        if (!range.is_sane() || range.end() > window_.length) {
            return fail(Errc::out_of_range, "beyond the end of the window");
        }
        return child().map(on_child(range));
    }
    [[nodiscard]] std::uint64_t append_place(std::uint64_t offset) const override {
        return child().append_place(offset + window_.offset) - window_.offset;
    }
    [[nodiscard]] Task<Outcome<void>> close() override { return child().close(); }

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        if (is_whole_) return child().submit(request);
        switch (request.op) {
            case Op::read:
            case Op::write:
            case Op::write_zeroes:
            case Op::discard:
            case Op::zone_open:
            case Op::zone_close:
            case Op::zone_finish:
            case Op::zone_reset: return shifted(request);
            case Op::append: return append(request);
            case Op::flush: return child().submit(request);
            case Op::report_zones: return report(request);
            case Op::zone_reset_all: return reset_all();
        }
        std::unreachable();
    }

  private:
    [[nodiscard]] ByteRange on_child(ByteRange range) const {
        return {window_.offset + range.offset, range.length};
    }

    Task<Result<void>> shifted(Request& request);
    Task<Result<void>> append(Request& request);
    Task<Result<void>> report(Request& request);
    Task<Result<void>> reset_all();
    Task<Result<void>> reset_written(std::span<const ZoneDescriptor> zones);

    ByteRange window_;
    bool is_whole_;
};

Task<Result<void>> RawNode::shifted(Request& request) {
    Request below = request;
    below.range = on_child(request.range);
    below.record = request.record.shifted(window_.offset);
    const Result<void> result = co_await child().submit(below);
    co_return result;
}

Task<Result<void>> RawNode::append(Request& request) {
    Request below = request;
    below.range = on_child(request.range);
    below.record = request.record.shifted(window_.offset);
    co_await ok(child().submit(below));
    request.append_offset = below.append_offset - window_.offset;
    co_return Result<void>{};
}

/// The zones behind the window are left out, the others counted from where it starts.
Task<Result<void>> RawNode::report(Request& request) {
    const ZoneGeometry& zones = info().zones;
    const std::uint64_t left = zones.zone_count() - to_number(zones.zone_of(request.range.offset));
    const auto room = request.zones.first(std::min<std::uint64_t>(request.zones.size(), left));
    Request below = report_request(window_.offset + request.range.offset, room);
    co_await ok(child().submit(below));
    request.zones_reported = below.zones_reported;
    for (ZoneDescriptor& zone : room.first(below.zones_reported)) {
        zone.start -= window_.offset;
        // Of worn-out zones the pointer means nothing and may be anywhere.
        zone.write_pointer -= std::min(zone.write_pointer, window_.offset);
    }
    co_return Result<void>{};
}

/// The child's own RESET ALL would take the zones outside of the window too.
Task<Result<void>> RawNode::reset_all() {
    std::array<ZoneDescriptor, kResetBatch> batch;
    for (std::uint64_t offset = 0; offset < window_.length;) {
        Request request = report_request(offset, batch);
        co_await ok(report(request));
        const std::span<const ZoneDescriptor> zones(batch.data(), request.zones_reported);
        if (zones.empty()) co_return fail(Errc::io, "the device reports no zones");
        co_await ok(reset_written(zones));
        offset = zones.back().start + zones.back().length;
    }
    co_return Result<void>{};
}

Task<Result<void>> RawNode::reset_written(std::span<const ZoneDescriptor> zones) {
    for (const ZoneDescriptor& zone : zones) {
        if (!is_reset_by_reset_all(zone)) continue;
        Request request = zone_request(Op::zone_reset, window_.offset + zone.start);
        const Result<void> reset = co_await child().submit(request);
        // A zone that wore out since the report is passed over, like one that was worn out before.
        if (!reset && reset.error().code != Errc::zone_invalid) co_return reset;
    }
    co_return Result<void>{};
}

// --- Opening ------------------------------------------------------------------------------------

std::unexpected<Failure> bad_window(std::string_view option, const std::string& found) {
    return failure(fmt::format("driver 'raw': option '{}': {}", option, found),
                   Errc::not_supported);
}

Outcome<ByteRange> window_of(const OptionValues& options, const BlockNode& child) {
    const std::uint64_t child_size = child.info().size;
    const Outcome<std::uint64_t> offset = options.size("offset", 0);
    if (!offset) return std::unexpected(offset.error());
    if (*offset > child_size) {
        return bad_window("offset", fmt::format("{} lies beyond the end of '{}', which has {}",
                                                *offset, child.describe(), child_size));
    }
    const Outcome<std::uint64_t> size = options.size("size", child_size - *offset);
    if (!size) return std::unexpected(size.error());
    if (*size > child_size - *offset) {
        return bad_window("size", fmt::format("{} from offset {} on reach beyond the end of '{}', "
                                              "which has {}",
                                              *size, *offset, child.describe(), child_size));
    }
    return ByteRange{*offset, *size};
}

Outcome<void> check_blocks(ByteRange window, const NodeInfo& child) {
    if (!is_aligned(window.offset, child.block_size)) {
        return bad_window("offset", fmt::format("{} is no multiple of the block size, {}",
                                                window.offset, child.block_size));
    }
    // Without a size the window ends where the child does, whatever that is.
    if (!is_aligned(window.length, child.block_size) && window.end() != child.size) {
        return bad_window("size", fmt::format("{} is no multiple of the block size, {}",
                                              window.length, child.block_size));
    }
    return {};
}

Outcome<void> check_whole_zones(ByteRange window, const NodeInfo& child) {
    const std::uint64_t zone_size = child.zones.zone_size;
    if (!is_aligned(window.offset, zone_size)) {
        return bad_window("offset", fmt::format("{} is not the start of a zone: zones have {}",
                                                window.offset, format_size(zone_size)));
    }
    if (window.length == 0) {
        return bad_window("size", "the window holds no zone: expected at least one");
    }
    if (!is_aligned(window.end(), zone_size) && window.end() != child.size) {
        return bad_window("size",
                          fmt::format("{} from offset {} on end within a zone: zones have "
                                      "{}",
                                      window.length, window.offset, format_size(zone_size)));
    }
    return {};
}

Task<Outcome<std::unique_ptr<BlockNode>>> open_raw(OpenContext& /*context*/,
                                                   const OptionValues& options,
                                                   ChildNodes& children) {
    const NodeInfo& child = children.front()->info();
    const bool read_only = co_await ok(options.flag("read-only", false));
    const ByteRange window = co_await ok(window_of(options, *children.front()));
    co_await ok(check_blocks(window, child));
    if (child.zones.is_zoned()) co_await ok(check_whole_zones(window, child));
    co_return std::make_unique<RawNode>(std::move(children.front()), window, read_only);
}

}  // namespace

const DriverInfo kRawDriver = {
    "raw",    DriverKind::format, "the child's bytes, or a window of them",
    kOptions, kOneChild,          open_raw};

}  // namespace zbdkit
