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

struct Pool {
    std::array<FreeFrame*, kClasses> lists{};

    Pool() = default;
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;
    ~Pool() {
        for (FreeFrame*& list : lists) {
            while (list != nullptr) {
                FreeFrame* frame = list;
                list = frame->next;
                ::operator delete(frame);
            }
        }
    }
};

thread_local Pool pool;

std::size_t class_of(std::size_t size) { return (size - 1) / kGranule; }

}  // namespace

void* allocate_frame(std::size_t size) {
    if (!kPooled || size > kLargest) return ::operator new(size);
    FreeFrame*& list = pool.lists.at(class_of(size));
    if (list == nullptr) return ::operator new((class_of(size) + 1) * kGranule);
    FreeFrame* frame = list;
    list = frame->next;
    return frame;
}

void free_frame(void* frame, std::size_t size) noexcept {
    if (!kPooled || size > kLargest) {
        ::operator delete(frame);
        return;
    }
    FreeFrame*& list = pool.lists.at(class_of(size));
    list = new (frame) FreeFrame{list};
}

}  // namespace zbdkit
