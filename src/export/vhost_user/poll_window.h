// SPDX-License-Identifier: Apache-2.0
// How long a ring that has nothing to do is looked at again and again before its worker sleeps. A
// look is much cheaper than a wake-up, so where requests follow each other closely this pays; where
// they do not, the window closes by itself. Pure.
//
// The window starts at its bound. A pause that a longer window, within the bound, would have
// covered opens it to twice that pause; a pause beyond the bound halves it, and once it is smaller
// than kSmallestNs it is closed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace zbdkit::vhost_user {

class PollWindow {
  public:
    static constexpr std::uint64_t kSmallestNs = 1'000;

    /// @param bound_ns  the longest window; 0: never look again
    explicit PollWindow(std::uint64_t bound_ns) : bound_ns_(bound_ns), window_ns_(bound_ns) {}

    /// Whether there is anything to measure: without a bound nobody need look at the clock.
    [[nodiscard]] bool is_off() const { return bound_ns_ == 0; }
    /// There was nothing to do. @return whether to look again instead of sleeping
    [[nodiscard]] bool nothing_found(std::uint64_t now_ns);
    /// There was something to do.
    void something_found(std::uint64_t now_ns);

    [[nodiscard]] std::uint64_t window_ns() const { return window_ns_; }

  private:
    std::uint64_t bound_ns_;
    std::uint64_t window_ns_;
    std::optional<std::uint64_t> idle_since_ns_;
};

/// A ring waits for two things, and each pause has a window of its own: after requests that went to
/// storage for their answers, and after answers for the driver's next requests. So slow storage
/// does not close the window in which a driver goes on, nor the other way round. With many requests
/// in flight nobody waits for one of them, and a sleep gathers answers and then requests: there is
/// no look.
class RingPolling {
  public:
    /// With so many requests in flight or just answered there is a look, and with no more.
    static constexpr std::size_t kFewRequests = 4;

    explicit RingPolling(std::uint64_t bound_ns)
        : after_requests_(bound_ns), after_answers_(bound_ns) {}

    [[nodiscard]] bool is_off() const { return after_answers_.is_off(); }
    /// Requests were taken.
    /// @param in_flight  how many of the ring are with the storage now
    void requests_taken(std::uint64_t now_ns, std::size_t in_flight);
    /// The driver is shown answers now.
    /// @param count      how many
    /// @param in_flight  how many of the ring are still with the storage
    /// @return whether its next requests should be looked for
    [[nodiscard]] bool answered(std::uint64_t now_ns, std::size_t count, std::size_t in_flight);
    /// There was nothing to do. @return whether to look again instead of sleeping
    [[nodiscard]] bool nothing_found(std::uint64_t now_ns);

  private:
    PollWindow after_requests_;
    PollWindow after_answers_;
    bool waits_for_requests_ = true;  // and else for answers
    bool has_many_ = false;
};

}  // namespace zbdkit::vhost_user
