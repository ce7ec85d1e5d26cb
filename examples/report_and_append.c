// SPDX-License-Identifier: Apache-2.0
// Reports the zones of a disk, appends a line of text twice to the first zone that takes it, and
// reads it back from where it landed.
//
//     zbdkit create disk.zbd 64M
//     cc report_and_append.c $(pkg-config --cflags --libs zbdkit) -o report_and_append
//     ./report_and_append disk.zbd
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zbdkit.h>

enum { MOST_ZONES = 4 };

static int failed(const char* what, const zbdkit_error* error) {
    fprintf(stderr, "%s: %s\n", what, error->message);
    return 1;
}

static const char* state_name(uint32_t state) {
    switch (state) {
        case ZBDKIT_ZONE_NOT_WRITE_POINTER: return "conventional";
        case ZBDKIT_ZONE_EMPTY: return "empty";
        case ZBDKIT_ZONE_IMPLICIT_OPEN:
        case ZBDKIT_ZONE_EXPLICIT_OPEN: return "open";
        case ZBDKIT_ZONE_CLOSED: return "closed";
        case ZBDKIT_ZONE_FULL: return "full";
        case ZBDKIT_ZONE_READ_ONLY: return "read-only";
        case ZBDKIT_ZONE_OFFLINE: return "offline";
        default: return "unknown";
    }
}

static int takes_appends(const zbdkit_zone* zone) {
    return zone->type == ZBDKIT_ZONE_SEQUENTIAL_REQUIRED && zone->state <= ZBDKIT_ZONE_CLOSED;
}

/// Prints the first zones. `chosen` is set to one that takes appends, if there is one.
static int report(zbdkit_disk disk, zbdkit_zone* chosen, zbdkit_error* error) {
    zbdkit_zone zones[MOST_ZONES];
    uint32_t count = 0;
    if (zbdkit_report_zones(disk, 0, zones, MOST_ZONES, &count, error) != ZBDKIT_OK) {
        return failed("report", error);
    }
    for (uint32_t i = count; i-- > 0;) {
        if (takes_appends(&zones[i])) *chosen = zones[i];
    }
    for (uint32_t i = 0; i < count; ++i) {
        const int has_pointer = zones[i].type != ZBDKIT_ZONE_CONVENTIONAL;
        const uint64_t written = has_pointer ? zones[i].write_pointer - zones[i].start : 0;
        printf("zone %" PRIu32 ": start %" PRIu64 ", capacity %" PRIu64 ", %s, %" PRIu64
               " bytes written\n",
               i, zones[i].start, zones[i].capacity, state_name(zones[i].state), written);
    }
    return 0;
}

/// Appends one block twice and compares what is there afterwards.
static int append_twice(zbdkit_disk disk, uint64_t zone_start, size_t block_size,
                        zbdkit_error* error) {
    char* block = calloc(2, block_size);
    if (block == NULL) return 1;
    char* back = block + block_size;
    snprintf(block, block_size, "written by report_and_append\n");
    int status = 0;
    for (int i = 0; i < 2 && status == 0; ++i) {
        uint64_t offset = 0;
        if (zbdkit_append(disk, zone_start, block, block_size, ZBDKIT_FUA, &offset, error) !=
                ZBDKIT_OK ||
            zbdkit_read(disk, offset, back, block_size, error) != ZBDKIT_OK) {
            status = failed("append", error);
        } else {
            printf("appended %zu bytes at %" PRIu64 ", read back: %s\n", block_size, offset,
                   memcmp(block, back, block_size) == 0 ? "the same" : "different");
        }
    }
    free(block);
    return status;
}

static int work(zbdkit_disk disk, zbdkit_error* error) {
    zbdkit_info info = {.struct_size = sizeof(info)};
    if (zbdkit_get_info(disk, &info, error) != ZBDKIT_OK) return failed("info", error);
    printf("%" PRIu64 " bytes, %" PRIu32 " zones of %" PRIu64 " bytes\n", info.size,
           info.zone_count, info.zone_size);
    zbdkit_zone chosen = {0};
    if (report(disk, &chosen, error) != 0) return 1;
    if (chosen.capacity == 0) {
        fprintf(stderr, "none of the first zones takes appends\n");
        return 1;
    }
    if (append_twice(disk, chosen.start, info.block_size, error) != 0) return 1;
    return report(disk, &chosen, error);
}

int main(int argc, char** argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: report_and_append IMAGE\n");
        return 2;
    }
    zbdkit_error error;
    zbdkit_disk disk;
    if (zbdkit_open_image(argv[1], 0, &disk, &error) != ZBDKIT_OK) return failed("open", &error);
    const int status = work(disk, &error);
    if (zbdkit_close(disk, &error) != ZBDKIT_OK) return failed("close", &error);
    return status;
}
