// SPDX-License-Identifier: Apache-2.0
#include "app/info.h"

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "app/exit_status.h"
#include "app/image_state.h"
#include "app/messages.h"
#include "app/workshop.h"
#include "app/zone_source.h"
#include "base/text.h"
#include "graph/graph.h"

namespace zbdkit::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kCommand = "info";

/// What is known of the image below a zoned disk.
struct ImageFacts {
    zoned::Superblock superblock;
    zoned::Recovery recovery = zoned::Recovery::clean;
    std::optional<FileState> file;
};

struct Facts {
    std::string name;
    std::string kind;  ///< "zoned image", "zoned block device", or "driver X"
    std::uint64_t size = 0;
    std::uint32_t block_size = 0;  ///< 0 = not known
    ZoneGeometry zones;
    std::optional<ImageFacts> image;
    std::optional<ZoneSummary> summary;
};

// --- Gathering ----------------------------------------------------------------------------------

struct OpenDisk {
    std::unique_ptr<BlockNode> node;
    std::optional<ImageFacts> image;
};

Task<Outcome<ImageFacts>> facts_of(const ImageStorage& storage) {
    ImageFacts image;
    image.superblock = co_await ok(zoned::read_superblock(*storage.node));
    image.recovery = co_await ok(recovery_of(image.superblock));
    if (!storage.filename.empty()) image.file = co_await ok(file_state(storage.filename));
    co_return image;
}

/// Looks at the storage, and leaves it in `named` for the format.
Task<Outcome<ImageFacts>> look_below(OpenContext& context, OptionValues& options,
                                     NamedNodes& named) {
    ImageStorage storage = co_await ok(open_image_storage(context, options));
    Outcome<ImageFacts> image = co_await facts_of(storage);
    co_await ok(named.put_as("image-storage", std::move(storage.node)));
    options.replace("file", "image-storage");
    co_return image;
}

Task<Outcome<OpenDisk>> open_over(OpenContext& context, OptionValues options, NamedNodes& named) {
    OpenDisk disk;
    if (options.text("driver") == "zoned" && !options.has("file")) {
        disk.image = co_await ok(look_below(context, options, named));
    }
    disk.node = co_await ok(open_node(context, std::move(options), named));
    co_return disk;
}

Task<Outcome<OpenDisk>> open_disk(OpenContext& context, OptionValues options) {
    NamedNodes named;
    Outcome<OpenDisk> disk = co_await open_over(context, std::move(options), named);
    co_await close_left_behind(named.take_any());
    co_return disk;
}

Outcome<Facts> complete(Facts facts, ZoneSource& source) {
    facts.size = source.size();
    facts.zones = source.geometry();
    if (facts.zones.is_zoned()) {
        const Result<ZoneSummary> summary = summarize(source);
        if (!summary) return failure(facts.name, summary.error());
        facts.summary = *summary;
    }
    if (Outcome<void> closed = source.close(); !closed) return std::unexpected(closed.error());
    return facts;
}

std::string kind_of(const OpenDisk& disk) {
    if (disk.image) return "zoned image";
    const bool is_device = disk.node->driver() == "host_device";
    if (is_device && disk.node->info().zones.is_zoned()) return "zoned block device";
    return fmt::format("driver {}", disk.node->driver());
}

Outcome<Facts> gather(const DiskArgument& argument, OptionValues options) {
    Facts facts{.name = argument.name()};
    Outcome<std::unique_ptr<Workshop>> workshop = Workshop::make();
    if (!workshop) return std::unexpected(std::move(workshop.error()));
    Outcome<OpenDisk> disk =
        (*workshop)->run(open_disk((*workshop)->context(), std::move(options)));
    if (!disk) return std::unexpected(std::move(disk.error()));
    facts.kind = kind_of(*disk);
    facts.image = std::move(disk->image);
    facts.block_size = disk->node->info().block_size;
    ZoneSource source(**workshop, std::move(disk->node));
    return complete(std::move(facts), source);
}

// --- Text ---------------------------------------------------------------------------------------

void line(std::string_view label, const std::string& value) {
    fmt::print("{:<10} {}\n", fmt::format("{}:", label), value);
}

std::string limit_text(std::uint32_t limit) {
    return limit == 0 ? "any number" : std::to_string(limit);
}

struct StateCount {
    std::string_view name;
    std::uint64_t count;
};

std::vector<StateCount> states_of(const ZoneSummary& summary) {
    return {{"conventional", summary.conventional},
            {"empty", summary.empty},
            {"implicitly open", summary.implicit_open},
            {"explicitly open", summary.explicit_open},
            {"closed", summary.closed},
            {"full", summary.full},
            {"read-only", summary.read_only},
            {"offline", summary.offline}};
}

std::string states_text(const ZoneSummary& summary) {
    std::string text;
    for (const StateCount& state : states_of(summary)) {
        if (state.count == 0) continue;
        if (!text.empty()) text += ", ";
        text += fmt::format("{} {}", state.count, state.name);
    }
    return text;
}

std::string state_text(const ImageFacts& image) {
    if (image.file && !image.file->user.empty()) {
        return fmt::format("in use by {}", image.file->user);
    }
    switch (image.recovery) {
        case zoned::Recovery::clean: return "clean";
        case zoned::Recovery::daemon_death:
            return "left in use by a process that died: the next open takes the live table, "
                   "nothing is lost";
        case zoned::Recovery::power_loss:
            return "left in use when the host went down: the next open takes the last commit";
    }
    return "unknown";
}

void print_zones(const ZoneGeometry& zones, const ZoneSummary& summary) {
    line("zones", describe_zones(zones));
    line("limits",
         fmt::format("open {}, active {}, append up to {}, writes in units of {}",
                     limit_text(zones.max_open_zones), limit_text(zones.max_active_zones),
                     format_size(zones.max_append_bytes), format_size(zones.write_granularity)));
    line("states", states_text(summary));
    line("written",
         fmt::format("{} of {} in sequential zones", format_size(summary.sequential_bytes),
                     format_size(summary.sequential_capacity)));
}

void print_image(const ImageFacts& image) {
    const zoned::Layout layout = zoned::layout_of(image.superblock.geometry);
    line("uuid", uuid_text(image.superblock.uuid));
    line("state", state_text(image));
    line("layout", fmt::format("live table at {}, {} at {}, data at {}",
                               format_size(layout.live_table_offset),
                               count_text(layout.page_count, "commit page"),
                               format_size(layout.commit_offset), format_size(layout.data_offset)));
    if (image.file && !image.file->is_device) {
        line("file", fmt::format("{} long, {} of it allocated", format_size(image.file->length),
                                 format_size(image.file->allocated)));
    }
}

void print_text(const Facts& facts) {
    line("disk", fmt::format("{} ({})", facts.name, facts.kind));
    line("size", fmt::format("{} ({} bytes)", format_size(facts.size), facts.size));
    line("model", zone_model_name(facts.zones.model));
    if (facts.summary) print_zones(facts.zones, *facts.summary);
    if (facts.block_size != 0) line("block", format_size(facts.block_size));
    if (facts.image) print_image(*facts.image);
}

// --- JSON ---------------------------------------------------------------------------------------

Json zones_json(const ZoneGeometry& zones, const ZoneSummary& summary) {
    return {{"count", zones.zone_count()},
            {"size", zones.zone_size},
            {"capacity", zones.zone_capacity},
            {"conventional", zones.conventional_zones},
            {"max_open", zones.max_open_zones},
            {"max_active", zones.max_active_zones},
            {"max_append", zones.max_append_bytes},
            {"write_granularity", zones.write_granularity},
            {"states",
             {{"conventional", summary.conventional},
              {"empty", summary.empty},
              {"implicit_open", summary.implicit_open},
              {"explicit_open", summary.explicit_open},
              {"closed", summary.closed},
              {"full", summary.full},
              {"read_only", summary.read_only},
              {"offline", summary.offline}}},
            {"sequential_written", summary.sequential_bytes},
            {"sequential_capacity", summary.sequential_capacity}};
}

std::string_view recovery_key(zoned::Recovery recovery) {
    switch (recovery) {
        case zoned::Recovery::clean: return "clean";
        case zoned::Recovery::daemon_death: return "daemon-death";
        case zoned::Recovery::power_loss: return "power-loss";
    }
    return "unknown";
}

Json image_json(const ImageFacts& image) {
    const zoned::Layout layout = zoned::layout_of(image.superblock.geometry);
    Json json = {
        {"uuid", uuid_text(image.superblock.uuid)}, {"format_version", zoned::kVersion},
        {"recovery", recovery_key(image.recovery)}, {"live_table_offset", layout.live_table_offset},
        {"commit_offset", layout.commit_offset},    {"commit_pages", layout.page_count},
        {"data_offset", layout.data_offset}};
    if (!image.file) return json;
    json["in_use"] = !image.file->user.empty();
    if (!image.file->user.empty()) json["user"] = image.file->user;
    if (image.file->is_device) return json;
    json["file_length"] = image.file->length;
    json["file_allocated"] = image.file->allocated;
    return json;
}

void print_json(const Facts& facts) {
    Json json = {{"disk", facts.name},
                 {"kind", facts.kind},
                 {"size", facts.size},
                 {"model", zone_model_name(facts.zones.model)}};
    if (facts.block_size != 0) json["block_size"] = facts.block_size;
    if (facts.summary) json["zones"] = zones_json(facts.zones, *facts.summary);
    if (facts.image) json["image"] = image_json(*facts.image);
    // A file name may be no UTF-8; that must not throw.
    fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
}

}  // namespace

int run_info(const InfoArguments& arguments) {
    Outcome<OptionValues> options = disk_options(arguments.disk, Access::look);
    if (!options) return report_usage(kCommand, options.error());
    const Outcome<Facts> facts = gather(arguments.disk, std::move(*options));
    if (!facts) return report_failure(kCommand, facts.error());
    if (arguments.json) {
        print_json(*facts);
    } else {
        print_text(*facts);
    }
    return kOk;
}

}  // namespace zbdkit::app
