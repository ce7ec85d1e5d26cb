// SPDX-License-Identifier: Apache-2.0
// zbdkit-sim: runs simulated disks until a violation of the crash contract is found or the time is
// up. docs/testing.md says what it proves.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "base/log.h"
#include "tests/sim/simulation.h"
#include "tests/support/seed.h"

namespace {

using Clock = std::chrono::steady_clock;

struct Arguments {
    std::uint64_t seed = zbdkit::test::seed();
    std::uint64_t runs = 1;
    double minutes = 0;
    bool elsewhere = false;
    std::string canary = "none";
    std::string seeds_from;
};

/// The numbers that lines of the file begin with; `#` and empty lines aside.
/// @return nothing if there is none, or a line begins with something else
std::optional<std::vector<std::uint64_t>> read_seeds(const std::string& path) {
    std::ifstream file(path);
    std::vector<std::uint64_t> seeds;
    for (std::string line; std::getline(file, line);) {
        if (line.empty() || line.front() == '#') continue;
        std::uint64_t seed = 0;
        if (!(std::istringstream(line) >> seed)) return std::nullopt;
        seeds.push_back(seed);
    }
    if (seeds.empty()) return std::nullopt;
    return seeds;
}

void print(const zbdkit::sim::Tally& tally, std::uint64_t runs, const std::string& seeds) {
    fmt::print(
        "{}: {} disks, {} lives, {} power losses, {} daemon deaths, {} "
        "failed syncs, {} clean stops, {} moves, "
        "{} checks, {} requests, {} disk operations, {} faults, {} units compared, no violation\n",
        seeds, runs, tally.lives, tally.power_losses, tally.daemon_deaths, tally.failed_syncs,
        tally.clean_stops, tally.moves, tally.checks, tally.requests, tally.disk_events,
        tally.faults, tally.units);
}

}  // namespace

int main(int argc, char** argv) {
    Arguments arguments;
    CLI::App app("Simulates zoned disks with crashes and faults, and checks the crash contract");
    app.add_option("--seed", arguments.seed, "of the first disk; the next ones count up");
    app.add_option("--runs", arguments.runs, "how many disks (default 1)");
    app.add_option("--minutes", arguments.minutes, "as many disks as fit into this time");
    app.add_flag("--elsewhere", arguments.elsewhere,
                 "on storage that another host can go on with, most of it durable on completion");
    app.add_option("--canary", arguments.canary, "break the store on purpose: must be found");
    app.add_option("--seeds-from", arguments.seeds_from, "only the disks of a file like seeds.txt");
    CLI11_PARSE(app, argc, argv);
    const auto canary = zbdkit::sim::parse_canary(arguments.canary);
    if (!canary) {
        fmt::print(stderr, "zbdkit-sim: {}\n", canary.error().message);
        return 2;
    }
    zbdkit::init_log(spdlog::level::off);  // faults are meant; what matters is printed
    zbdkit::test::DriverMemory memory(zbdkit::sim::guest_memory_size());
    zbdkit::sim::Tally tally;
    using zbdkit::sim::Place;
    const Place place = arguments.elsewhere ? Place::elsewhere : Place::host;
    if (!arguments.seeds_from.empty()) {
        const auto seeds = read_seeds(arguments.seeds_from);
        if (!seeds) {
            fmt::print(stderr, "zbdkit-sim: '{}' is no list of seeds\n", arguments.seeds_from);
            return 2;
        }
        for (const std::uint64_t seed : *seeds) {
            zbdkit::sim::simulate(seed, place, *canary, memory, tally);
        }
        print(tally, seeds->size(), fmt::format("seeds of '{}'", arguments.seeds_from));
        return 0;
    }
    const auto end =
        Clock::now() + std::chrono::duration<double, std::ratio<60>>(arguments.minutes);
    std::uint64_t runs = 0;
    while (runs < arguments.runs || Clock::now() < end) {
        zbdkit::sim::simulate(arguments.seed + runs, place, *canary, memory, tally);
        ++runs;
    }
    print(tally, runs, fmt::format("seeds {} to {}", arguments.seed, arguments.seed + runs - 1));
    return 0;
}
