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

}  // namespace zbdkit::vhost_user
