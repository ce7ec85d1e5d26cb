// SPDX-License-Identifier: Apache-2.0
#include "io/name_lookup.h"

#include <resolv.h>

#include <algorithm>

namespace zbdkit {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
/// How often each name server is asked: a datagram may be lost.
constexpr int kTries = 2;

}  // namespace

void limit_name_lookups(std::uint64_t limit_ns) {
    if ((_res.options & RES_INIT) == 0 && ::res_init() != 0) return;
    const auto servers = static_cast<std::uint64_t>(std::max(_res.nscount, 1));
    const std::uint64_t seconds = limit_ns / kSecond / kTries / servers;
    _res.retry = kTries;
    // Never longer than the host wants to wait.
    _res.retrans = static_cast<int>(std::clamp<std::uint64_t>(
        seconds, 1, static_cast<std::uint64_t>(std::max(_res.retrans, 1))));
}

}  // namespace zbdkit
