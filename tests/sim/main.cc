// SPDX-License-Identifier: Apache-2.0
// zbdkit-sim: runs simulated disks until a violation of the crash contract is found or the time is
// up. docs/testing.md says what it proves.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <string>

#include "base/log.h"
#include "tests/sim/simulation.h"
#include "tests/support/seed.h"

namespace {

using Clock = std::chrono::steady_clock;

struct Arguments {
    std::uint64_t seed = zbdkit::test::seed();
    std::uint64_t runs = 1;
    double minutes = 0;
    std::string canary = "none";
};

void print(const zbdkit::sim::Tally& tally, std::uint64_t runs, std::uint64_t first_seed) {
    fmt::print(
        "seeds {} to {}: {} disks, {} lives, {} power losses, {} daemon deaths, {} clean stops, "
        "{} requests, {} disk operations, {} faults, {} units compared, no violation\n",
        first_seed, first_seed + runs - 1, runs, tally.lives, tally.power_losses,
        tally.daemon_deaths, tally.clean_stops, tally.requests, tally.disk_events, tally.faults,
        tally.units);
}

}  // namespace

int main(int argc, char** argv) {
    Arguments arguments;
    CLI::App app("Simulates zoned disks with crashes and faults, and checks the crash contract");
    app.add_option("--seed", arguments.seed, "of the first disk; the next ones count up");
    app.add_option("--runs", arguments.runs, "how many disks (default 1)");
    app.add_option("--minutes", arguments.minutes, "as many disks as fit into this time");
    app.add_option("--canary", arguments.canary, "break the store on purpose: must be found");
    CLI11_PARSE(app, argc, argv);
    const auto canary = zbdkit::sim::parse_canary(arguments.canary);
    if (!canary) {
        fmt::print(stderr, "zbdkit-sim: {}\n", canary.error().message);
        return 2;
    }
    zbdkit::init_log(spdlog::level::off);  // faults are meant; what matters is printed
    zbdkit::test::DriverMemory memory(zbdkit::sim::guest_memory_size());
    zbdkit::sim::Tally tally;
    const auto end =
        Clock::now() + std::chrono::duration<double, std::ratio<60>>(arguments.minutes);
    std::uint64_t runs = 0;
    while (runs < arguments.runs || Clock::now() < end) {
        zbdkit::sim::simulate(arguments.seed + runs, *canary, memory, tally);
        ++runs;
    }
    print(tally, runs, arguments.seed);
    return 0;
}
