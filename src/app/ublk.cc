// SPDX-License-Identifier: Apache-2.0
#include "app/ublk.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <chrono>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "app/exit_status.h"
#include "app/messages.h"
#include "base/text.h"
#include "base/units.h"
#include "export/ublk/control.h"
#include "export/ublk/disk_use.h"
#include "export/ublk/inflight.h"

namespace zbdkit::app {
namespace {

constexpr std::string_view kList = "ublk list";
constexpr std::string_view kStop = "ublk stop";

struct Listed {
    ublk::DeviceInfo info;
    ublk::Params params;
    std::string image;  ///< "" if it is not ours
};

std::string_view state_name(const ublk::DeviceInfo& info) {
    switch (static_cast<ublk::DeviceState>(info.state)) {
        case ublk::DeviceState::dead: return "stopped";
        case ublk::DeviceState::live: return "live";
        case ublk::DeviceState::quiesced: return "server died";
        case ublk::DeviceState::failing: return "failing";
    }
    return "unknown";
}

Outcome<std::vector<Listed>> list_devices() {
    std::vector<Listed> listed;
    const std::vector<std::uint32_t> numbers = ublk::device_numbers();
    if (numbers.empty()) return listed;
    Outcome<std::unique_ptr<ublk::Control>> control = ublk::Control::open();
    if (!control) return std::unexpected(std::move(control.error()));
    for (const std::uint32_t number : numbers) {
        const Outcome<ublk::DeviceInfo> info = (*control)->info(number);
        if (!info) continue;  // it went meanwhile
        const Outcome<ublk::Params> params = (*control)->params(number);
        listed.push_back({.info = *info,
                          .params = params.value_or(ublk::Params()),
                          .image = ublk::inflight_image(ublk::inflight_path(number))});
    }
    return listed;
}

std::uint64_t size_of(const Listed& device) {
    return device.params.basic.device_sectors * kSectorSize;
}
bool is_zoned(const Listed& device) { return (device.info.features & ublk::feature::kZoned) != 0; }

void print_table(const std::vector<Listed>& devices) {
    constexpr std::string_view kRow = "{:<14} {:<12} {:>8} {:>6} {:>6} {:>10} {:<13} {}\n";
    fmt::print(kRow, "DISK", "STATE", "PROCESS", "QUEUES", "DEPTH", "SIZE", "ZONES", "IMAGE");
    for (const Listed& device : devices) {
        const std::uint64_t zone_size = device.params.basic.chunk_sectors * kSectorSize;
        const bool is_served = device.info.server_pid > 0;
        fmt::print(kRow, ublk::disk_path(device.info.device), state_name(device.info),
                   is_served ? std::to_string(device.info.server_pid) : "-",
                   device.info.queue_count, device.info.queue_depth, format_size(size_of(device)),
                   is_zoned(device) ? "of " + format_size(zone_size) : "none",
                   device.image.empty() ? "(not of zbdkit)" : device.image);
    }
}

void print_json(const std::vector<Listed>& devices) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const Listed& device : devices) {
        list.push_back({{"device", device.info.device},
                        {"disk", ublk::disk_path(device.info.device)},
                        {"state", state_name(device.info)},
                        {"pid", device.info.server_pid},
                        {"queues", device.info.queue_count},
                        {"queue-size", device.info.queue_depth},
                        {"size", size_of(device)},
                        {"zoned", is_zoned(device)},
                        {"zone-size", device.params.basic.chunk_sectors * kSectorSize},
                        {"image", device.image}});
    }
    fmt::print("{}\n", list.dump(2));
}

/// Waits a while for the daemon to be done with its image, which it has locked until then.
void wait_until_closed(const std::string& image) {
    constexpr auto kStep = std::chrono::milliseconds(20);
    constexpr int kSteps = 1500;
    const UniqueFd fd(::open(image.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return;
    for (int i = 0; i < kSteps && ::flock(fd.get(), LOCK_SH | LOCK_NB) != 0; ++i) {
        std::this_thread::sleep_for(kStep);
    }
}

Outcome<void> stop_device(const UblkStopArguments& arguments) {
    const auto device = static_cast<std::uint32_t>(arguments.device);
    if (arguments.device > std::numeric_limits<std::uint32_t>::max() - 1) {
        return failure(fmt::format("{} is no number of a device", arguments.device));
    }
    Outcome<std::unique_ptr<ublk::Control>> control = ublk::Control::open();
    if (!control) return std::unexpected(std::move(control.error()));
    const Outcome<ublk::DeviceInfo> info = (*control)->info(device);
    if (!info) return std::unexpected(info.error());
    // Held until the disk is gone, so that nobody begins to use it.
    Outcome<UniqueFd> claim = ublk::claim_disk(ublk::disk_path(device));
    if (!claim && !arguments.force) {
        return failure(fmt::format("{}; --force stops it all the same, and what was not written "
                                   "to it is lost",
                                   claim.error().message),
                       Errc::not_supported);
    }
    if (Outcome<void> stopped = (*control)->stop(device); !stopped) return stopped;
    claim = UniqueFd();
    const std::string image = ublk::inflight_image(ublk::inflight_path(device));
    // There is nothing to recover now. Before the number is free, and the file another's.
    ublk::remove_inflight(device);
    const Outcome<bool> is_free = (*control)->remove(device);
    if (!is_free) return std::unexpected(is_free.error());
    if (!*is_free) {
        fmt::print("stopped; somebody has {} open, and its number is free when they close it\n",
                   ublk::disk_path(device));
    }
    if (!image.empty()) wait_until_closed(image);
    return {};
}

}  // namespace

int run_ublk_list(const UblkListArguments& arguments) {
    const Outcome<std::vector<Listed>> devices = list_devices();
    if (!devices) return report_failure(kList, devices.error());
    if (arguments.json) {
        print_json(*devices);
    } else if (!devices->empty()) {
        print_table(*devices);
    }
    return kOk;
}

int run_ublk_stop(const UblkStopArguments& arguments) {
    const Outcome<void> stopped = stop_device(arguments);
    return stopped ? kOk : report_failure(kStop, stopped.error());
}

int run_ublk_recover(const UblkRecoverArguments& arguments) {
    ServeArguments serve = arguments.serve;
    serve.command = "ublk recover";
    serve.ublk_device = arguments.device;
    serve.ublk_must_recover = true;
    return run_serve(serve);
}

}  // namespace zbdkit::app
