// SPDX-License-Identifier: Apache-2.0
#include "app/messages.h"

#include <gtest/gtest.h>

namespace zbdkit::app {
namespace {

TEST(Messages, shell_quote_leaves_plain_words_alone) {
    EXPECT_EQ(shell_quote("/run/disk-1_a.sock"), "/run/disk-1_a.sock");
}

TEST(Messages, shell_quote_quotes_blanks_and_quotes) {
    EXPECT_EQ(shell_quote("a b"), "'a b'");
    EXPECT_EQ(shell_quote("it's"), "'it'\\''s'");
    EXPECT_EQ(shell_quote("$HOME"), "'$HOME'");
    EXPECT_EQ(shell_quote(""), "''");
}

TEST(Messages, count_text_knows_one) {
    EXPECT_EQ(count_text(0, "zone"), "0 zones");
    EXPECT_EQ(count_text(1, "zone"), "1 zone");
    EXPECT_EQ(count_text(2, "zone"), "2 zones");
}

TEST(Messages, describe_disk_tells_zones_or_that_there_are_none) {
    const ZoneGeometry zones{.model = ZoneModel::host_managed,
                             .device_size = 10 * kMiB,
                             .zone_size = 4 * kMiB,
                             .zone_capacity = 3 * kMiB,
                             .conventional_zones = 1};
    EXPECT_EQ(describe_disk(zones, 10 * kMiB),
              "10 MiB, 3 zones of 4 MiB (1 conventional, capacity 3 MiB), host-managed");
    EXPECT_EQ(describe_disk({}, kGiB), "1 GiB, not zoned");
}

}  // namespace
}  // namespace zbdkit::app
