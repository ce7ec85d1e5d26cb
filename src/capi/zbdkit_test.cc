// SPDX-License-Identifier: Apache-2.0
#include "zbdkit.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "graph/graph.h"
#include "io/blocking_pool.h"
#include "io/uring_engine.h"
#include "node/format/zoned_create.h"

namespace {

constexpr std::size_t kBlock = 4096;
constexpr std::uint64_t kZone = 65536;

/// Images that last as long as a test.
class Capi : public testing::Test {
  protected:
    Capi() {
        std::string name = (std::filesystem::temp_directory_path() / "zbdkit-XXXXXX").string();
        EXPECT_NE(::mkdtemp(name.data()), nullptr);
        folder_ = name;
    }
    ~Capi() override { std::filesystem::remove_all(folder_); }

    /// Makes an image of 16 zones of 64 KiB, the first conventional; at most 2 open and 3 active.
    std::string make_image(const std::string& name) {
        using namespace zbdkit;  // NOLINT
        const std::string path = (folder_ / name).string();
        const auto options = OptionValues::parse(
            "zone.size=64K,zone.conventional_zones=1,zone.max_open_zones=2,"
            "zone.max_active_zones=3,zone.max_append_bytes=16K",
            "", "test");
        const zoned::NewImage image = zoned::plan_image(1048576, options.value()).value();
        const int fd = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
        const auto size = static_cast<off_t>(zoned::layout_of(image.geometry).image_size);
        EXPECT_EQ(::ftruncate(fd, size), 0);
        EXPECT_EQ(::close(fd), 0);
        Reactor reactor(make_uring_engine(8).value());
        BlockingPool pool(1);
        OpenContext context{reactor, pool};
        NamedNodes none;
        OptionValues file("test");
        file.replace("driver", "file");
        file.replace("filename", path);
        const auto node = reactor.run_to_end(open_node(context, file, none)).value();
        EXPECT_TRUE(reactor.run_to_end(zoned::format_image(*node, image)));
        EXPECT_TRUE(reactor.run_to_end(node->close()));
        return path;
    }

    zbdkit_disk open_image(const std::string& path, unsigned flags = 0) {
        zbdkit_disk disk{};
        EXPECT_EQ(zbdkit_open_image(path.c_str(), flags, &disk, &error_), ZBDKIT_OK)
            << error_.message;
        return disk;
    }
    /// A disk that keeps nothing and has no zones.
    zbdkit_disk open_memory() {
        zbdkit_disk disk{};
        EXPECT_EQ(zbdkit_open("driver=memory,size=1M", 0, &disk, &error_), ZBDKIT_OK)
            << error_.message;
        return disk;
    }
    zbdkit_zone zone_at(zbdkit_disk disk, std::uint64_t offset) {
        zbdkit_zone zone{};
        std::uint32_t count = 0;
        EXPECT_EQ(zbdkit_report_zones(disk, offset, &zone, 1, &count, &error_), ZBDKIT_OK);
        EXPECT_EQ(count, 1U);
        return zone;
    }

    std::filesystem::path folder_;
    zbdkit_error error_{};
    std::vector<char> block_ = std::vector<char>(kBlock, 'z');
};

// --- open and close -----------------------------------------------------------------------------

TEST_F(Capi, version_is_that_of_the_build) { EXPECT_STREQ(zbdkit_version(), ZBDKIT_VERSION); }

TEST_F(Capi, open_says_why_it_fails) {
    zbdkit_disk disk{7};
    EXPECT_EQ(zbdkit_open("driver=memroy,size=1M", 0, &disk, &error_), ZBDKIT_NOT_SUPPORTED);
    EXPECT_EQ(error_.status, ZBDKIT_NOT_SUPPORTED);
    EXPECT_NE(std::string(error_.message).find("did you mean 'memory'?"), std::string::npos);
    EXPECT_EQ(disk.id, 0U);
}

TEST_F(Capi, open_refuses_options_that_make_no_sense) {
    zbdkit_disk disk{};
    EXPECT_EQ(zbdkit_open("=", 0, &disk, &error_), ZBDKIT_NOT_SUPPORTED);
    EXPECT_EQ(zbdkit_open("{", 0, &disk, nullptr), ZBDKIT_NOT_SUPPORTED);
}

TEST_F(Capi, open_without_arguments_is_a_bad_argument) {
    zbdkit_disk disk{};
    EXPECT_EQ(zbdkit_open(nullptr, 0, &disk, &error_), ZBDKIT_BAD_ARGUMENT);
    EXPECT_EQ(zbdkit_open("driver=memory,size=1M", 0, nullptr, &error_), ZBDKIT_BAD_ARGUMENT);
    EXPECT_EQ(zbdkit_open_image(nullptr, 0, &disk, nullptr), ZBDKIT_BAD_ARGUMENT);
    EXPECT_EQ(zbdkit_open("driver=memory,size=1M", 2, &disk, &error_), ZBDKIT_BAD_ARGUMENT);
    EXPECT_STREQ(error_.message, "a flag is set that is not known");
}

TEST_F(Capi, handle_that_was_never_open_is_closed) {
    const zbdkit_disk none{};
    EXPECT_EQ(zbdkit_flush(none, &error_), ZBDKIT_CLOSED);
    EXPECT_STREQ(error_.message, "no open disk has this handle");
    EXPECT_EQ(zbdkit_close(none, nullptr), ZBDKIT_CLOSED);
}

TEST_F(Capi, second_close_finds_the_disk_closed) {
    const zbdkit_disk disk = open_memory();
    EXPECT_EQ(zbdkit_close(disk, &error_), ZBDKIT_OK);
    EXPECT_EQ(zbdkit_close(disk, &error_), ZBDKIT_CLOSED);
}

TEST_F(Capi, closed_handle_is_not_that_of_the_next_disk) {
    const zbdkit_disk first = open_memory();
    EXPECT_EQ(zbdkit_close(first, &error_), ZBDKIT_OK);
    const zbdkit_disk second = open_memory();
    EXPECT_EQ(zbdkit_flush(first, &error_), ZBDKIT_CLOSED);
    EXPECT_EQ(zbdkit_flush(second, &error_), ZBDKIT_OK);
    EXPECT_EQ(zbdkit_close(second, &error_), ZBDKIT_OK);
}

TEST_F(Capi, every_call_with_a_closed_handle_says_so) {
    const zbdkit_disk none{};
    zbdkit_info info{};
    info.struct_size = sizeof(info);
    zbdkit_zone zone{};
    std::uint32_t count = 0;
    EXPECT_EQ(zbdkit_get_info(none, &info, nullptr), ZBDKIT_CLOSED);
    EXPECT_EQ(zbdkit_report_zones(none, 0, &zone, 1, &count, nullptr), ZBDKIT_CLOSED);
    EXPECT_EQ(zbdkit_read(none, 0, block_.data(), kBlock, nullptr), ZBDKIT_CLOSED);
    EXPECT_EQ(zbdkit_write(none, 0, block_.data(), kBlock, 0, nullptr), ZBDKIT_CLOSED);
    EXPECT_EQ(zbdkit_append(none, 0, block_.data(), kBlock, 0, nullptr, nullptr), ZBDKIT_CLOSED);
    EXPECT_EQ(zbdkit_write_zeroes(none, 0, kBlock, 0, nullptr), ZBDKIT_CLOSED);
    EXPECT_EQ(zbdkit_discard(none, 0, kBlock, nullptr), ZBDKIT_CLOSED);
    EXPECT_EQ(zbdkit_zone_open(none, 0, kZone, nullptr), ZBDKIT_CLOSED);
    EXPECT_EQ(zbdkit_zone_close(none, 0, kZone, nullptr), ZBDKIT_CLOSED);
    EXPECT_EQ(zbdkit_zone_finish(none, 0, kZone, nullptr), ZBDKIT_CLOSED);
    EXPECT_EQ(zbdkit_zone_reset(none, 0, kZone, nullptr), ZBDKIT_CLOSED);
    EXPECT_EQ(zbdkit_zone_reset_all(none, nullptr), ZBDKIT_CLOSED);
}

TEST_F(Capi, data_and_zones_survive_close_and_open) {
    const std::string path = make_image("disk.zbd");
    const zbdkit_disk disk = open_image(path);
    std::uint64_t offset = 0;
    EXPECT_EQ(zbdkit_append(disk, kZone, block_.data(), kBlock, 0, &offset, &error_), ZBDKIT_OK);
    EXPECT_EQ(zbdkit_close(disk, &error_), ZBDKIT_OK);

    const zbdkit_disk again = open_image(path);
    std::vector<char> back(kBlock);
    EXPECT_EQ(offset, 65536U);
    EXPECT_EQ(zbdkit_read(again, offset, back.data(), kBlock, &error_), ZBDKIT_OK);
    EXPECT_EQ(back, block_);
    EXPECT_EQ(zone_at(again, kZone).write_pointer, 69632U);
    EXPECT_EQ(zbdkit_close(again, &error_), ZBDKIT_OK);
}

TEST_F(Capi, image_has_one_writer_and_any_number_of_readers) {
    const std::string path = make_image("disk.zbd");
    const zbdkit_disk writer = open_image(path);
    zbdkit_disk second{};
    EXPECT_NE(zbdkit_open_image(path.c_str(), 0, &second, &error_), ZBDKIT_OK);
    const zbdkit_disk reader = open_image(path, ZBDKIT_OPEN_READ_ONLY);
    EXPECT_EQ(zbdkit_write(reader, 0, block_.data(), kBlock, 0, &error_), ZBDKIT_READ_ONLY);
    EXPECT_EQ(zbdkit_close(reader, &error_), ZBDKIT_OK);
    EXPECT_EQ(zbdkit_close(writer, &error_), ZBDKIT_OK);
}

// --- what a disk is -----------------------------------------------------------------------------

TEST_F(Capi, info_has_the_geometry_of_a_zoned_disk) {
    const zbdkit_disk disk = open_image(make_image("disk.zbd"));
    zbdkit_info info{};
    info.struct_size = sizeof(info);
    EXPECT_EQ(zbdkit_get_info(disk, &info, &error_), ZBDKIT_OK);
    EXPECT_EQ(info.size, 1048576U);
    EXPECT_EQ(info.block_size, 4096U);
    EXPECT_EQ(info.read_only, 0U);
    EXPECT_EQ(info.zone_model, static_cast<std::uint32_t>(ZBDKIT_HOST_MANAGED));
    EXPECT_EQ(info.zone_count, 16U);
    EXPECT_EQ(info.zone_size, 65536U);
    EXPECT_EQ(info.conventional_zones, 1U);
    EXPECT_EQ(info.max_open_zones, 2U);
    EXPECT_EQ(info.max_active_zones, 3U);
    EXPECT_EQ(info.max_append_bytes, 16384U);
    EXPECT_EQ(zbdkit_close(disk, &error_), ZBDKIT_OK);
}

TEST_F(Capi, info_of_a_disk_without_zones_has_none) {
    const zbdkit_disk disk = open_memory();
    zbdkit_info info{};
    info.struct_size = sizeof(info);
    EXPECT_EQ(zbdkit_get_info(disk, &info, &error_), ZBDKIT_OK);
    EXPECT_EQ(info.size, 1048576U);
    EXPECT_EQ(info.zone_model, static_cast<std::uint32_t>(ZBDKIT_NOT_ZONED));
    EXPECT_EQ(info.zone_count, 0U);
    EXPECT_EQ(zbdkit_close(disk, &error_), ZBDKIT_OK);
}

TEST_F(Capi, info_for_a_later_version_leaves_what_it_does_not_know) {
    struct Later {
        zbdkit_info known;
        std::uint64_t unknown;
    };
    const zbdkit_disk disk = open_memory();
    Later later{};
    later.known.struct_size = sizeof(later);
    later.unknown = 42;
    EXPECT_EQ(zbdkit_get_info(disk, &later.known, &error_), ZBDKIT_OK);
    EXPECT_EQ(later.known.size, 1048576U);
    EXPECT_EQ(later.known.struct_size, sizeof(later));
    EXPECT_EQ(later.unknown, 42U);
    EXPECT_EQ(zbdkit_close(disk, &error_), ZBDKIT_OK);
}

TEST_F(Capi, info_without_struct_size_is_a_bad_argument) {
    const zbdkit_disk disk = open_memory();
    zbdkit_info info{};
    EXPECT_EQ(zbdkit_get_info(disk, &info, &error_), ZBDKIT_BAD_ARGUMENT);
    EXPECT_EQ(zbdkit_get_info(disk, nullptr, &error_), ZBDKIT_BAD_ARGUMENT);
    EXPECT_EQ(zbdkit_close(disk, &error_), ZBDKIT_OK);
}

// --- reports ------------------------------------------------------------------------------------

TEST_F(Capi, report_ends_at_the_end_of_the_disk) {
    const zbdkit_disk disk = open_image(make_image("disk.zbd"));
    std::array<zbdkit_zone, 4> zones{};
    std::uint32_t count = 0;
    EXPECT_EQ(zbdkit_report_zones(disk, 14 * kZone + 1, zones.data(), 4, &count, &error_),
              ZBDKIT_OK);
    EXPECT_EQ(count, 2U);
    EXPECT_EQ(zones[0].start, 917504U);
    EXPECT_EQ(zones[1].start, 983040U);
    EXPECT_EQ(zones[1].state, static_cast<std::uint32_t>(ZBDKIT_ZONE_EMPTY));
    EXPECT_EQ(zones[2].length, 0U);
    EXPECT_EQ(zbdkit_close(disk, &error_), ZBDKIT_OK);
}

TEST_F(Capi, report_of_more_zones_than_there_are_needs_no_more_memory) {
    const zbdkit_disk disk = open_image(make_image("disk.zbd"));
    std::vector<zbdkit_zone> zones(16);
    std::uint32_t count = 0;
    EXPECT_EQ(zbdkit_report_zones(disk, 0, zones.data(), 0xffffffff, &count, &error_), ZBDKIT_OK);
    EXPECT_EQ(count, 16U);
    EXPECT_EQ(zbdkit_close(disk, &error_), ZBDKIT_OK);
}

TEST_F(Capi, report_of_a_disk_without_zones_is_not_supported) {
    const zbdkit_disk disk = open_memory();
    zbdkit_zone zone{};
    std::uint32_t count = 7;
    EXPECT_EQ(zbdkit_report_zones(disk, 0, &zone, 1, &count, &error_), ZBDKIT_NOT_SUPPORTED);
    EXPECT_EQ(count, 7U);
    EXPECT_EQ(zbdkit_close(disk, &error_), ZBDKIT_OK);
}

TEST_F(Capi, report_without_room_or_count_is_a_bad_argument) {
    const zbdkit_disk disk = open_image(make_image("disk.zbd"));
    zbdkit_zone zone{};
    std::uint32_t count = 7;
    EXPECT_EQ(zbdkit_report_zones(disk, 0, nullptr, 1, &count, &error_), ZBDKIT_BAD_ARGUMENT);
    EXPECT_EQ(zbdkit_report_zones(disk, 0, &zone, 1, nullptr, &error_), ZBDKIT_BAD_ARGUMENT);
    EXPECT_EQ(zbdkit_report_zones(disk, 0, nullptr, 0, &count, &error_), ZBDKIT_OK);
    EXPECT_EQ(count, 0U);
    EXPECT_EQ(zbdkit_close(disk, &error_), ZBDKIT_OK);
}

// --- data ---------------------------------------------------------------------------------------

TEST_F(Capi, write_reads_back) {
    const zbdkit_disk disk = open_memory();
    std::vector<char> back(kBlock);
    EXPECT_EQ(zbdkit_write(disk, 8192, block_.data(), kBlock, ZBDKIT_FUA, &error_), ZBDKIT_OK);
    EXPECT_EQ(zbdkit_read(disk, 8192, back.data(), kBlock, &error_), ZBDKIT_OK);
    EXPECT_EQ(back, block_);
    EXPECT_EQ(zbdkit_close(disk, &error_), ZBDKIT_OK);
}

TEST_F(Capi, zeroes_read_back) {
    const zbdkit_disk disk = open_memory();
    EXPECT_EQ(zbdkit_write(disk, 0, block_.data(), kBlock, 0, &error_), ZBDKIT_OK);
    EXPECT_EQ(zbdkit_write_zeroes(disk, 0, kBlock, ZBDKIT_FUA, &error_), ZBDKIT_OK);
    EXPECT_EQ(zbdkit_read(disk, 0, block_.data(), kBlock, &error_), ZBDKIT_OK);
    EXPECT_EQ(block_, std::vector<char>(kBlock));
    EXPECT_EQ(zbdkit_discard(disk, 0, kBlock, &error_), ZBDKIT_OK);
    EXPECT_EQ(zbdkit_close(disk, &error_), ZBDKIT_OK);
}

TEST_F(Capi, bad_arguments_of_data_calls_are_refused) {
    const zbdkit_disk disk = open_memory();
    EXPECT_EQ(zbdkit_read(disk, 0, nullptr, kBlock, &error_), ZBDKIT_BAD_ARGUMENT);
    EXPECT_EQ(zbdkit_write(disk, 0, nullptr, kBlock, 0, &error_), ZBDKIT_BAD_ARGUMENT);
    EXPECT_EQ(zbdkit_append(disk, 0, nullptr, kBlock, 0, nullptr, &error_), ZBDKIT_BAD_ARGUMENT);
    EXPECT_EQ(zbdkit_write(disk, 0, block_.data(), kBlock, 8, &error_), ZBDKIT_BAD_ARGUMENT);
    EXPECT_EQ(zbdkit_append(disk, 0, block_.data(), kBlock, 8, nullptr, &error_),
              ZBDKIT_BAD_ARGUMENT);
    EXPECT_EQ(zbdkit_write_zeroes(disk, 0, kBlock, 8, &error_), ZBDKIT_BAD_ARGUMENT);
    EXPECT_EQ(zbdkit_close(disk, &error_), ZBDKIT_OK);
}

TEST_F(Capi, offsets_that_no_disk_has_are_out_of_range) {
    const zbdkit_disk disk = open_memory();
    EXPECT_EQ(zbdkit_read(disk, 1048576, block_.data(), kBlock, &error_), ZBDKIT_OUT_OF_RANGE);
    EXPECT_EQ(zbdkit_read(disk, ~std::uint64_t{0}, block_.data(), kBlock, &error_),
              ZBDKIT_OUT_OF_RANGE);
    EXPECT_EQ(zbdkit_discard(disk, 4096, ~std::uint64_t{0}, &error_), ZBDKIT_OUT_OF_RANGE);
    EXPECT_EQ(zbdkit_close(disk, &error_), ZBDKIT_OK);
}

TEST_F(Capi, call_without_an_error_object_gives_the_status) {
    const zbdkit_disk disk = open_memory();
    EXPECT_EQ(zbdkit_read(disk, 1048576, block_.data(), kBlock, nullptr), ZBDKIT_OUT_OF_RANGE);
    EXPECT_EQ(zbdkit_close(disk, nullptr), ZBDKIT_OK);
}

TEST_F(Capi, misaligned_read_is_told) {
    const zbdkit_disk disk = open_image(make_image("disk.zbd"));
    EXPECT_EQ(zbdkit_read(disk, 1, block_.data(), kBlock, &error_), ZBDKIT_MISALIGNED);
    EXPECT_STREQ(error_.message, "offset or length is no multiple of the block size");
    EXPECT_EQ(zbdkit_close(disk, &error_), ZBDKIT_OK);
}

TEST_F(Capi, write_off_the_pointer_is_told_from_other_faults) {
    const zbdkit_disk disk = open_image(make_image("disk.zbd"));
    EXPECT_EQ(zbdkit_write(disk, kZone + kBlock, block_.data(), kBlock, 0, &error_),
              ZBDKIT_ZONE_UNALIGNED_WP);
    EXPECT_EQ(zbdkit_append(disk, 0, block_.data(), kBlock, 0, nullptr, &error_),
              ZBDKIT_ZONE_INVALID);
    EXPECT_EQ(zbdkit_close(disk, &error_), ZBDKIT_OK);
}

// --- zones --------------------------------------------------------------------------------------

TEST_F(Capi, zone_goes_through_its_states) {
    const zbdkit_disk disk = open_image(make_image("disk.zbd"));
    const auto state = [&] { return zone_at(disk, kZone).state; };
    EXPECT_EQ(zbdkit_zone_open(disk, kZone, kZone, &error_), ZBDKIT_OK);
    EXPECT_EQ(state(), static_cast<std::uint32_t>(ZBDKIT_ZONE_EXPLICIT_OPEN));
    EXPECT_EQ(zbdkit_write(disk, kZone, block_.data(), kBlock, 0, &error_), ZBDKIT_OK);
    EXPECT_EQ(zbdkit_zone_close(disk, kZone, kZone, &error_), ZBDKIT_OK);
    EXPECT_EQ(state(), static_cast<std::uint32_t>(ZBDKIT_ZONE_CLOSED));
    EXPECT_EQ(zbdkit_zone_finish(disk, kZone, kZone, &error_), ZBDKIT_OK);
    EXPECT_EQ(state(), static_cast<std::uint32_t>(ZBDKIT_ZONE_FULL));
    EXPECT_EQ(zbdkit_zone_reset(disk, kZone, kZone, &error_), ZBDKIT_OK);
    EXPECT_EQ(state(), static_cast<std::uint32_t>(ZBDKIT_ZONE_EMPTY));
    EXPECT_EQ(zbdkit_close(disk, &error_), ZBDKIT_OK);
}

TEST_F(Capi, open_and_active_limits_are_told_apart) {
    const zbdkit_disk disk = open_image(make_image("disk.zbd"));
    EXPECT_EQ(zbdkit_zone_open(disk, kZone, 3 * kZone, &error_), ZBDKIT_ZONE_OPEN_LIMIT);
    EXPECT_EQ(zbdkit_write(disk, kZone, block_.data(), kBlock, 0, &error_), ZBDKIT_OK);
    EXPECT_EQ(zbdkit_zone_close(disk, kZone, kZone, &error_), ZBDKIT_OK);
    EXPECT_EQ(zbdkit_zone_open(disk, 3 * kZone, kZone, &error_), ZBDKIT_OK);
    EXPECT_EQ(zbdkit_zone_open(disk, 4 * kZone, kZone, &error_), ZBDKIT_ZONE_ACTIVE_LIMIT);
    EXPECT_EQ(error_.status, ZBDKIT_ZONE_ACTIVE_LIMIT);
    EXPECT_EQ(zbdkit_close(disk, &error_), ZBDKIT_OK);
}

TEST_F(Capi, reset_all_empties_what_is_written) {
    const zbdkit_disk disk = open_image(make_image("disk.zbd"));
    EXPECT_EQ(zbdkit_write(disk, kZone, block_.data(), kBlock, 0, &error_), ZBDKIT_OK);
    EXPECT_EQ(zbdkit_zone_finish(disk, 2 * kZone, kZone, &error_), ZBDKIT_OK);
    EXPECT_EQ(zbdkit_zone_reset_all(disk, &error_), ZBDKIT_OK);
    EXPECT_EQ(zone_at(disk, kZone).state, static_cast<std::uint32_t>(ZBDKIT_ZONE_EMPTY));
    EXPECT_EQ(zone_at(disk, 2 * kZone).state, static_cast<std::uint32_t>(ZBDKIT_ZONE_EMPTY));
    EXPECT_EQ(zbdkit_close(disk, &error_), ZBDKIT_OK);
}

TEST_F(Capi, actions_on_parts_of_zones_are_misaligned) {
    const zbdkit_disk disk = open_image(make_image("disk.zbd"));
    EXPECT_EQ(zbdkit_zone_open(disk, kZone + 4096, kZone, &error_), ZBDKIT_MISALIGNED);
    EXPECT_EQ(zbdkit_zone_reset(disk, kZone, 4096, &error_), ZBDKIT_MISALIGNED);
    EXPECT_EQ(zbdkit_zone_reset(disk, 0, 17 * kZone, &error_), ZBDKIT_OUT_OF_RANGE);
    EXPECT_EQ(zbdkit_close(disk, &error_), ZBDKIT_OK);
}

// --- threads ------------------------------------------------------------------------------------

TEST_F(Capi, appends_of_many_threads_land_in_places_of_their_own) {
    constexpr unsigned kThreads = 8;
    constexpr unsigned kAppends = 2;
    const zbdkit_disk disk = open_image(make_image("disk.zbd"));
    std::vector<std::uint64_t> offsets(kThreads * kAppends);
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
            for (unsigned i = 0; i < kAppends; ++i) {
                EXPECT_EQ(zbdkit_append(disk, kZone, block_.data(), kBlock, 0,
                                        &offsets[t * kAppends + i], nullptr),
                          ZBDKIT_OK);
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    std::ranges::sort(offsets);
    for (unsigned i = 0; i < offsets.size(); ++i) EXPECT_EQ(offsets[i], 65536 + i * 4096);
    EXPECT_EQ(zone_at(disk, kZone).state, static_cast<std::uint32_t>(ZBDKIT_ZONE_FULL));
    EXPECT_EQ(zbdkit_close(disk, &error_), ZBDKIT_OK);
}

TEST_F(Capi, close_under_calls_in_flight_ends_each_call_one_way_or_the_other) {
    constexpr unsigned kThreads = 4;
    const zbdkit_disk disk = open_memory();
    std::atomic<unsigned> started{0};
    std::vector<zbdkit_status> last(kThreads, ZBDKIT_OK);
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
            std::vector<char> bytes(kBlock);
            ++started;
            while (last[t] == ZBDKIT_OK) {
                last[t] = zbdkit_write(disk, t * kBlock, bytes.data(), kBlock, 0, nullptr);
            }
        });
    }
    while (started != kThreads) std::this_thread::yield();
    EXPECT_EQ(zbdkit_close(disk, &error_), ZBDKIT_OK);
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(last, std::vector<zbdkit_status>(kThreads, ZBDKIT_CLOSED));
}

TEST_F(Capi, of_two_closes_at_a_time_one_closes) {
    const zbdkit_disk disk = open_memory();
    zbdkit_status other = ZBDKIT_OK;
    std::thread thread([&] { other = zbdkit_close(disk, nullptr); });
    const zbdkit_status own = zbdkit_close(disk, nullptr);
    thread.join();
    EXPECT_EQ(std::minmax({own, other}), std::pair(ZBDKIT_OK, ZBDKIT_CLOSED));
}

// --- errors -------------------------------------------------------------------------------------

TEST_F(Capi, message_that_is_too_long_is_cut_off) {
    const std::string path(1000, 'x');
    zbdkit_disk disk{};
    EXPECT_NE(zbdkit_open_image(path.c_str(), 0, &disk, &error_), ZBDKIT_OK);
    EXPECT_EQ(std::string(error_.message).size(), 503U);
}

TEST_F(Capi, statuses_have_the_names_of_the_errors_inside) {
    EXPECT_STREQ(zbdkit_status_name(ZBDKIT_OK), "ok");
    EXPECT_STREQ(zbdkit_status_name(ZBDKIT_IO), "io");
    EXPECT_STREQ(zbdkit_status_name(ZBDKIT_NO_SPACE), "no_space");
    EXPECT_STREQ(zbdkit_status_name(ZBDKIT_READ_ONLY), "read_only");
    EXPECT_STREQ(zbdkit_status_name(ZBDKIT_OUT_OF_RANGE), "out_of_range");
    EXPECT_STREQ(zbdkit_status_name(ZBDKIT_MISALIGNED), "misaligned");
    EXPECT_STREQ(zbdkit_status_name(ZBDKIT_NOT_SUPPORTED), "not_supported");
    EXPECT_STREQ(zbdkit_status_name(ZBDKIT_ZONE_INVALID), "zone_invalid");
    EXPECT_STREQ(zbdkit_status_name(ZBDKIT_ZONE_UNALIGNED_WP), "zone_unaligned_wp");
    EXPECT_STREQ(zbdkit_status_name(ZBDKIT_ZONE_OPEN_LIMIT), "zone_open_limit");
    EXPECT_STREQ(zbdkit_status_name(ZBDKIT_ZONE_ACTIVE_LIMIT), "zone_active_limit");
    EXPECT_STREQ(zbdkit_status_name(ZBDKIT_CORRUPT), "corrupt");
    EXPECT_STREQ(zbdkit_status_name(ZBDKIT_CLOSED), "closed");
    EXPECT_STREQ(zbdkit_status_name(ZBDKIT_BAD_ARGUMENT), "bad_argument");
    EXPECT_STREQ(zbdkit_status_name(99), "unknown");
}

}  // namespace
