// SPDX-License-Identifier: Apache-2.0
#include "virtio/guest_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <vector>

namespace zbdkit {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kMax = 0xffff'ffff'ffff'ffff;

UniqueFd make_file(off_t size) {
    UniqueFd fd(memfd_create("guest", MFD_CLOEXEC));
    EXPECT_EQ(ftruncate(fd.get(), size), 0);
    return fd;
}

void write_byte(const UniqueFd& fd, off_t at, char value) {
    EXPECT_EQ(pwrite(fd.get(), &value, 1, at), 1);
}

TEST(MemoryRegion, map_page_aligned_offset_shows_the_file) {
    const UniqueFd fd = make_file(0x4000);
    write_byte(fd, 0x1000, 'x');
    const auto region = MemoryRegion::map({0x100000, 0x900000, 0x2000, 0x1000}, fd.get());
    ASSERT_TRUE(region);
    EXPECT_EQ((*region)->memory()[0], std::byte{'x'});
    EXPECT_EQ((*region)->place().guest_address, 0x100000U);
}

TEST(MemoryRegion, map_odd_offset_shows_the_file_from_there) {
    const UniqueFd fd = make_file(0x4000);
    write_byte(fd, 0x1234, 'x');
    write_byte(fd, 0x2233, 'y');
    const auto region = MemoryRegion::map({0x100000, 0x900000, 0x1000, 0x1234}, fd.get());
    ASSERT_TRUE(region);
    EXPECT_EQ((*region)->memory()[0], std::byte{'x'});
    EXPECT_EQ((*region)->memory()[0xfff], std::byte{'y'});
}

TEST(MemoryRegion, map_writes_reach_the_file) {
    const UniqueFd fd = make_file(0x2000);
    const auto region = MemoryRegion::map({0, 0, 0x2000, 0}, fd.get());
    ASSERT_TRUE(region);
    (*region)->memory()[0x1fff] = std::byte{'z'};
    char read = 0;
    EXPECT_EQ(pread(fd.get(), &read, 1, 0x1fff), 1);
    EXPECT_EQ(read, 'z');
}

TEST(MemoryRegion, map_descriptor_closed_stays_mapped) {
    UniqueFd fd = make_file(0x1000);
    const auto region = MemoryRegion::map({0, 0, 0x1000, 0}, fd.get());
    fd.reset();
    ASSERT_TRUE(region);
    (*region)->memory()[0] = std::byte{1};
    EXPECT_EQ((*region)->memory()[0], std::byte{1});
}

TEST(MemoryRegion, map_file_too_short_fails_with_the_numbers) {
    const UniqueFd fd = make_file(0x3000);
    const auto region = MemoryRegion::map({0x100000, 0, 0x2000, 0x2000}, fd.get());
    ASSERT_FALSE(region);
    EXPECT_EQ(region.error().message,
              "guest memory region at 0x100000: file is 12288 bytes long, but offset 0x2000 + "
              "size 0x2000 needs 16384");
}

TEST(MemoryRegion, map_empty_fails) {
    const UniqueFd fd = make_file(0x1000);
    const auto region = MemoryRegion::map({0x100000, 0, 0, 0}, fd.get());
    ASSERT_FALSE(region);
    EXPECT_EQ(region.error().message, "guest memory region at 0x100000 is empty");
}

TEST(MemoryRegion, map_guest_address_wraps_fails) {
    const UniqueFd fd = make_file(0x2000);
    const auto region = MemoryRegion::map({kMax - 0xfff, 0, 0x2000, 0}, fd.get());
    ASSERT_FALSE(region);
    EXPECT_THAT(region.error().message, HasSubstr("size 0x2000 wraps"));
}

TEST(MemoryRegion, map_user_address_wraps_fails) {
    const UniqueFd fd = make_file(0x2000);
    const auto region = MemoryRegion::map({0, kMax - 0xfff, 0x2000, 0}, fd.get());
    ASSERT_FALSE(region);
    EXPECT_THAT(region.error().message, HasSubstr("size 0x2000 wraps"));
}

TEST(MemoryRegion, map_file_range_wraps_fails) {
    const UniqueFd fd = make_file(0x2000);
    const auto region = MemoryRegion::map({0, 0, 0x2000, kMax - 0xfff}, fd.get());
    ASSERT_FALSE(region);
    EXPECT_THAT(region.error().message, HasSubstr("is no file range"));
}

TEST(MemoryRegion, map_no_descriptor_fails_with_the_errno) {
    const auto region = MemoryRegion::map({0, 0, 0x2000, 0}, -1);
    ASSERT_FALSE(region);
    EXPECT_THAT(region.error().message, HasSubstr("Bad file descriptor"));
}

TEST(MemoryRegion, map_descriptor_without_memory_fails_with_the_errno) {
    std::array<int, 2> ends = {};
    ASSERT_EQ(pipe(ends.data()), 0);
    const UniqueFd reader(ends[0]);
    const UniqueFd writer(ends[1]);
    const auto region = MemoryRegion::map({0, 0, 0x2000, 0}, reader.get());
    ASSERT_FALSE(region);
    EXPECT_THAT(region.error().message, HasSubstr("mmap"));
}

TEST(MemoryRegion, region_file_truncated_says_so) {
    const UniqueFd fd = make_file(0x2000);
    const auto region = MemoryRegion::map({0x1000, 0, 0x2000, 0}, fd.get());
    ASSERT_TRUE(region);
    const auto memory = *GuestMemory::make({*region});
    EXPECT_FALSE(memory->is_truncated());
    ASSERT_EQ(ftruncate(fd.get(), 0x1000), 0);
    (*region)->memory()[0x1000] = std::byte{1};
    EXPECT_TRUE((*region)->is_truncated());
    EXPECT_TRUE(memory->is_truncated());
}

/// Guest memory without guests:
///   0x1000-0x1fff low, 0x2000-0x27ff middle (adjacent, elsewhere here), gap, 0x4000-0x4fff high
class GuestMemoryTest : public testing::Test {
  protected:
    GuestMemoryTest() {
        const auto region = [](std::uint64_t guest, std::uint64_t user, MutableBytes bytes) {
            return MemoryRegion::borrow({guest, user, bytes.size(), 0}, bytes.data());
        };
        auto memory =
            GuestMemory::make({region(0x4000, 0xb4000, high_), region(0x1000, 0xb1000, low_),
                               region(0x2000, 0xa0000, middle_)});
        EXPECT_TRUE(memory);
        memory_ = *memory;
    }

    std::vector<std::byte> low_ = std::vector<std::byte>(0x1000);
    std::vector<std::byte> middle_ = std::vector<std::byte>(0x800);
    std::vector<std::byte> high_ = std::vector<std::byte>(0x1000);
    std::shared_ptr<const GuestMemory> memory_;
};

TEST_F(GuestMemoryTest, regions_are_sorted_by_guest_address) {
    ASSERT_EQ(memory_->regions().size(), 3U);
    EXPECT_EQ(memory_->regions()[0]->memory(), low_.data());
    EXPECT_EQ(memory_->regions()[1]->memory(), middle_.data());
    EXPECT_EQ(memory_->regions()[2]->memory(), high_.data());
}

TEST_F(GuestMemoryTest, translate_within_a_region_gives_one_segment) {
    IoVector out;
    ASSERT_TRUE(memory_->translate({0x1010, 0x20}, out));
    ASSERT_EQ(out.size(), 1U);
    EXPECT_EQ(out[0].iov_base, low_.data() + 0x10);
    EXPECT_EQ(out[0].iov_len, 0x20U);
}

TEST_F(GuestMemoryTest, translate_whole_region_gives_it) {
    IoVector out;
    ASSERT_TRUE(memory_->translate({0x4000, 0x1000}, out));
    ASSERT_EQ(out.size(), 1U);
    EXPECT_EQ(out[0].iov_base, high_.data());
    EXPECT_EQ(out[0].iov_len, 0x1000U);
}

TEST_F(GuestMemoryTest, translate_across_adjacent_regions_gives_two_segments) {
    IoVector out;
    ASSERT_TRUE(memory_->translate({0x1ff0, 0x30}, out));
    ASSERT_EQ(out.size(), 2U);
    EXPECT_EQ(out[0].iov_base, low_.data() + 0xff0);
    EXPECT_EQ(out[0].iov_len, 0x10U);
    EXPECT_EQ(out[1].iov_base, middle_.data());
    EXPECT_EQ(out[1].iov_len, 0x20U);
}

TEST_F(GuestMemoryTest, translate_appends_to_what_is_there) {
    IoVector out;
    ASSERT_TRUE(memory_->translate({0x1000, 1}, out));
    ASSERT_TRUE(memory_->translate({0x4fff, 1}, out));
    ASSERT_EQ(out.size(), 2U);
    EXPECT_EQ(out[1].iov_base, high_.data() + 0xfff);
}

TEST_F(GuestMemoryTest, translate_into_a_gap_fails_and_leaves_the_list) {
    IoVector out;
    ASSERT_TRUE(memory_->translate({0x1000, 1}, out));
    EXPECT_FALSE(memory_->translate({0x1ff0, 0x811}, out));
    EXPECT_EQ(out.size(), 1U);
}

TEST_F(GuestMemoryTest, translate_outside_fails) {
    IoVector out;
    EXPECT_FALSE(memory_->translate({0xfff, 2}, out));
    EXPECT_FALSE(memory_->translate({0, 1}, out));
    EXPECT_FALSE(memory_->translate({0x2800, 1}, out));
    EXPECT_FALSE(memory_->translate({0x3fff, 2}, out));
    EXPECT_FALSE(memory_->translate({0x4fff, 2}, out));
    EXPECT_FALSE(memory_->translate({0x5000, 1}, out));
    EXPECT_FALSE(memory_->translate({kMax, 1}, out));
    EXPECT_TRUE(out.empty());
}

TEST_F(GuestMemoryTest, translate_range_that_wraps_fails) {
    IoVector out;
    EXPECT_FALSE(memory_->translate({0x1000, kMax}, out));
    EXPECT_FALSE(memory_->translate({0x4800, kMax - 0x4000}, out));
    EXPECT_TRUE(out.empty());
}

TEST_F(GuestMemoryTest, translate_empty_range_fails) {
    IoVector out;
    EXPECT_FALSE(memory_->translate({0x1000, 0}, out));
}

TEST_F(GuestMemoryTest, contiguous_within_a_region_finds_it) {
    EXPECT_EQ(memory_->contiguous({0x2000, 0x800}), middle_.data());
    EXPECT_EQ(memory_->contiguous({0x27ff, 1}), middle_.data() + 0x7ff);
}

TEST_F(GuestMemoryTest, contiguous_across_regions_is_null) {
    EXPECT_EQ(memory_->contiguous({0x1ff0, 0x20}), nullptr);
}

TEST_F(GuestMemoryTest, contiguous_outside_empty_or_wrapping_is_null) {
    EXPECT_EQ(memory_->contiguous({0x3000, 1}), nullptr);
    EXPECT_EQ(memory_->contiguous({0x1000, 0}), nullptr);
    EXPECT_EQ(memory_->contiguous({0x1000, kMax}), nullptr);
}

TEST_F(GuestMemoryTest, contiguous_user_goes_by_the_front_ends_addresses) {
    EXPECT_EQ(memory_->contiguous_user({0xa0000, 0x800}), middle_.data());
    EXPECT_EQ(memory_->contiguous_user({0xb4fff, 1}), high_.data() + 0xfff);
}

TEST_F(GuestMemoryTest, contiguous_user_outside_empty_or_wrapping_is_null) {
    EXPECT_EQ(memory_->contiguous_user({0x1000, 1}), nullptr);
    EXPECT_EQ(memory_->contiguous_user({0xa0000, 0x801}), nullptr);
    EXPECT_EQ(memory_->contiguous_user({0xa0800, 1}), nullptr);
    EXPECT_EQ(memory_->contiguous_user({0xa0000, 0}), nullptr);
    EXPECT_EQ(memory_->contiguous_user({0xb4800, kMax}), nullptr);
}

TEST_F(GuestMemoryTest, guest_address_of_a_user_address_is_found) {
    EXPECT_EQ(memory_->guest_address(0xa0010), 0x2010U);
    EXPECT_EQ(memory_->guest_address(0xb1000), 0x1000U);
    EXPECT_EQ(memory_->guest_address(0xa0800), std::nullopt);
    EXPECT_EQ(memory_->guest_address(0), std::nullopt);
}

TEST(GuestMemory, make_regions_overlap_fails_with_the_numbers) {
    std::vector<std::byte> bytes(0x1000);
    const auto memory =
        GuestMemory::make({MemoryRegion::borrow({0x2000, 0, 0x1000, 0}, bytes.data()),
                           MemoryRegion::borrow({0x2fff, 0, 1, 0}, bytes.data())});
    ASSERT_FALSE(memory);
    EXPECT_EQ(memory.error().message,
              "guest memory regions overlap: 0x2000-0x3000 and 0x2fff-0x3000");
}

TEST(GuestMemory, make_no_regions_translates_nothing) {
    const auto memory = GuestMemory::make({});
    ASSERT_TRUE(memory);
    IoVector out;
    EXPECT_FALSE((*memory)->translate({0, 1}, out));
    EXPECT_EQ((*memory)->contiguous({0, 1}), nullptr);
    EXPECT_FALSE((*memory)->is_truncated());
}

TEST(GuestMemory, translate_region_up_to_the_last_address_works) {
    std::vector<std::byte> bytes(0x1000);
    const auto memory =
        GuestMemory::make({MemoryRegion::borrow({kMax - 0x1000, 0, 0x1000, 0}, bytes.data())});
    ASSERT_TRUE(memory);
    IoVector out;
    EXPECT_TRUE((*memory)->translate({kMax - 1, 1}, out));
    EXPECT_FALSE((*memory)->translate({kMax - 1, 2}, out));
    EXPECT_FALSE((*memory)->translate({kMax, 1}, out));
}

class DirtyLogTest : public testing::Test {
  protected:
    std::array<std::byte, 3> bits_ = {};  // 24 pages
    std::shared_ptr<DirtyLog> log_ = DirtyLog::borrow(bits_);
};

TEST_F(DirtyLogTest, mark_within_a_page_sets_its_bit) {
    log_->mark({0x9fff, 1});
    EXPECT_EQ(bits_, (std::array{std::byte{0}, std::byte{0x02}, std::byte{0}}));
}

TEST_F(DirtyLogTest, mark_across_pages_sets_all_their_bits) {
    log_->mark({0x6fff, 0x2002});
    EXPECT_EQ(bits_, (std::array{std::byte{0xc0}, std::byte{0x03}, std::byte{0}}));
}

TEST_F(DirtyLogTest, mark_keeps_bits_that_are_set) {
    log_->mark({0x0, 1});
    log_->mark({0x2000, 1});
    EXPECT_EQ(bits_[0], std::byte{0x05});
}

TEST_F(DirtyLogTest, mark_beyond_the_log_is_ignored) {
    log_->mark({0x17fff, 0x10000});
    log_->mark({0x18000, 1});
    log_->mark({kMax, 1});
    EXPECT_EQ(bits_, (std::array{std::byte{0}, std::byte{0}, std::byte{0x80}}));
}

TEST_F(DirtyLogTest, mark_range_that_wraps_stops_at_the_end) {
    log_->mark({0x17000, kMax});
    EXPECT_EQ(bits_, (std::array{std::byte{0}, std::byte{0}, std::byte{0x80}}));
}

TEST_F(DirtyLogTest, mark_empty_range_sets_nothing) {
    log_->mark({0x1000, 0});
    EXPECT_EQ(bits_, (std::array{std::byte{0}, std::byte{0}, std::byte{0}}));
}

TEST(DirtyLog, map_marks_reach_the_file) {
    const UniqueFd fd = make_file(0x2000);
    const auto log = DirtyLog::map(fd.get(), {0x1000, 0x10});
    ASSERT_TRUE(log);
    (*log)->mark({0x3000, 1});
    char read = 0;
    EXPECT_EQ(pread(fd.get(), &read, 1, 0x1000), 1);
    EXPECT_EQ(read, 0x08);
}

TEST(DirtyLog, map_longer_than_its_file_fails_with_the_numbers) {
    const UniqueFd fd = make_file(0x1000);
    const auto log = DirtyLog::map(fd.get(), {0, 0x1001});
    ASSERT_FALSE(log);
    EXPECT_EQ(log.error().message,
              "dirty log: file is 4096 bytes long, but offset 0x0 + size 0x1001 needs 4097");
}

TEST(DirtyLog, map_range_empty_or_wrapping_fails) {
    const UniqueFd fd = make_file(0x1000);
    EXPECT_FALSE(DirtyLog::map(fd.get(), {0, 0}));
    EXPECT_FALSE(DirtyLog::map(fd.get(), {kMax, 2}));
}

}  // namespace
}  // namespace zbdkit
