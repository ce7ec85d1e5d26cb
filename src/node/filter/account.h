// SPDX-License-Identifier: Apache-2.0
// Filter "account": counts what passes, by operation: requests, failures, bytes, and a histogram of
// latencies by the reactor's clock. Kept in memory for others to read; at close it goes to a file
// as JSON, or as one line an operation to the log. Counting allocates nothing. One reactor.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "block/driver.h"
#include "block/op.h"

namespace zbdkit {

/// What was asked of a node, of one operation.
struct OpAccount {
    /// Bucket i holds latencies from 2^i up to 2^(i+1) ns; the first also 0, the last all above.
    static constexpr std::size_t kBuckets = 40;

    std::uint64_t requests = 0;  ///< completed, failed ones included
    std::uint64_t failures = 0;
    std::uint64_t bytes = 0;           ///< of successful data operations
    std::uint64_t latency_sum_ns = 0;  ///< of all requests, failed ones included
    std::uint64_t latency_max_ns = 0;
    std::array<std::uint64_t, kBuckets> latencies{};

    /// @param bytes_done  0 if the request failed or carries no data
    void add(bool succeeded, std::uint64_t bytes_done, std::uint64_t latency_ns);

    /// The least bound, a power of two, below which at least `percent` of the latencies are.
    /// @param percent  0 to 100
    /// @return nanoseconds; 0 if nothing was counted
    [[nodiscard]] std::uint64_t latency_below_ns(unsigned percent) const;
};

/// One account for each operation, by its number.
using Accounts = std::array<OpAccount, kOpCount>;

/// The accounts as a JSON object of all operations: buckets that are empty are left out.
[[nodiscard]] std::string accounts_json(const Accounts& accounts);

/// What the filter counted so far, or null if the node is none. Lives as long as the node.
/// Thread: owner reactor.
[[nodiscard]] const Accounts* accounts_of(const BlockNode& node);

extern const DriverInfo kAccountDriver;

}  // namespace zbdkit
