// SPDX-License-Identifier: Apache-2.0
#include "base/unique_fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <utility>

namespace zbdkit {
namespace {

int new_descriptor() { return ::eventfd(0, EFD_CLOEXEC); }
bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(UniqueFd, descriptor_is_closed_at_the_end) {
    const int fd = new_descriptor();
    {
        const UniqueFd owner(fd);
    }
    EXPECT_FALSE(is_open(fd));
}

TEST(UniqueFd, moved_from_owner_has_none) {
    const int fd = new_descriptor();
    UniqueFd first(fd);
    const UniqueFd second(std::move(first));
    EXPECT_FALSE(first);  // NOLINT: what is left is the point
    EXPECT_EQ(second.get(), fd);
    EXPECT_TRUE(is_open(fd));
}

TEST(UniqueFd, assigned_over_closes_the_old_one) {
    const int old_fd = new_descriptor();
    const int new_fd = new_descriptor();
    UniqueFd owner(old_fd);
    owner = UniqueFd(new_fd);
    EXPECT_FALSE(is_open(old_fd));
    EXPECT_EQ(owner.get(), new_fd);
}

TEST(UniqueFd, released_descriptor_stays_open) {
    const int fd = new_descriptor();
    UniqueFd owner(fd);
    EXPECT_EQ(owner.release(), fd);
    EXPECT_FALSE(owner);
    EXPECT_TRUE(is_open(fd));
    ::close(fd);
}

}  // namespace
}  // namespace zbdkit
