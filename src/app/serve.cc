// SPDX-License-Identifier: Apache-2.0
#include "app/serve.h"

#include <fmt/format.h>
#include <spdlog/common.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "app/daemon.h"
#include "app/disk_placement.h"
#include "app/exit_status.h"
#include "app/image_state.h"
#include "app/memory_pressure.h"
#include "app/messages.h"
#include "app/service_manager.h"
#include "app/stop_signals.h"
#include "app/trace_option.h"
#include "app/workshop.h"
#include "base/log.h"
#include "base/text.h"
#include "graph/node_options.h"

namespace zbdkit::app {
namespace {

constexpr std::array<std::string_view, 6> kLogLevels = {"trace",   "debug", "info",
                                                        "warning", "error", "off"};

Outcome<spdlog::level::level_enum> parse_log_level(const std::string& text) {
    if (std::ranges::find(kLogLevels, text) == kLogLevels.end()) {
        return failure(fmt::format("option '--log-level': unknown level '{}'{}: expected {}", text,
                                   did_you_mean(text, kLogLevels), fmt::join(kLogLevels, ", ")),
                       Errc::not_supported);
    }
    return spdlog::level::from_str(text);
}

// --- From arguments to a plan -------------------------------------------------------------------

std::unexpected<Failure> not_with_long_form(std::string_view option) {
    return failure(fmt::format("'{}' is of the short form, --blockdev and --export are of the long "
                               "one: expected one form",
                               option),
                   Errc::not_supported);
}

Outcome<void> check_long_form(const ServeArguments& arguments) {
    const bool has_disk = !arguments.disk.filename.empty() || !arguments.disk.image_opts.empty();
    if (has_disk) return not_with_long_form(arguments.disk.name());
    if (!arguments.socket_path.empty()) return not_with_long_form("--vhost-user");
    if (arguments.ublk) return not_with_long_form("--ublk");
    if (arguments.ublk_device) return not_with_long_form("--ublk-id");
    if (arguments.read_only) return not_with_long_form("--read-only");
    if (arguments.direct) return not_with_long_form("--direct");
    if (arguments.force_takeover) return not_with_long_form("--force-takeover");
    if (!arguments.serial.empty()) return not_with_long_form("--serial");
    if (arguments.exports.empty()) {
        return failure(
            "nothing is exported: expected --export type=vhost-user-blk,id=...,"
            "node-name=...,addr.type=unix,addr.path=... or --export type=ublk,id=...,node-name=...",
            Errc::not_supported);
    }
    return {};
}

Outcome<ServePlan> plan_long_form(const ServeArguments& arguments) {
    if (Outcome<void> form = check_long_form(arguments); !form) {
        return std::unexpected(std::move(form.error()));
    }
    ServePlan plan;
    for (const std::string& text : arguments.blockdevs) {
        Outcome<OptionValues> options = parse_node_options(text);
        if (!options) return std::unexpected(std::move(options.error()));
        const std::string name = options->text("node-name");
        if (name.empty()) {
            return failure(fmt::format("--blockdev {}: option 'node-name' is missing", text),
                           Errc::not_supported);
        }
        const auto has_name = [&name](const OptionValues& other) {
            return other.text("node-name") == name;
        };
        if (std::ranges::any_of(plan.nodes, has_name)) {
            return failure(fmt::format("--blockdev: there are two nodes named '{}'", name),
                           Errc::not_supported);
        }
        plan.nodes.push_back(std::move(*options));
    }
    for (const std::string& text : arguments.exports) {
        Outcome<ExportPlan> exported = parse_export(text);
        if (!exported) return std::unexpected(std::move(exported.error()));
        const auto has_id = [&exported](const ExportPlan& other) {
            return other.id == exported->id;
        };
        if (std::ranges::any_of(plan.exports, has_id)) {
            return failure(
                fmt::format("--export: there are two exports with id '{}'", exported->id),
                Errc::not_supported);
        }
        exported->place = plan.exports.size();
        plan.exports.push_back(std::move(*exported));
    }
    return plan;
}

constexpr std::string_view kOnlyNode = "disk0";

/// The file name's last part: what a guest sees as /dev/disk/by-id/virtio-...
std::string default_serial(const DiskArgument& disk) {
    const std::string name = std::filesystem::path(disk.filename).filename().string();
    return name.empty() ? std::string(kOnlyNode) : name;
}

/// --direct: O_DIRECT in whatever reaches a file.
Outcome<void> make_direct(OptionValues& options) {
    constexpr std::array<std::string_view, 2> kPrefixes = {"", "file."};
    for (const std::string_view prefix : kPrefixes) {
        const std::string driver = options.text(fmt::format("{}driver", prefix));
        if (driver != "file" && driver != "host_device") continue;
        options.replace(fmt::format("{}cache.direct", prefix), "on");
        return {};
    }
    return failure("'--direct' needs a disk on driver 'file'", Errc::not_supported);
}

Outcome<ExportPlan> plan_short_export(const ServeArguments& arguments) {
    ExportPlan plan;
    plan.type = arguments.socket_path.empty() ? ExportType::ublk : ExportType::vhost_user_blk;
    plan.id = kOnlyNode;
    plan.node_name = kOnlyNode;
    plan.socket_path = arguments.socket_path;
    set_access(plan, {.writable = !arguments.read_only});
    plan.device.serial =
        arguments.serial.empty() ? default_serial(arguments.disk) : arguments.serial;
    plan.ublk.must_recover = arguments.ublk_must_recover;
    const QueueWishes wishes = {.queue_count = arguments.queue_count,
                                .queue_size = arguments.queue_size,
                                .max_segments = arguments.max_segments};
    Outcome<void> set = set_queues(plan, wishes);
    if (set) set = set_polling(plan, arguments.poll_max_us);
    if (set && arguments.ublk_device) set = set_ublk_device(plan, *arguments.ublk_device);
    if (!set) return std::unexpected(std::move(set.error()));
    return plan;
}

Outcome<ServePlan> plan_short_form(const ServeArguments& arguments) {
    Outcome<OptionValues> options = disk_options(arguments.disk, Access::serve);
    if (!options) return std::unexpected(std::move(options.error()));
    if (arguments.read_only) make_read_only(*options);
    const bool is_ublk = arguments.ublk || arguments.ublk_device;
    if (arguments.socket_path.empty() != is_ublk) {
        return failure(fmt::format("how should it be served? expected either --vhost-user SOCKET, "
                                   "for virtual machines, or --ublk, for this one; for example: "
                                   "zbdkit serve {} --vhost-user disk.sock",
                                   shell_quote(arguments.disk.filename)),
                       Errc::not_supported);
    }
    if (arguments.direct) {
        if (Outcome<void> direct = make_direct(*options); !direct) {
            return std::unexpected(std::move(direct.error()));
        }
    }
    if (arguments.force_takeover && !set_in_all_nodes(*options, "force-takeover", "on")) {
        return failure("'--force-takeover' needs a disk with a lock to break: on driver 'rbd'",
                       Errc::not_supported);
    }
    options->replace("node-name", std::string(kOnlyNode));
    Outcome<ExportPlan> exported = plan_short_export(arguments);
    if (!exported) return std::unexpected(std::move(exported.error()));
    ServePlan plan;
    plan.nodes.push_back(std::move(*options));
    plan.exports.push_back(std::move(*exported));
    return plan;
}

Outcome<DaemonPlan> make_plan(const ServeArguments& arguments) {
    const bool is_long = !arguments.blockdevs.empty() || !arguments.exports.empty();
    Outcome<ServePlan> plan = is_long ? plan_long_form(arguments) : plan_short_form(arguments);
    if (!plan) return std::unexpected(std::move(plan.error()));
    for (const std::string& text : arguments.objects) {
        Outcome<ObjectPlan> object = parse_object(text);
        if (!object) return std::unexpected(std::move(object.error()));
        plan->objects.push_back(std::move(*object));
    }
    return place_disks(*plan);
}

// --- Running ------------------------------------------------------------------------------------

/// Guests pass descriptors for each queue and memory region; the usual 1024 is soon used up.
void raise_descriptor_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) spdlog::warn("cannot raise RLIMIT_NOFILE");
}

bool serves_this_machine(const DaemonPlan& plan) {
    return std::ranges::any_of(plan.groups, [](const DiskGroupPlan& group) {
        return std::ranges::any_of(group.exports, [](const ExportPlan& exported) {
            return exported.type == ExportType::ublk;
        });
    });
}

Outcome<void> serve(const ServeArguments& arguments, DaemonPlan plan) {
    // Before the first thread, so that no thread takes a signal away.
    Outcome<StopSignals> signals = StopSignals::take();
    if (!signals) return std::unexpected(std::move(signals.error()));
    raise_descriptor_limit();
    if (serves_this_machine(plan)) {
        const Outcome<void> prepared = prepare_for_memory_pressure();
        if (!prepared) {
            spdlog::warn("{}; without that it may stand still when memory is short",
                         prepared.error().message);
        }
    }
    PidFile pid_file;
    if (!arguments.pidfile.empty()) {
        Outcome<PidFile> written = PidFile::write(arguments.pidfile);
        if (!written) return std::unexpected(std::move(written.error()));
        pid_file = std::move(*written);
    }
    Outcome<std::unique_ptr<Workshop>> workshop = Workshop::make();
    if (!workshop) return std::unexpected(std::move(workshop.error()));
    Daemon daemon((*workshop)->context(), std::move(plan), *signals);
    return (*workshop)->run(daemon.run());
}

}  // namespace

int run_serve(const ServeArguments& arguments) {
    const std::optional<int> ended = apply_trace_options(arguments.command, arguments.trace);
    if (ended) return *ended;
    const Outcome<spdlog::level::level_enum> level = parse_log_level(arguments.log_level);
    if (!level) return report_usage(arguments.command, level.error());
    Outcome<DaemonPlan> plan = make_plan(arguments);
    if (!plan) return report_usage(arguments.command, plan.error());
    init_log(*level);
    const Outcome<void> served = serve(arguments, std::move(*plan));
    return served ? kOk : report_failure(arguments.command, served.error());
}

}  // namespace zbdkit::app
