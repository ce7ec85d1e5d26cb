// SPDX-License-Identifier: Apache-2.0
#include "virtio/sigbus_guard.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <mutex>
#include <utility>

namespace zbdkit {
namespace {

/// One watched mapping, read by the signal handler. `length` 0: not in use, or not ready.
struct Slot {
    std::atomic<bool> taken = false;
    std::atomic<std::uintptr_t> begin = 0;
    std::atomic<std::size_t> length = 0;
    std::atomic<std::size_t> page_size = 0;
    std::atomic<bool> tripped = false;
};
static_assert(std::atomic<std::uintptr_t>::is_always_lock_free);

constinit std::array<Slot, SigbusGuard::kMaxWatched> slots;
constinit std::atomic<bool> any_slot_tripped = false;
struct sigaction previous_handler;  // written once, before our handler can run

/// Puts zeroes where the page was. Only calls that may be made in a signal handler.
bool replace_page(Slot& slot, std::uintptr_t fault) {
    const std::size_t length = slot.length.load(std::memory_order_acquire);
    const std::uintptr_t begin = slot.begin.load(std::memory_order_relaxed);
    if (fault < begin || fault - begin >= length) return false;
    const std::size_t page_size = slot.page_size.load(std::memory_order_relaxed);
    void* const page = std::bit_cast<void*>(fault & ~(page_size - 1));
    void* const mapped = mmap(page, page_size, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) return false;
    slot.tripped.store(true, std::memory_order_relaxed);
    any_slot_tripped.store(true, std::memory_order_relaxed);
    return true;
}

void on_sigbus(int, siginfo_t* info, void*) {
    const int saved_errno = errno;
    bool handled = false;
    if (info->si_code == BUS_ADRERR) {
        const auto fault = std::bit_cast<std::uintptr_t>(info->si_addr);
        for (Slot& slot : slots) {
            handled = replace_page(slot, fault);
            if (handled) break;
        }
    }
    if (!handled) {
        // Not ours. The access is repeated on return and then meets the handler that was there
        // before us; a signal that somebody sent is not repeated by itself.
        sigaction(SIGBUS, &previous_handler, nullptr);
        if (info->si_code <= 0) raise(SIGBUS);
    }
    errno = saved_errno;
}

/// @return 0, or the errno of sigaction
int install_handler_once() {
    static std::once_flag once;
    static int result = 0;
    std::call_once(once, [] {
        struct sigaction action = {};
        action.sa_sigaction = on_sigbus;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigemptyset(&action.sa_mask);
        if (sigaction(SIGBUS, nullptr, &previous_handler) != 0 ||
            sigaction(SIGBUS, &action, nullptr) != 0) {
            result = errno;
        }
    });
    return result;
}

}  // namespace

Outcome<SigbusGuard> SigbusGuard::watch(MutableBytes mapping, std::size_t page_size) {
    if (const int error = install_handler_once(); error != 0) {
        return failure("cannot install a SIGBUS handler", error_from_errno(error, "sigaction"));
    }
    for (std::size_t i = 0; i < kMaxWatched; ++i) {
        Slot& slot = slots[i];
        if (slot.taken.exchange(true, std::memory_order_acquire)) continue;
        slot.tripped.store(false, std::memory_order_relaxed);
        slot.begin.store(std::bit_cast<std::uintptr_t>(mapping.data()), std::memory_order_relaxed);
        slot.page_size.store(page_size, std::memory_order_relaxed);
        slot.length.store(mapping.size(), std::memory_order_release);
        SigbusGuard guard;
        guard.slot_ = i;
        return guard;
    }
    return failure(fmt::format("cannot map shared memory: {} mappings exist already", kMaxWatched),
                   Errc::no_space);
}

SigbusGuard::SigbusGuard(SigbusGuard&& other) noexcept : slot_(std::exchange(other.slot_, kNone)) {}

SigbusGuard& SigbusGuard::operator=(SigbusGuard&& other) noexcept {
    std::swap(slot_, other.slot_);
    return *this;
}

SigbusGuard::~SigbusGuard() {
    if (slot_ == kNone) return;
    slots[slot_].length.store(0, std::memory_order_relaxed);
    slots[slot_].taken.store(false, std::memory_order_release);
}

bool SigbusGuard::tripped() const {
    return slot_ != kNone && slots[slot_].tripped.load(std::memory_order_relaxed);
}

bool SigbusGuard::any_tripped() { return any_slot_tripped.load(std::memory_order_relaxed); }

}  // namespace zbdkit
