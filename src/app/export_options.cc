// SPDX-License-Identifier: Apache-2.0
#include "app/export_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "app/messages.h"
#include "base/options.h"
#include "base/text.h"
#include "base/units.h"
#include "graph/graph.h"

namespace zbdkit::app {
namespace {

constexpr std::string_view kSubject = "--export";

constexpr std::array kCommonOptions = {
    OptionInfo{"type", "vhost-user-blk|ublk", "what kind of export"},
    OptionInfo{"id", "ID", "its name"},
    OptionInfo{"node-name", "NAME", "the node to export, from --blockdev"},
    OptionInfo{"writable", "on|off", "let it be written to (default off)"},
    OptionInfo{"writethrough", "on|off", "without a write cache (default off)"},
    OptionInfo{"num-queues", "N", "request queues (default 1)"},
    OptionInfo{"iothread", "ID", "the --object iothread that serves it (default the main thread)"},
};

constexpr std::array kVhostUserOptions = {
    OptionInfo{"addr.type", "unix", "only unix"},
    OptionInfo{"addr.path", "PATH", "the socket"},
    OptionInfo{"queue-size", "N", "what the front end's queues hold (default 128)"},
    OptionInfo{"max-segments", "N", "data segments of a request (default queue-size - 2)"},
    OptionInfo{"serial", "TEXT", "serial number, 20 bytes (default the id)"},
    OptionInfo{"poll-max-us", "N", "poll an empty ring for up to so long (default 50)"},
};

constexpr std::array kUblkOptions = {
    OptionInfo{"ublk-id", "N", "make it /dev/ublkbN (default the first that is free)"},
    OptionInfo{"queue-size", "N", "requests in flight in a queue (default 64)"},
    OptionInfo{"max-io-bytes", "SIZE", "the most data of a request (default 512K)"},
};

Outcome<OptionValues> parse_values(std::string_view text) {
    if (!text.starts_with('{')) {
        return OptionValues::parse(text, "type", std::string(kSubject));
    }
    const Outcome<OptionValues> json = parse_node_options(text);
    if (!json) return std::unexpected(json.error());
    OptionValues values{std::string(kSubject)};
    for (const auto& [key, value] : json->items()) values.replace(key, value);
    return values;
}

Outcome<ExportType> parse_type(const OptionValues& values) {
    const std::string type = values.text("type", kExportTypes.front());
    const auto found = std::ranges::find(kExportTypes, type);
    if (found != kExportTypes.end()) {
        return static_cast<ExportType>(found - kExportTypes.begin());
    }
    if (std::ranges::find(kAbsentExportTypes, type) != kAbsentExportTypes.end()) {
        return failure(fmt::format("{}: type '{}' is not built in", kSubject, type),
                       Errc::not_supported);
    }
    std::vector<std::string_view> known(kExportTypes.begin(), kExportTypes.end());
    known.insert(known.end(), kAbsentExportTypes.begin(), kAbsentExportTypes.end());
    return failure(fmt::format("{}: unknown type '{}'{}: expected {}", kSubject, type,
                               did_you_mean(type, known), fmt::join(kExportTypes, " or ")),
                   Errc::not_supported);
}

Outcome<void> check_address(const OptionValues& values) {
    const std::string type = values.text("addr.type", "unix");
    if (type == "unix") return {};
    return failure(
        fmt::format("{}: option 'addr.type': '{}' is not supported: expected unix", kSubject, type),
        Errc::not_supported);
}

/// Reads values and keeps the first failure.
class Reader {
  public:
    explicit Reader(const OptionValues& values) : values_(values) {}
    std::string required(std::string_view key) {
        return keep(values_.required_text(key), std::string());
    }
    bool flag(std::string_view key) { return keep(values_.flag(key, false), false); }
    std::uint64_t size(std::string_view key, std::uint64_t otherwise) {
        return keep(values_.size(key, otherwise), otherwise);
    }
    std::uint64_t number(std::string_view key, std::uint64_t otherwise) {
        constexpr std::uint64_t kMost = 2'000'000;
        return keep(values_.number(key, otherwise, kMost), otherwise);
    }
    void check(Outcome<void> outcome) {
        if (outcome_ && !outcome) outcome_ = std::move(outcome);
    }
    [[nodiscard]] const Outcome<void>& outcome() const { return outcome_; }

  private:
    template <class T>
    T keep(Outcome<T> value, T otherwise) {
        if (value) return std::move(*value);
        if (outcome_) outcome_ = std::unexpected(std::move(value.error()));
        return otherwise;
    }
    const OptionValues& values_;
    Outcome<void> outcome_;
};

struct Bounds {
    std::uint64_t least;
    std::uint64_t most;
};
Outcome<void> check_bounds(std::string_view what, std::uint64_t value, Bounds bounds) {
    if (value >= bounds.least && value <= bounds.most) return {};
    return failure(fmt::format("{}: {} is not possible: expected {} to {}", what, value,
                               bounds.least, bounds.most),
                   Errc::out_of_range);
}

/// QEMU takes a comma within a value as two.
std::string double_commas(std::string_view text) {
    std::string doubled;
    for (const char c : text) {
        doubled += c;
        if (c == ',') doubled += c;
    }
    return doubled;
}

std::string absolute_path(const std::string& path) {
    std::error_code error;
    const std::filesystem::path absolute = std::filesystem::absolute(path, error);
    return error ? path : absolute.lexically_normal().string();
}

/// What is given and out of range is told with the subject in front.
Outcome<void> with_subject(Outcome<void> outcome) {
    if (outcome) return outcome;
    return failure(fmt::format("{}: {}", kSubject, outcome.error().message), outcome.error().code);
}

void read_vhost_user(const OptionValues& values, Reader& read, ExportPlan& plan) {
    read.check(check_address(values));
    plan.socket_path = read.required("addr.path");
    plan.device.serial = values.text("serial", plan.id);
    const std::uint64_t poll_max_us = read.number("poll-max-us", kDefaultPollUs);
    read.check(with_subject(set_polling(plan, poll_max_us)));
}

void read_ublk(const OptionValues& values, Reader& read, ExportPlan& plan) {
    if (values.has("ublk-id")) {
        read.check(with_subject(set_ublk_device(plan, read.number("ublk-id", 0))));
    }
    const std::uint64_t max_io = read.size("max-io-bytes", plan.ublk.disk.max_io_bytes);
    read.check(with_subject(set_ublk_max_io(plan, max_io)));
}

Outcome<void> set_vhost_user_queues(ExportPlan& plan, const QueueWishes& wishes) {
    constexpr std::uint64_t kUsualSize = 128;
    const std::uint64_t size = wishes.queue_size == 0 ? kUsualSize : wishes.queue_size;
    const std::uint64_t fitting = size > 2 ? size - 2 : 1;
    const std::uint64_t segments = wishes.max_segments == 0
                                       ? std::min<std::uint64_t>(fitting, kMostSegments)
                                       : wishes.max_segments;
    for (const Outcome<void>& check :
         {check_bounds("queue size", size, {kSmallestQueue, kLargestQueue}),
          check_bounds("number of segments", segments, {1, kMostSegments})}) {
        if (!check) return check;
    }
    if (!is_power_of_two(size)) {
        return failure(fmt::format("queue size: {} is no power of two", size), Errc::not_supported);
    }
    plan.device.seg_max = static_cast<std::uint32_t>(segments);
    plan.queue_size = static_cast<std::uint32_t>(size);
    return {};
}

Outcome<void> set_ublk_queues(ExportPlan& plan, const QueueWishes& wishes) {
    if (wishes.max_segments != 0) {
        return failure("number of segments: a ublk disk has no limit of it", Errc::not_supported);
    }
    if (wishes.queue_size == 0) return {};
    plan.ublk.queue_depth = static_cast<std::uint16_t>(wishes.queue_size);
    return check_bounds("queue size", wishes.queue_size, {1, kMostUblkDepth});
}

}  // namespace

Outcome<ExportPlan> parse_export(std::string_view text) {
    const Outcome<OptionValues> values = parse_values(text);
    if (!values) return std::unexpected(values.error());
    const Outcome<ExportType> type = parse_type(*values);
    if (!type) return std::unexpected(type.error());
    ExportPlan plan;
    plan.type = *type;
    Reader read(*values);
    const std::span<const OptionInfo> own = *type == ExportType::ublk
                                                ? std::span<const OptionInfo>(kUblkOptions)
                                                : std::span<const OptionInfo>(kVhostUserOptions);
    read.check(values->check_known(kCommonOptions, own));
    plan.id = read.required("id");
    plan.node_name = read.required("node-name");
    if (values->has("iothread")) plan.io_thread = read.required("iothread");
    const bool writable = read.flag("writable");
    set_access(plan, {.writable = writable, .write_cache = !read.flag("writethrough")});
    switch (*type) {
        case ExportType::vhost_user_blk: read_vhost_user(*values, read, plan); break;
        case ExportType::ublk: read_ublk(*values, read, plan); break;
    }
    const QueueWishes wishes = {.queue_count = read.number("num-queues", 1),
                                .queue_size = read.number("queue-size", 0),
                                .max_segments = read.number("max-segments", 0)};
    read.check(with_subject(set_queues(plan, wishes)));
    if (!read.outcome()) return std::unexpected(read.outcome().error());
    return plan;
}

void set_access(ExportPlan& plan, ExportAccess access) {
    plan.device.writable = access.writable;
    plan.device.write_cache = access.write_cache;
    plan.ublk.disk.writable = access.writable;
    plan.ublk.disk.write_cache = access.write_cache;
}

Outcome<void> set_polling(ExportPlan& plan, std::uint64_t poll_max_us) {
    constexpr std::uint64_t kNsPerUs = 1000;
    plan.poll_bound_ns = poll_max_us * kNsPerUs;
    return check_bounds("microseconds of polling", poll_max_us, {0, kLongestPollUs});
}

Outcome<void> set_queues(ExportPlan& plan, const QueueWishes& wishes) {
    Outcome<void> count =
        check_bounds("number of queues", wishes.queue_count, {1, BlkDevice::kMaxQueues});
    if (!count) return count;
    plan.device.queue_count = static_cast<std::uint16_t>(wishes.queue_count);
    plan.ublk.queue_count = plan.device.queue_count;
    switch (plan.type) {
        case ExportType::vhost_user_blk: return set_vhost_user_queues(plan, wishes);
        case ExportType::ublk: return set_ublk_queues(plan, wishes);
    }
    std::unreachable();
}

Outcome<void> set_ublk_device(ExportPlan& plan, std::uint64_t device) {
    plan.ublk.device = static_cast<std::uint32_t>(device);
    return check_bounds("number of the ublk device", device, {0, kMostUblkDevices - 1});
}

Outcome<void> set_ublk_max_io(ExportPlan& plan, std::uint64_t bytes) {
    constexpr std::uint64_t kPage = 4 * kKiB;
    plan.ublk.disk.max_io_bytes = bytes;
    if (!is_aligned(bytes, kPage)) {
        return failure(fmt::format("bytes of a request: {} is no multiple of 4 KiB", bytes),
                       Errc::not_supported);
    }
    return check_bounds("bytes of a request", bytes, {kSmallestUblkIo, kLargestUblkIo});
}

std::string append_warning(const ExportPlan& plan, std::uint64_t max_append_bytes) {
    // A guest's pages may lie apart, each in a segment of its own.
    constexpr std::uint64_t kGuestPage = 4 * kKiB;
    const std::uint64_t carried = plan.device.seg_max * kGuestPage;
    if (carried >= max_append_bytes) return {};
    return fmt::format(
        "a request carries {} segments, {} of a guest's pages, and the disk takes "
        "appends up to {}: a guest may be unable to send the largest",
        plan.device.seg_max, format_size(carried), format_size(max_append_bytes));
}

std::string qemu_arguments(const ExportPlan& plan) {
    const std::string chardev = fmt::format("socket,id={},path={}", plan.id,
                                            double_commas(absolute_path(plan.socket_path)));
    return fmt::format(
        "-m 1G -object memory-backend-memfd,id=mem,size=1G,share=on -machine "
        "q35,memory-backend=mem "
        "-chardev {} -device vhost-user-test-device-pci,virtio-id=2,num_vqs={},vq_size={},"
        "config_size=96,chardev={}",
        shell_quote(chardev), plan.device.queue_count, plan.queue_size, plan.id);
}

}  // namespace zbdkit::app
