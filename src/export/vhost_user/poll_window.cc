// SPDX-License-Identifier: Apache-2.0
#include "export/vhost_user/poll_window.h"

#include <algorithm>
#include <utility>

namespace zbdkit::vhost_user {

bool PollWindow::nothing_found(std::uint64_t now_ns) {
    if (!idle_since_ns_) idle_since_ns_ = now_ns;
    return now_ns - *idle_since_ns_ < window_ns_;
}

void PollWindow::something_found(std::uint64_t now_ns) {
    if (!idle_since_ns_) return;
    const std::uint64_t pause_ns = now_ns - *std::exchange(idle_since_ns_, std::nullopt);
    if (pause_ns < window_ns_) return;
    if (pause_ns < bound_ns_) {
        window_ns_ = std::min(bound_ns_, std::max(2 * pause_ns, kSmallestNs));
    } else {
        window_ns_ = window_ns_ / 2 < kSmallestNs ? 0 : window_ns_ / 2;
    }
}

void RingPolling::requests_taken(std::uint64_t now_ns, std::size_t in_flight) {
    // If answers are waited for, more requests are no end of that.
    if (waits_for_requests_) after_answers_.something_found(now_ns);
    waits_for_requests_ = in_flight == 0;
    has_many_ = in_flight > kFewRequests;
}

bool RingPolling::answered(std::uint64_t now_ns, std::size_t count, std::size_t in_flight) {
    if (!waits_for_requests_) after_requests_.something_found(now_ns);
    waits_for_requests_ = true;
    has_many_ = count + in_flight > kFewRequests;
    return after_answers_.nothing_found(now_ns) && !has_many_;
}

bool RingPolling::nothing_found(std::uint64_t now_ns) {
    if (has_many_) return false;
    return (waits_for_requests_ ? after_answers_ : after_requests_).nothing_found(now_ns);
}

}  // namespace zbdkit::vhost_user
