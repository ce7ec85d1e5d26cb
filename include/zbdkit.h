// SPDX-License-Identifier: Apache-2.0
// zbdkit for other programs: opens zoned disks (images, block devices, graphs of nodes) and
// performs requests on them. C11, and C++ that links to it. docs/embedding.md tells how to begin.
//
// Units: all offsets and lengths are bytes, from the start of the disk.
//
// Threads: every function may be called from any thread, many at a time, also for one disk. A call
// returns when its request is done; requests of several threads are in flight side by side. An open
// disk has threads of its own, which take no signals. They do not survive fork(): a child opens its
// own disks.
//
// Handles: a zbdkit_disk is a number and never used twice. With one that is closed, or was never
// open, every function returns ZBDKIT_CLOSED.
//
// Messages of the library, which are few, go to stderr. Out of memory ends the program.
//
// Errors: every function that can fail returns a status, and says more in `error` unless that is
// null. On failure results are left alone. A null pointer where one is needed
// gives ZBDKIT_BAD_ARGUMENT, and nothing happens.
//
// Offsets and lengths of reads and writes are multiples of zbdkit_info::block_size. Memory of any
// alignment will do; zbdkit_info::memory_alignment saves a copy.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

// --- errors -------------------------------------------------------------------------------------

typedef enum zbdkit_status {
    ZBDKIT_OK = 0,
    ZBDKIT_IO = 1,                  ///< the medium or the transport failed
    ZBDKIT_NO_SPACE = 2,            ///< the storage below is full
    ZBDKIT_READ_ONLY = 3,           ///< the disk takes no writes
    ZBDKIT_OUT_OF_RANGE = 4,        ///< beyond the end of the disk
    ZBDKIT_MISALIGNED = 5,          ///< an offset or length is no multiple of what it must be of
    ZBDKIT_NOT_SUPPORTED = 6,       ///< this disk cannot do that; an open: wrong options
    ZBDKIT_ZONE_INVALID = 7,        ///< the zone's type, state or range forbids it
    ZBDKIT_ZONE_UNALIGNED_WP = 8,   ///< a write does not start at the zone's write pointer
    ZBDKIT_ZONE_OPEN_LIMIT = 9,     ///< max_open_zones would be exceeded
    ZBDKIT_ZONE_ACTIVE_LIMIT = 10,  ///< max_active_zones would be exceeded
    ZBDKIT_CORRUPT = 11,            ///< the image is damaged
    ZBDKIT_CLOSED = 12,             ///< no open disk has this handle
    ZBDKIT_BAD_ARGUMENT = 13,       ///< a null pointer, an unknown flag, a wrong struct_size
} zbdkit_status;

/// The name of a status: "zone_open_limit". "unknown" for a number that is none. Static.
const char* zbdkit_status_name(int status);

/// What a call says of its failure. Left alone on success.
typedef struct zbdkit_error {
    zbdkit_status status;
    int os_errno;       ///< positive errno of the host call behind it, 0 if there is none
    char message[504];  ///< one line, without a full stop; cut off if it is longer
} zbdkit_error;

/// "0.1.0". Static.
const char* zbdkit_version(void);

// --- open and close -----------------------------------------------------------------------------

typedef struct zbdkit_disk {
    uint64_t id;  ///< 0 is never open
} zbdkit_disk;

/// Flags of zbdkit_open() and zbdkit_open_image().
#define ZBDKIT_OPEN_READ_ONLY 1u  ///< no writes; an image is opened without its lock

/// Opens a disk.
/// @param options  of its topmost node: "driver=zoned,file.driver=file,file.filename=disk.zbd" or
///                 JSON, as --image-opts of the zbdkit command has them
/// @param flags    ZBDKIT_OPEN_READ_ONLY or 0
/// @param disk     set to the new handle, and to none (id 0) on failure
/// Errors: not_supported for options that are wrong; what the storage says.
zbdkit_status zbdkit_open(const char* options, unsigned flags, zbdkit_disk* disk,
                          zbdkit_error* error);

/// Opens the zoned image in a file or a block device. Otherwise as zbdkit_open().
zbdkit_status zbdkit_open_image(const char* filename, unsigned flags, zbdkit_disk* disk,
                                zbdkit_error* error);

/// Closes the disk: waits for the calls in flight, which end as ever, makes everything durable and
/// marks an image clean. The handle is closed at once for calls that come later, also if closing
/// fails; of two closes at a time one gets ZBDKIT_CLOSED. A program that ends without closing loses
/// nothing that was completed.
/// Errors: closed; what was not made durable.
zbdkit_status zbdkit_close(zbdkit_disk disk, zbdkit_error* error);

// --- what a disk is -----------------------------------------------------------------------------

typedef enum zbdkit_zone_model {
    ZBDKIT_NOT_ZONED = 0,
    ZBDKIT_HOST_MANAGED = 1,
    ZBDKIT_HOST_AWARE = 2,
} zbdkit_zone_model;

/// What a disk is; it does not change while it is open.
typedef struct zbdkit_info {
    /// Set to sizeof(zbdkit_info) by the caller: later versions add fields at the end, and fill in
    /// only what the caller knows of.
    size_t struct_size;
    uint64_t size;
    uint32_t block_size;
    uint32_t physical_block_size;
    uint32_t memory_alignment;
    uint32_t read_only;  ///< 1: no writes

    uint32_t zone_model;  ///< zbdkit_zone_model; all below is 0 if it is ZBDKIT_NOT_ZONED
    uint32_t zone_count;
    uint64_t zone_size;           ///< of every zone but the last, which may be shorter
    uint64_t zone_capacity;       ///< bytes of a sequential zone that can be written
    uint32_t conventional_zones;  ///< so many at the start
    uint32_t max_open_zones;      ///< 0: no limit
    uint32_t max_active_zones;    ///< 0: no limit
    uint32_t write_granularity;   ///< bytes; of writes to sequential zones
    uint64_t max_append_bytes;    ///< 0: no appends
} zbdkit_info;

/// Errors: closed, bad_argument (also a struct_size that is too small).
zbdkit_status zbdkit_get_info(zbdkit_disk disk, zbdkit_info* info, zbdkit_error* error);

/// Types and states of zones, as in linux/blkzoned.h.
typedef enum zbdkit_zone_type {
    ZBDKIT_ZONE_CONVENTIONAL = 1,
    ZBDKIT_ZONE_SEQUENTIAL_REQUIRED = 2,
    ZBDKIT_ZONE_SEQUENTIAL_PREFERRED = 3,
} zbdkit_zone_type;

typedef enum zbdkit_zone_state {
    ZBDKIT_ZONE_NOT_WRITE_POINTER = 0,  ///< conventional
    ZBDKIT_ZONE_EMPTY = 1,
    ZBDKIT_ZONE_IMPLICIT_OPEN = 2,
    ZBDKIT_ZONE_EXPLICIT_OPEN = 3,
    ZBDKIT_ZONE_CLOSED = 4,
    ZBDKIT_ZONE_READ_ONLY = 13,
    ZBDKIT_ZONE_FULL = 14,
    ZBDKIT_ZONE_OFFLINE = 15,
} zbdkit_zone_state;

typedef struct zbdkit_zone {
    uint64_t start;
    uint64_t length;
    uint64_t capacity;       ///< bytes from `start` that can be written
    uint64_t write_pointer;  ///< from the start of the disk; meaningless for zones without one
    uint32_t type;           ///< zbdkit_zone_type
    uint32_t state;          ///< zbdkit_zone_state
} zbdkit_zone;

/// Reports zones.
/// @param offset    lies in the first zone wanted
/// @param zones     room for `most` zones; may be null if that is 0
/// @param reported  set to how many there are: fewer than `most` at the end of the disk
/// Errors: not_supported if the disk is not zoned, out_of_range, io.
zbdkit_status zbdkit_report_zones(zbdkit_disk disk, uint64_t offset, zbdkit_zone* zones,
                                  uint32_t most, uint32_t* reported, zbdkit_error* error);

// --- data ---------------------------------------------------------------------------------------

/// A flag of writes: durable when the call returns.
#define ZBDKIT_FUA 1u

/// Reads all of the range, or fails.
/// Errors: out_of_range, misaligned, zone_invalid, io.
zbdkit_status zbdkit_read(zbdkit_disk disk, uint64_t offset, void* bytes, size_t length,
                          zbdkit_error* error);

/// Writes all of the range, or fails. In a sequential zone it starts at the write pointer, or where
/// a write in flight before it ends.
/// @param flags  ZBDKIT_FUA or 0
/// Errors: read_only, out_of_range, misaligned, all of zone_*, no_space, io.
zbdkit_status zbdkit_write(zbdkit_disk disk, uint64_t offset, const void* bytes, size_t length,
                           unsigned flags, zbdkit_error* error);

/// Writes to the write pointer of a zone, wherever that is when its turn comes.
/// @param zone_start  of a sequential zone
/// @param length      at most zbdkit_info::max_append_bytes
/// @param flags       ZBDKIT_FUA or 0
/// @param offset      set to where the data is; may be null
/// Errors: as zbdkit_write(); not_supported if the disk has no appends.
zbdkit_status zbdkit_append(zbdkit_disk disk, uint64_t zone_start, const void* bytes, size_t length,
                            unsigned flags, uint64_t* offset, zbdkit_error* error);

/// Makes the range read as zeroes. Errors: as zbdkit_write(), not_supported.
zbdkit_status zbdkit_write_zeroes(zbdkit_disk disk, uint64_t offset, uint64_t length,
                                  unsigned flags, zbdkit_error* error);

/// Says that the range is no longer needed; what it reads as afterwards is undefined.
/// Errors: as zbdkit_write(), not_supported.
zbdkit_status zbdkit_discard(zbdkit_disk disk, uint64_t offset, uint64_t length,
                             zbdkit_error* error);

/// Makes everything durable that was completed before. Errors: io, no_space.
zbdkit_status zbdkit_flush(zbdkit_disk disk, zbdkit_error* error);

// --- zones --------------------------------------------------------------------------------------

// Actions on all zones of a range, one after the other; after an error earlier zones stay changed.
// The range starts at a zone and ends at one or at the end of the disk, and is not empty.
// Errors: not_supported if the disk is not zoned, read_only, out_of_range, misaligned,
// zone_invalid, zone_open_limit, zone_active_limit, io.

zbdkit_status zbdkit_zone_open(zbdkit_disk disk, uint64_t offset, uint64_t length,
                               zbdkit_error* error);
zbdkit_status zbdkit_zone_close(zbdkit_disk disk, uint64_t offset, uint64_t length,
                                zbdkit_error* error);
zbdkit_status zbdkit_zone_finish(zbdkit_disk disk, uint64_t offset, uint64_t length,
                                 zbdkit_error* error);
zbdkit_status zbdkit_zone_reset(zbdkit_disk disk, uint64_t offset, uint64_t length,
                                zbdkit_error* error);

/// Resets every zone that is open, closed or full, and passes over the rest.
zbdkit_status zbdkit_zone_reset_all(zbdkit_disk disk, zbdkit_error* error);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
