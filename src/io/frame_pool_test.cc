// SPDX-License-Identifier: Apache-2.0
#include "io/frame_pool.h"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <set>

namespace zbdkit {
namespace {

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ZBDKIT_FRAMES_ARE_NOT_POOLED
#endif
#endif

constexpr std::array<std::size_t, 8> kSizes = {1, 63, 64, 65, 128, 4095, 4096, 4097};

TEST(FramePool, frames_of_any_size_are_writable_and_apart) {
    std::set<void*> frames;
    std::array<void*, kSizes.size()> of_size{};
    for (std::size_t i = 0; i < kSizes.size(); ++i) {
        of_size.at(i) = allocate_frame(kSizes.at(i));
        std::memset(of_size.at(i), 0xa5, kSizes.at(i));
        frames.insert(of_size.at(i));
    }
    EXPECT_EQ(frames.size(), kSizes.size());
    for (std::size_t i = 0; i < kSizes.size(); ++i) free_frame(of_size.at(i), kSizes.at(i));
}

TEST(FramePool, frame_is_aligned_for_any_object) {
    void* frame = allocate_frame(100);
    std::size_t space = 100;
    void* aligned = frame;
    EXPECT_EQ(std::align(alignof(std::max_align_t), 1, aligned, space), frame);
    free_frame(frame, 100);
}

TEST(FramePool, freed_frame_is_used_again_for_its_size_class) {
#ifdef ZBDKIT_FRAMES_ARE_NOT_POOLED
    GTEST_SKIP() << "under ASan each frame is an allocation of its own";
#else
    void* first = allocate_frame(100);
    free_frame(first, 100);
    void* second = allocate_frame(128);
    EXPECT_EQ(second, first);
    free_frame(second, 128);
#endif
}

}  // namespace
}  // namespace zbdkit
