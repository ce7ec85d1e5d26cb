// SPDX-License-Identifier: Apache-2.0
#include "zone/zone.h"

#include <gtest/gtest.h>

namespace zbdkit {
namespace {

/// A zone of 1 MiB at 1 MiB with 64 KiB of data, or so its pointer says.
std::uint64_t reported(ZoneState state, ZoneType type = ZoneType::sequential_required) {
    return reported_write_pointer({.start = 1048576,
                                   .length = 1048576,
                                   .capacity = 786432,
                                   .write_pointer = 1114112,
                                   .type = type,
                                   .state = state});
}

TEST(ReportedWritePointer, zone_that_can_be_written_on_has_its_pointer) {
    EXPECT_EQ(reported(ZoneState::implicit_open), 1114112U);
    EXPECT_EQ(reported(ZoneState::explicit_open), 1114112U);
    EXPECT_EQ(reported(ZoneState::closed), 1114112U);
}

TEST(ReportedWritePointer, zone_without_data_of_its_own_has_its_start) {
    EXPECT_EQ(reported(ZoneState::empty), 1048576U);
    EXPECT_EQ(reported(ZoneState::not_write_pointer, ZoneType::conventional), 1048576U);
}

TEST(ReportedWritePointer, zone_that_takes_nothing_more_has_its_end_and_not_its_capacity) {
    EXPECT_EQ(reported(ZoneState::full), 2097152U);
    EXPECT_EQ(reported(ZoneState::read_only), 2097152U);
    EXPECT_EQ(reported(ZoneState::offline), 2097152U);
    EXPECT_EQ(reported(ZoneState::offline, ZoneType::conventional), 2097152U);
}

}  // namespace
}  // namespace zbdkit
