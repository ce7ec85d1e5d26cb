// SPDX-License-Identifier: Apache-2.0
#include "app/io_disk_options.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "app/disk_argument.h"
#include "base/unique_fd.h"
#include "graph/node_options.h"
#include "graph/registry.h"
#include "graph/storage_address.h"
#include "node/format/zoned_header.h"
#include "node/protocol/block_device.h"

namespace zbdkit::app {
namespace {

std::unexpected<Failure> invalid(std::string_view what, std::string_view text) {
    return failure(fmt::format("Invalid {} option: {}", what, text), Errc::not_supported);
}

bool is_superblock(const zoned::Page& page) {
    const auto superblock = zoned::decode_superblock(page);
    return superblock || superblock.error() != zoned::SuperblockFault::not_an_image;
}

bool has_superblock(int fd, std::uint64_t offset) {
    zoned::Page page{};
    const ssize_t length = ::pread(fd, page.data(), page.size(), static_cast<off_t>(offset));
    return length == static_cast<ssize_t>(page.size()) && is_superblock(page);
}

/// The driver for a file that nobody named one for. What cannot be opened is left to the raw
/// format, whose open says what is wrong.
std::string_view probe(const std::string& filename) {
    const UniqueFd fd(::open(filename.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd) return "raw";
    if (is_zoned_block_device(fd.get())) return "host_device";
    const bool is_image =
        has_superblock(fd.get(), 0) || has_superblock(fd.get(), zoned::kSecondSuperblockOffset);
    return is_image ? "zoned" : "raw";
}

/// What reaches the bytes of a file.
std::string_view protocol_of(const std::string& filename) {
    struct stat status{};
    const bool is_device = ::stat(filename.c_str(), &status) == 0 && S_ISBLK(status.st_mode);
    return is_device ? "host_device" : "file";
}

bool takes_filename(const DriverInfo& driver) {
    return std::ranges::any_of(driver.options,
                               [](const OptionInfo& option) { return option.name == "filename"; });
}

/// Puts the file name where the root node's driver expects it.
Outcome<void> place_filename(OptionValues& options, const std::string& filename) {
    const Outcome<const DriverInfo*> driver = find_driver(options.text("driver"));
    if (!driver) return std::unexpected(driver.error());
    if (!(*driver)->children.empty()) {
        if (!options.has("file.driver")) {
            options.replace("file.driver", std::string(protocol_of(filename)));
        }
        options.replace("file.filename", filename);
        return {};
    }
    if (!takes_filename(**driver)) {
        return failure(fmt::format("driver '{}' takes no file name: expected --image-opts with "
                                   "its options",
                                   (*driver)->name),
                       Errc::not_supported);
    }
    options.replace("filename", filename);
    return {};
}

/// The same for what is no file.
Outcome<void> place_address(OptionValues& options, const std::string& address) {
    const Outcome<OptionValues> storage = storage_options(address);
    if (!storage) return std::unexpected(storage.error());
    const Outcome<const DriverInfo*> driver = find_driver(options.text("driver"));
    if (!driver) return std::unexpected(driver.error());
    if (!(*driver)->children.empty()) {
        put_below(options, "file", *storage);
        return {};
    }
    if ((*driver)->name != storage->text("driver")) {
        return failure(fmt::format("driver '{}' cannot open what driver '{}' names",
                                   (*driver)->name, storage->text("driver")),
                       Errc::not_supported);
    }
    for (const auto& [key, value] : storage->items()) options.replace(key, value);
    return {};
}

/// Adds what the name says to the options.
/// @return whether a file was probed and is nothing that is known
Outcome<bool> place_name(OptionValues& options, const std::string& name) {
    bool guessed_raw = false;
    if (is_storage_address(name)) {
        const Outcome<void> placed = place_address(options, name);
        if (!placed) return std::unexpected(placed.error());
        return guessed_raw;
    }
    if (!options.has("driver")) {
        const std::string_view driver = probe(name);
        guessed_raw = driver == "raw";
        options.replace("driver", std::string(driver));
    }
    const Outcome<void> placed = place_filename(options, name);
    if (!placed) return std::unexpected(placed.error());
    return guessed_raw;
}

bool is_direct(IoCache cache) { return cache == IoCache::none || cache == IoCache::direct_sync; }

}  // namespace

Outcome<IoCache> parse_io_cache(std::string_view text) {
    struct Mode {
        std::string_view name;
        IoCache cache;
    };
    constexpr std::array kModes = {
        Mode{"none", IoCache::none},
        Mode{"off", IoCache::none},
        Mode{"directsync", IoCache::direct_sync},
        Mode{"writeback", IoCache::write_back},
        Mode{"writethrough", IoCache::write_through},
        Mode{"unsafe", IoCache::unsafe},
    };
    const auto found = std::ranges::find(kModes, text, &Mode::name);
    if (found == kModes.end()) return invalid("cache", text);
    return found->cache;
}

Outcome<bool> parse_io_discard(std::string_view text) {
    if (text == "ignore" || text == "off") return false;
    if (text == "unmap" || text == "on") return true;
    return invalid("discard", text);
}

Outcome<void> check_io_aio_mode(std::string_view text) {
    if (text == "threads" || text == "native" || text == "io_uring") return {};
    return invalid("aio", text);
}

bool needs_probe(const IoOpening& opening) {
    return is_storage_address(opening.filename) && !opening.options.has("driver");
}

Task<std::string_view> format_of(BlockNode& storage) {
    constexpr std::array<std::uint64_t, 2> kCopies = {0, zoned::kSecondSuperblockOffset};
    for (const std::uint64_t offset : kCopies) {
        zoned::Page page{};
        const iovec segment = segment_of(MutableBytes(page));
        Request request = read_request({offset, page.size()}, IoSegments(&segment, 1));
        const Result<void> read = co_await storage.submit(request);
        if (read && is_superblock(page)) co_return "zoned";
    }
    co_return "raw";
}

Outcome<IoPlan> plan_io_opening(const IoOpening& opening) {
    if (opening.force_share && !opening.read_only) {
        return failure("force-share=on can only be used with read-only images",
                       Errc::not_supported);
    }
    IoPlan plan{.options = opening.options};
    if (!opening.filename.empty()) {
        const Outcome<bool> guessed_raw = place_name(plan.options, opening.filename);
        if (!guessed_raw) return std::unexpected(guessed_raw.error());
        plan.guessed_raw = *guessed_raw;
    }
    if (opening.read_only) make_read_only(plan.options);
    if (opening.force_share) set_in_all_nodes(plan.options, "locking", "off");
    if (opening.cache != IoCache::as_driver) {
        set_in_all_nodes(plan.options, "cache.direct", is_direct(opening.cache) ? "on" : "off");
    }
    return plan;
}

}  // namespace zbdkit::app
