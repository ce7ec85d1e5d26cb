// SPDX-License-Identifier: Apache-2.0
#include "block/write_record.h"

#include <gtest/gtest.h>

namespace zbdkit {
namespace {

TEST(WriteRecord, place_is_kept_until_it_is_withdrawn) {
    WriteSlot slot;
    const WriteRecord record(slot);

    record.placed({8192, 4096});
    EXPECT_EQ(WriteRecord::read(slot).place, 8193U);
    EXPECT_EQ(WriteRecord::read(slot).length, 4096U);

    record.withdrawn();
    EXPECT_EQ(WriteRecord::read(slot).place, 0U);
}

TEST(WriteRecord, landed_data_keeps_its_place) {
    WriteSlot slot;
    const WriteRecord record(slot);
    record.placed({0, 4096});

    record.landed();

    EXPECT_EQ(slot.place, 1U);
    EXPECT_EQ(slot.length, 0U);
}

TEST(WriteRecord, node_below_a_window_records_the_place_above_it) {
    WriteSlot slot;
    const WriteRecord below = WriteRecord(slot).shifted(65536).shifted(4096);

    below.placed({65536 + 4096 + 512, 1024});

    EXPECT_EQ(slot.place, 513U);
}

}  // namespace
}  // namespace zbdkit
