// SPDX-License-Identifier: Apache-2.0
// `zbdkit bench`: loads a vhost-user-blk server, ours or another, and says how it bears that. What
// it does is in bench/bench.h; here are its command line and its output.
#pragma once

#include <cstdint>
#include <string>

namespace zbdkit::app {

/// As on the command line; "" is the default.
struct BenchArguments {
    std::string socket_path;
    std::string operation = "randread";
    std::string block_size = "4K";
    std::uint32_t depth = 32;
    std::uint32_t queue_count = 1;
    std::uint32_t queue_size = 0;  ///< 0: as many as the depth needs
    bool packed = false;
    std::string zones;
    std::string zone_first;
    std::string range;
    std::uint32_t read_percent = 70;
    std::string seconds = "5";
    std::string warm_up = "0.5";
    std::string timeout = "10";
    std::string wait = "poll";
    bool verify = false;
    std::uint64_t seed = 1;
    bool json = false;
};

/// @return the exit status
[[nodiscard]] int run_bench(const BenchArguments& arguments);

}  // namespace zbdkit::app
