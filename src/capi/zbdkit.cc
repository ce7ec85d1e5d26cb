// SPDX-License-Identifier: Apache-2.0
// The C API over DiskTable and Disk: checks arguments, and turns errors into statuses. Nothing is
// thrown through it: what may throw is out of memory, which ends the program.
#include "zbdkit.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <expected>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/iovec.h"
#include "base/log.h"
#include "capi/disk_table.h"
#include "graph/graph.h"
#include "graph/node_options.h"

namespace {

using namespace zbdkit;  // NOLINT: this file stands on the border
using capi::Disk;
using capi::DiskTable;

// --- errors -------------------------------------------------------------------------------------

zbdkit_status status_of(Errc code) {
    switch (code) {
        case Errc::io: return ZBDKIT_IO;
        case Errc::no_space: return ZBDKIT_NO_SPACE;
        case Errc::read_only: return ZBDKIT_READ_ONLY;
        case Errc::out_of_range: return ZBDKIT_OUT_OF_RANGE;
        case Errc::misaligned: return ZBDKIT_MISALIGNED;
        case Errc::not_supported: return ZBDKIT_NOT_SUPPORTED;
        case Errc::zone_invalid: return ZBDKIT_ZONE_INVALID;
        case Errc::zone_unaligned_wp: return ZBDKIT_ZONE_UNALIGNED_WP;
        case Errc::zone_open_limit: return ZBDKIT_ZONE_OPEN_LIMIT;
        case Errc::zone_active_limit: return ZBDKIT_ZONE_ACTIVE_LIMIT;
        case Errc::corrupt: return ZBDKIT_CORRUPT;
        case Errc::shutting_down: return ZBDKIT_CLOSED;
    }
    return ZBDKIT_IO;
}

zbdkit_status refuse(zbdkit_status status, std::string_view message, zbdkit_error* error,
                     int os_errno = 0) {
    if (error == nullptr) return status;
    error->status = status;
    error->os_errno = os_errno;
    const std::size_t length = std::min(message.size(), sizeof(error->message) - 1);
    std::memcpy(error->message, message.data(), length);
    error->message[length] = '\0';
    return status;
}

zbdkit_status closed(zbdkit_error* error) {
    return refuse(ZBDKIT_CLOSED, "no open disk has this handle", error);
}

zbdkit_status null_argument(zbdkit_error* error) {
    return refuse(ZBDKIT_BAD_ARGUMENT, "an argument is null that must not be", error);
}

zbdkit_status unknown_flag(zbdkit_error* error) {
    return refuse(ZBDKIT_BAD_ARGUMENT, "a flag is set that is not known", error);
}

zbdkit_status finish(const Result<void>& result, zbdkit_error* error) {
    if (result) return ZBDKIT_OK;
    const Error& why = result.error();
    return refuse(status_of(why.code), describe(why), error, why.os_errno);
}

zbdkit_status finish(const Failure& failure, zbdkit_error* error) {
    return refuse(status_of(failure.code), failure.message, error);
}

// --- calls --------------------------------------------------------------------------------------

zbdkit_status submit(zbdkit_disk disk, Request& request, zbdkit_error* error) {
    const DiskTable::Use use(DiskTable::instance(), disk.id);
    if (!use) return closed(error);
    return finish(use->submit(request), error);
}

zbdkit_status act(zbdkit_disk disk, Op action, ByteRange zones, zbdkit_error* error) {
    const DiskTable::Use use(DiskTable::instance(), disk.id);
    if (!use) return closed(error);
    return finish(use->act(action, zones), error);
}

/// spdlog's own default would write to the program's stdout. A log that somebody named is left
/// alone.
void log_to_stderr() {
    static std::once_flag once;
    std::call_once(once, [] {
        if (spdlog::default_logger_raw()->name().empty()) init_log(spdlog::level::warn);
    });
}

zbdkit_status open_with(Outcome<OptionValues> options, unsigned flags, zbdkit_disk* disk,
                        zbdkit_error* error) {
    log_to_stderr();
    if (!options) return finish(options.error(), error);
    if ((flags & ZBDKIT_OPEN_READ_ONLY) != 0) {
        set_in_all_nodes(*options, "read-only", "on");
        set_in_all_nodes(*options, "locking", "off");
    }
    Outcome<std::unique_ptr<Disk>> opened = Disk::open(std::move(*options));
    if (!opened) return finish(opened.error(), error);
    disk->id = DiskTable::instance().add(std::move(*opened));
    return ZBDKIT_OK;
}

/// What is wrong with the arguments of an open, if anything.
zbdkit_status check_open(const char* text, unsigned flags, zbdkit_disk* disk, zbdkit_error* error) {
    if (disk != nullptr) disk->id = 0;
    if (text == nullptr || disk == nullptr) return null_argument(error);
    return (flags & ~ZBDKIT_OPEN_READ_ONLY) == 0 ? ZBDKIT_OK : unknown_flag(error);
}

iovec segment_of_memory(const void* bytes, std::size_t length) {
    return segment_of(ConstBytes(static_cast<const std::byte*>(bytes), length));
}

void copy_info(const NodeInfo& node, zbdkit_info& info) {
    info.size = node.size;
    info.block_size = node.block_size;
    info.physical_block_size = node.physical_block_size;
    info.memory_alignment = node.memory_alignment;
    info.read_only = node.read_only ? 1 : 0;
    if (!node.zones.is_zoned()) return;
    info.zone_model = static_cast<std::uint32_t>(node.zones.model);
    info.zone_count = node.zones.zone_count();
    info.zone_size = node.zones.zone_size;
    info.zone_capacity = node.zones.zone_capacity;
    info.conventional_zones = node.zones.conventional_zones;
    info.max_open_zones = node.zones.max_open_zones;
    info.max_active_zones = node.zones.max_active_zones;
    info.write_granularity = node.zones.write_granularity;
    info.max_append_bytes = node.zones.max_append_bytes;
}

zbdkit_zone to_c(const ZoneDescriptor& zone) {
    return {.start = zone.start,
            .length = zone.length,
            .capacity = zone.capacity,
            .write_pointer = zone.write_pointer,
            .type = static_cast<std::uint32_t>(zone.type),
            .state = static_cast<std::uint32_t>(zone.state)};
}

}  // namespace

const char* zbdkit_status_name(int status) {
    switch (status) {
        case ZBDKIT_OK: return "ok";
        case ZBDKIT_CLOSED: return "closed";
        case ZBDKIT_BAD_ARGUMENT: return "bad_argument";
        case ZBDKIT_IO:
        case ZBDKIT_NO_SPACE:
        case ZBDKIT_READ_ONLY:
        case ZBDKIT_OUT_OF_RANGE:
        case ZBDKIT_MISALIGNED:
        case ZBDKIT_NOT_SUPPORTED:
        case ZBDKIT_ZONE_INVALID:
        case ZBDKIT_ZONE_UNALIGNED_WP:
        case ZBDKIT_ZONE_OPEN_LIMIT:
        case ZBDKIT_ZONE_ACTIVE_LIMIT:
        case ZBDKIT_CORRUPT: return errc_name(static_cast<Errc>(status));
    }
    return "unknown";
}

const char* zbdkit_version(void) { return ZBDKIT_VERSION; }

zbdkit_status zbdkit_open(const char* options, unsigned flags, zbdkit_disk* disk,
                          zbdkit_error* error) {
    const zbdkit_status status = check_open(options, flags, disk, error);
    if (status != ZBDKIT_OK) return status;
    return open_with(parse_node_options(options), flags, disk, error);
}

zbdkit_status zbdkit_open_image(const char* filename, unsigned flags, zbdkit_disk* disk,
                                zbdkit_error* error) {
    const zbdkit_status status = check_open(filename, flags, disk, error);
    if (status != ZBDKIT_OK) return status;
    return open_with(options_for_image(filename, false), flags, disk, error);
}

zbdkit_status zbdkit_close(zbdkit_disk disk, zbdkit_error* error) {
    const std::unique_ptr<Disk> removed = DiskTable::instance().remove(disk.id);
    if (removed == nullptr) return closed(error);
    const Outcome<void> result = removed->close();
    return result ? ZBDKIT_OK : finish(result.error(), error);
}

zbdkit_status zbdkit_get_info(zbdkit_disk disk, zbdkit_info* info, zbdkit_error* error) {
    if (info == nullptr) return null_argument(error);
    // The fields of the first version end here, whatever later ones add.
    constexpr std::size_t kSmallest =
        offsetof(zbdkit_info, max_append_bytes) + sizeof(info->max_append_bytes);
    const std::size_t struct_size = info->struct_size;
    if (struct_size < kSmallest) {
        return refuse(ZBDKIT_BAD_ARGUMENT, "struct_size is too small: expected sizeof(zbdkit_info)",
                      error);
    }
    const DiskTable::Use use(DiskTable::instance(), disk.id);
    if (!use) return closed(error);
    zbdkit_info filled{.struct_size = struct_size};
    copy_info(use->info(), filled);
    std::memcpy(info, &filled, std::min(struct_size, sizeof(filled)));
    return ZBDKIT_OK;
}

zbdkit_status zbdkit_report_zones(zbdkit_disk disk, uint64_t offset, zbdkit_zone* zones,
                                  uint32_t most, uint32_t* reported, zbdkit_error* error) {
    if (reported == nullptr || (zones == nullptr && most != 0)) return null_argument(error);
    const DiskTable::Use use(DiskTable::instance(), disk.id);
    if (!use) return closed(error);
    // A caller may ask for more zones than there are, and not have the memory for as many.
    std::vector<ZoneDescriptor> descriptors(std::min(most, use->info().zones.zone_count()));
    Request request = report_request(offset, descriptors);
    const zbdkit_status status = finish(use->submit(request), error);
    if (status != ZBDKIT_OK) return status;
    descriptors.resize(request.zones_reported);
    std::ranges::transform(descriptors, zones, to_c);
    *reported = request.zones_reported;
    return ZBDKIT_OK;
}

zbdkit_status zbdkit_read(zbdkit_disk disk, uint64_t offset, void* bytes, size_t length,
                          zbdkit_error* error) {
    if (bytes == nullptr && length != 0) return null_argument(error);
    const iovec segment = segment_of_memory(bytes, length);
    Request request = read_request({offset, length}, IoSegments(&segment, 1));
    return submit(disk, request, error);
}

zbdkit_status zbdkit_write(zbdkit_disk disk, uint64_t offset, const void* bytes, size_t length,
                           unsigned flags, zbdkit_error* error) {
    if (bytes == nullptr && length != 0) return null_argument(error);
    if ((flags & ~ZBDKIT_FUA) != 0) return unknown_flag(error);
    const iovec segment = segment_of_memory(bytes, length);
    Request request =
        write_request({offset, length}, IoSegments(&segment, 1), (flags & ZBDKIT_FUA) != 0);
    return submit(disk, request, error);
}

zbdkit_status zbdkit_append(zbdkit_disk disk, uint64_t zone_start, const void* bytes, size_t length,
                            unsigned flags, uint64_t* offset, zbdkit_error* error) {
    if (bytes == nullptr && length != 0) return null_argument(error);
    if ((flags & ~ZBDKIT_FUA) != 0) return unknown_flag(error);
    const iovec segment = segment_of_memory(bytes, length);
    Request request =
        append_request(zone_start, IoSegments(&segment, 1), (flags & ZBDKIT_FUA) != 0);
    const zbdkit_status status = submit(disk, request, error);
    if (status == ZBDKIT_OK && offset != nullptr) *offset = request.append_offset;
    return status;
}

zbdkit_status zbdkit_write_zeroes(zbdkit_disk disk, uint64_t offset, uint64_t length,
                                  unsigned flags, zbdkit_error* error) {
    if ((flags & ~ZBDKIT_FUA) != 0) return unknown_flag(error);
    Request request = range_request(Op::write_zeroes, {offset, length});
    request.fua = (flags & ZBDKIT_FUA) != 0;
    return submit(disk, request, error);
}

zbdkit_status zbdkit_discard(zbdkit_disk disk, uint64_t offset, uint64_t length,
                             zbdkit_error* error) {
    Request request = range_request(Op::discard, {offset, length});
    return submit(disk, request, error);
}

zbdkit_status zbdkit_flush(zbdkit_disk disk, zbdkit_error* error) {
    Request request = flush_request();
    return submit(disk, request, error);
}

zbdkit_status zbdkit_zone_open(zbdkit_disk disk, uint64_t offset, uint64_t length,
                               zbdkit_error* error) {
    return act(disk, Op::zone_open, {offset, length}, error);
}

zbdkit_status zbdkit_zone_close(zbdkit_disk disk, uint64_t offset, uint64_t length,
                                zbdkit_error* error) {
    return act(disk, Op::zone_close, {offset, length}, error);
}

zbdkit_status zbdkit_zone_finish(zbdkit_disk disk, uint64_t offset, uint64_t length,
                                 zbdkit_error* error) {
    return act(disk, Op::zone_finish, {offset, length}, error);
}

zbdkit_status zbdkit_zone_reset(zbdkit_disk disk, uint64_t offset, uint64_t length,
                                zbdkit_error* error) {
    return act(disk, Op::zone_reset, {offset, length}, error);
}

zbdkit_status zbdkit_zone_reset_all(zbdkit_disk disk, zbdkit_error* error) {
    Request request = zone_request(Op::zone_reset_all, 0);
    return submit(disk, request, error);
}
