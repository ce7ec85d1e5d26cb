// SPDX-License-Identifier: Apache-2.0
#include "bench/verifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace zbdkit::bench {
namespace {

using testing::HasSubstr;

class VerifierTest : public testing::Test {
  protected:
    /// Writes a block. @return its data
    std::vector<std::byte> write(BlkRequestType type, std::uint64_t offset, std::uint64_t placed) {
        std::vector<std::byte> data(512);
        Target target{.type = type, .offset = offset};
        verifier.stamp(target, data);
        problem = verifier.wrote(target, placed);
        return data;
    }
    std::vector<std::byte> write(std::uint64_t offset) {
        return write(BlkRequestType::out, offset, offset);
    }

    Verifier verifier{{4096, 8192}, 512, 1};
    std::optional<std::string> problem;
};

TEST_F(VerifierTest, a_block_of_no_write_is_not_checked) {
    EXPECT_EQ(verifier.check(4096, std::vector<std::byte>(512)), std::nullopt);
    EXPECT_EQ(verifier.checked(), 0U);
}

TEST_F(VerifierTest, the_last_write_counts) {
    const auto old = write(4608);
    const auto latest = write(4608);
    EXPECT_EQ(verifier.check(4608, latest), std::nullopt);
    EXPECT_THAT(verifier.check(4608, old).value_or(""), HasSubstr("expected write 2"));
    EXPECT_EQ(verifier.checked(), 2U);
}

TEST_F(VerifierTest, an_append_is_known_by_where_it_went) {
    const auto data = write(BlkRequestType::zone_append, 4096, 5120);
    EXPECT_EQ(problem, std::nullopt);
    EXPECT_TRUE(verifier.is_known(5120));
    EXPECT_FALSE(verifier.is_known(4096));
    EXPECT_EQ(verifier.check(5120, data), std::nullopt);
}

TEST_F(VerifierTest, two_appends_at_one_place_are_wrong) {
    write(BlkRequestType::zone_append, 4096, 5120);
    write(BlkRequestType::zone_append, 4096, 5120);
    EXPECT_EQ(problem, "append 2 was put to byte 5120, where append 1 is");
}

TEST_F(VerifierTest, a_reset_forgets_its_zone_only) {
    write(4096);
    write(8192);
    verifier.forget({4096, 4096});
    EXPECT_FALSE(verifier.is_known(4096));
    EXPECT_TRUE(verifier.is_known(8192));
}

TEST_F(VerifierTest, a_block_has_readers_or_one_writer) {
    EXPECT_TRUE(verifier.lock(4096, false));
    EXPECT_TRUE(verifier.lock(4096, false));
    EXPECT_FALSE(verifier.lock(4096, true));
    verifier.unlock(4096);
    verifier.unlock(4096);
    EXPECT_TRUE(verifier.lock(4096, true));
    EXPECT_FALSE(verifier.lock(4096, false));
    EXPECT_TRUE(verifier.lock(4608, false));
}

}  // namespace
}  // namespace zbdkit::bench
