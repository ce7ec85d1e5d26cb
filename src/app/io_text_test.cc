// SPDX-License-Identifier: Apache-2.0
// The lines were taken from qemu-io.
#include "app/io_text.h"

#include <gtest/gtest.h>

#include <array>

namespace zbdkit::app {
namespace {

TEST(IoSizeText, unit_is_the_largest_that_fits) {
    EXPECT_EQ(io_size_text(0), "0 bytes");
    EXPECT_EQ(io_size_text(512), "512 bytes");
    EXPECT_EQ(io_size_text(1024), "1 KiB");
    EXPECT_EQ(io_size_text(1536), "1.500 KiB");
    EXPECT_EQ(io_size_text(1000000), "976.562 KiB");
    EXPECT_EQ(io_size_text(1234567), "1.177 MiB");
    EXPECT_EQ(io_size_text(570425344), "544 MiB");
    EXPECT_EQ(io_size_text(1300234567890.0), "1.183 TiB");
    EXPECT_EQ(io_size_text(9223372036854775807.0), "8 EiB");
}

TEST(IoSizeText, fractions_of_a_byte_are_shown) {
    EXPECT_EQ(io_size_text(80.699191), "80.699191 bytes");
}

TEST(IoStatisticsText, short_times_are_in_seconds) {
    EXPECT_EQ(io_statistics_text({"wrote", 4096, 4096, 12'500'000}),
              "wrote 4096/4096 bytes at offset 4096\n"
              "4 KiB, 1 ops; 00.01 sec (320 KiB/sec and 80.0000 ops/sec)\n");
    EXPECT_EQ(io_statistics_text({"read", 0, 3000, 999'900'000}),
              "read 3000/3000 bytes at offset 0\n"
              "2.930 KiB, 1 ops; 01.00 sec (2.930 KiB/sec and 1.0001 ops/sec)\n");
}

TEST(IoStatisticsText, long_times_are_as_on_a_clock) {
    EXPECT_EQ(io_statistics_text({"read", 0, 4096, 61'500'000'000}),
              "read 4096/4096 bytes at offset 0\n"
              "4 KiB, 1 ops; 0:01:01.50 (66.601626 bytes/sec and 0.0163 ops/sec)\n");
    EXPECT_EQ(io_statistics_text({"read", 0, 0, 11'792'780'000'000}),
              "read 0/0 bytes at offset 0\n"
              "0 bytes, 1 ops; 3:16:32.78 (0 bytes/sec and 0.0001 ops/sec)\n");
}

TEST(IoStatisticsText, no_time_at_all_is_no_division_by_zero) {
    EXPECT_EQ(io_statistics_text({"read", 0, 0, 0}),
              "read 0/0 bytes at offset 0\n"
              "0 bytes, 1 ops; 00.00 sec (0 bytes/sec and 1000000000.0000 ops/sec)\n");
}

TEST(IoStatisticsCsv, values_are_separated_by_commas) {
    EXPECT_EQ(io_statistics_csv({"read", 0, 4096, 12'500'000}),
              "4096,1,0:00:00.01,327680.000,80.000\n");
}

TEST(IoDump, sixteen_bytes_make_a_line) {
    std::array<std::byte, 18> bytes{};
    bytes[0] = std::byte{'A'};
    bytes[1] = std::byte{'z'};
    bytes[2] = std::byte{'7'};
    bytes[17] = std::byte{0xcd};
    EXPECT_EQ(io_dump(4096, bytes),
              "00001000:  41 7a 37 00 00 00 00 00 00 00 00 00 00 00 00 00  Az7.............\n"
              "00001010:  00 cd  ..\n");
    EXPECT_EQ(io_dump(0, {}), "");
}

}  // namespace
}  // namespace zbdkit::app
