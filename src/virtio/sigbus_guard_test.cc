// SPDX-License-Identifier: Apache-2.0
#include "virtio/sigbus_guard.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <utility>

#include "base/unique_fd.h"

namespace zbdkit {
namespace {

constexpr std::size_t kPage = 4096;

/// Four pages of a memfd, mapped.
class SigbusGuardTest : public testing::Test {
  protected:
    SigbusGuardTest() : fd_(memfd_create("guarded", MFD_CLOEXEC)) {
        EXPECT_EQ(ftruncate(fd_.get(), 4 * kPage), 0);
        void* const memory =
            mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
        EXPECT_NE(memory, MAP_FAILED);
        bytes_ = MutableBytes(byte_pointer(memory), 4 * kPage);
        bytes_[0] = std::byte{11};
        bytes_[3 * kPage] = std::byte{44};
    }
    ~SigbusGuardTest() override { munmap(bytes_.data(), bytes_.size()); }

    void truncate(off_t length) { EXPECT_EQ(ftruncate(fd_.get(), length), 0); }

    UniqueFd fd_;
    MutableBytes bytes_;
};

using SigbusGuardDeathTest = SigbusGuardTest;

std::byte read_at(MutableBytes bytes, std::size_t at) {
    const volatile std::byte& byte = bytes[at];  // volatile: the access must happen
    return byte;
}

void write_at(MutableBytes bytes, std::size_t at, std::byte value) {
    volatile std::byte& byte = bytes[at];
    byte = value;
}

TEST_F(SigbusGuardTest, guard_file_intact_is_not_tripped) {
    const Outcome<SigbusGuard> guard = SigbusGuard::watch(bytes_, kPage);
    ASSERT_TRUE(guard);
    EXPECT_EQ(read_at(bytes_, 0), std::byte{11});
    EXPECT_FALSE(guard->tripped());
}

TEST_F(SigbusGuardTest, guard_truncated_file_reads_zeroes_and_trips) {
    const Outcome<SigbusGuard> guard = SigbusGuard::watch(bytes_, kPage);
    ASSERT_TRUE(guard);
    truncate(kPage);
    EXPECT_EQ(read_at(bytes_, 3 * kPage), std::byte{0});
    EXPECT_TRUE(guard->tripped());
    EXPECT_TRUE(SigbusGuard::any_tripped());
}

TEST_F(SigbusGuardTest, guard_truncated_file_keeps_the_pages_that_are_left) {
    const Outcome<SigbusGuard> guard = SigbusGuard::watch(bytes_, kPage);
    ASSERT_TRUE(guard);
    truncate(kPage);
    write_at(bytes_, 2 * kPage, std::byte{1});
    EXPECT_EQ(read_at(bytes_, 0), std::byte{11});
}

TEST_F(SigbusGuardTest, guard_of_another_mapping_is_not_tripped) {
    void* const memory =
        mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    const auto other = SigbusGuard::watch(MutableBytes(byte_pointer(memory), kPage), kPage);
    const auto guard = SigbusGuard::watch(bytes_, kPage);
    ASSERT_TRUE(other && guard);
    truncate(0);
    write_at(bytes_, 0, std::byte{1});
    EXPECT_TRUE(guard->tripped());
    EXPECT_FALSE(other->tripped());
    munmap(memory, kPage);
}

TEST_F(SigbusGuardTest, guard_moved_still_watches) {
    Outcome<SigbusGuard> first = SigbusGuard::watch(bytes_, kPage);
    ASSERT_TRUE(first);
    SigbusGuard second = std::move(*first);
    SigbusGuard third;
    third = std::move(second);
    truncate(0);
    write_at(bytes_, 0, std::byte{1});
    EXPECT_TRUE(third.tripped());
}

TEST_F(SigbusGuardTest, watch_slot_used_again_starts_untripped) {
    {
        const Outcome<SigbusGuard> guard = SigbusGuard::watch(bytes_, kPage);
        ASSERT_TRUE(guard);
        truncate(0);
        write_at(bytes_, 0, std::byte{1});
        ASSERT_TRUE(guard->tripped());
    }
    const Outcome<SigbusGuard> again = SigbusGuard::watch(bytes_, kPage);
    ASSERT_TRUE(again);
    EXPECT_FALSE(again->tripped());
}

TEST_F(SigbusGuardDeathTest, unwatched_mapping_truncated_still_kills) {
    {
        const Outcome<SigbusGuard> installs_the_handler = SigbusGuard::watch(bytes_, kPage);
    }
    truncate(0);
    EXPECT_DEATH(write_at(bytes_, 0, std::byte{1}), "");
}

TEST_F(SigbusGuardDeathTest, signal_that_was_sent_still_kills) {
    const Outcome<SigbusGuard> guard = SigbusGuard::watch(bytes_, kPage);
    ASSERT_TRUE(guard);
    EXPECT_DEATH(kill(getpid(), SIGBUS), "");
}

}  // namespace
}  // namespace zbdkit
