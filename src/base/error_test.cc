// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace zbdkit {
namespace {

struct ErrnoCase {
    int os_errno;
    Errc code;
};

class ErrorFromErrno : public testing::TestWithParam<ErrnoCase> {};

TEST_P(ErrorFromErrno, errno_becomes_what_the_caller_can_do) {
    const Error error = error_from_errno(GetParam().os_errno, "write failed");
    EXPECT_EQ(error.code, GetParam().code);
    EXPECT_EQ(error.os_errno, GetParam().os_errno);
    EXPECT_STREQ(error.text, "write failed");
}

INSTANTIATE_TEST_SUITE_P(
    Errnos, ErrorFromErrno,
    testing::Values(ErrnoCase{EIO, Errc::io}, ErrnoCase{EBADF, Errc::io},
                    ErrnoCase{ENOSPC, Errc::no_space}, ErrnoCase{EDQUOT, Errc::no_space},
                    ErrnoCase{EROFS, Errc::read_only}, ErrnoCase{EPERM, Errc::read_only},
                    ErrnoCase{EOPNOTSUPP, Errc::not_supported},
                    ErrnoCase{ENOTTY, Errc::not_supported}, ErrnoCase{ENOSYS, Errc::not_supported},
                    ErrnoCase{ETOOMANYREFS, Errc::zone_open_limit},
                    ErrnoCase{EOVERFLOW, Errc::zone_active_limit}));

class ErrnoOf : public testing::TestWithParam<ErrnoCase> {};

TEST_P(ErrnoOf, code_becomes_what_the_host_would_say) {
    EXPECT_EQ(errno_of({GetParam().code, 0, ""}), GetParam().os_errno);
}

INSTANTIATE_TEST_SUITE_P(
    Codes, ErrnoOf,
    testing::Values(ErrnoCase{EIO, Errc::io}, ErrnoCase{ENOSPC, Errc::no_space},
                    ErrnoCase{EPERM, Errc::read_only}, ErrnoCase{EIO, Errc::out_of_range},
                    ErrnoCase{EINVAL, Errc::misaligned}, ErrnoCase{EOPNOTSUPP, Errc::not_supported},
                    ErrnoCase{EIO, Errc::zone_invalid}, ErrnoCase{EIO, Errc::zone_unaligned_wp},
                    ErrnoCase{ETOOMANYREFS, Errc::zone_open_limit},
                    ErrnoCase{EOVERFLOW, Errc::zone_active_limit}, ErrnoCase{EIO, Errc::corrupt},
                    ErrnoCase{EIO, Errc::shutting_down}));

TEST(ErrnoOfError, errno_of_the_host_call_comes_first) {
    EXPECT_EQ(errno_of({Errc::io, ENODEV, "read failed"}), ENODEV);
}

TEST(IsStorageFailure, storage_is_to_blame_for_what_it_lost_or_lacks) {
    EXPECT_TRUE(is_storage_failure(Errc::io));
    EXPECT_TRUE(is_storage_failure(Errc::no_space));
    EXPECT_TRUE(is_storage_failure(Errc::corrupt));
}

TEST(IsStorageFailure, whoever_asked_is_to_blame_for_the_rest) {
    EXPECT_FALSE(is_storage_failure(Errc::read_only));
    EXPECT_FALSE(is_storage_failure(Errc::out_of_range));
    EXPECT_FALSE(is_storage_failure(Errc::misaligned));
    EXPECT_FALSE(is_storage_failure(Errc::not_supported));
    EXPECT_FALSE(is_storage_failure(Errc::zone_invalid));
    EXPECT_FALSE(is_storage_failure(Errc::zone_unaligned_wp));
    EXPECT_FALSE(is_storage_failure(Errc::zone_open_limit));
    EXPECT_FALSE(is_storage_failure(Errc::zone_active_limit));
    EXPECT_FALSE(is_storage_failure(Errc::shutting_down));
}

struct NameCase {
    Errc code;
    const char* name;
};

class ErrcName : public testing::TestWithParam<NameCase> {};

TEST_P(ErrcName, name_is_stable) { EXPECT_STREQ(errc_name(GetParam().code), GetParam().name); }

INSTANTIATE_TEST_SUITE_P(Codes, ErrcName,
                         testing::Values(NameCase{Errc::io, "io"},
                                         NameCase{Errc::no_space, "no_space"},
                                         NameCase{Errc::read_only, "read_only"},
                                         NameCase{Errc::out_of_range, "out_of_range"},
                                         NameCase{Errc::misaligned, "misaligned"},
                                         NameCase{Errc::not_supported, "not_supported"},
                                         NameCase{Errc::zone_invalid, "zone_invalid"},
                                         NameCase{Errc::zone_unaligned_wp, "zone_unaligned_wp"},
                                         NameCase{Errc::zone_open_limit, "zone_open_limit"},
                                         NameCase{Errc::zone_active_limit, "zone_active_limit"},
                                         NameCase{Errc::corrupt, "corrupt"},
                                         NameCase{Errc::shutting_down, "shutting_down"}));

TEST(Fail, error_carries_code_text_and_errno) {
    const Result<int> result = fail(Errc::no_space, "image is full", ENOSPC);
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code, Errc::no_space);
    EXPECT_EQ(result.error().os_errno, ENOSPC);
    EXPECT_STREQ(result.error().text, "image is full");
}

TEST(Describe, text_is_enough) {
    EXPECT_EQ(describe({Errc::zone_invalid, 0, "zone is full"}), "zone is full");
}

TEST(Describe, errno_is_explained) {
    EXPECT_EQ(describe({Errc::io, EIO, "read failed"}), "read failed: Input/output error");
    EXPECT_EQ(describe({Errc::io, EIO, ""}), "Input/output error");
}

TEST(Describe, code_stands_in_for_a_missing_text) {
    EXPECT_EQ(describe({Errc::corrupt, 0, ""}), "corrupt");
}

TEST(Failure, error_becomes_a_message_with_its_place) {
    const Outcome<int> outcome = failure("disk.zbd", Error{Errc::no_space, ENOSPC, "write failed"});
    ASSERT_FALSE(outcome.has_value());
    EXPECT_EQ(outcome.error().message, "disk.zbd: write failed: No space left on device");
    EXPECT_EQ(outcome.error().code, Errc::no_space);
}

}  // namespace
}  // namespace zbdkit
