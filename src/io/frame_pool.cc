// SPDX-License-Identifier: Apache-2.0
#include "io/frame_pool.h"

#include <array>
#include <new>

namespace zbdkit {
namespace {

constexpr std::size_t kGranule = 64;
constexpr std::size_t kLargest = 4096;
constexpr std::size_t kClasses = kLargest / kGranule;

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ZBDKIT_ADDRESS_SANITIZER
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define ZBDKIT_ADDRESS_SANITIZER
#endif

#ifdef ZBDKIT_ADDRESS_SANITIZER
// Under ASan each frame is its own allocation, so that use after free is seen.
constexpr bool kPooled = false;
#else
constexpr bool kPooled = true;
#endif

struct FreeFrame {
    FreeFrame* next;
};

// Without a destructor, which every access would have to check for.
constinit thread_local std::array<FreeFrame*, kClasses> free_frames{};

/// Gives the frames back when the thread ends.
struct Drain {
    Drain() = default;
    Drain(const Drain&) = delete;
    Drain& operator=(const Drain&) = delete;
    ~Drain() {
        for (FreeFrame*& list : free_frames) {
            while (list != nullptr) {
                FreeFrame* frame = list;
                list = frame->next;
                ::operator delete(frame);
            }
        }
    }
};

void* new_frame(std::size_t size) {
    thread_local const Drain drain;
    static_cast<void>(drain);
    return ::operator new(size);
}

std::size_t class_of(std::size_t size) { return (size - 1) / kGranule; }

}  // namespace

void* allocate_frame(std::size_t size) {
    if (!kPooled || size > kLargest) return ::operator new(size);
    FreeFrame*& list = free_frames[class_of(size)];
    if (list == nullptr) return new_frame((class_of(size) + 1) * kGranule);
    FreeFrame* frame = list;
    list = frame->next;
    return frame;
}

void free_frame(void* frame, std::size_t size) noexcept {
    if (!kPooled || size > kLargest) {
        ::operator delete(frame);
        return;
    }
    FreeFrame*& list = free_frames[class_of(size)];
    list = new (frame) FreeFrame{list};
}

}  // namespace zbdkit
