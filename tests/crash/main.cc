// SPDX-License-Identifier: Apache-2.0
// zbdkit-crash: real crashes, judged by the crash contract. docs/testing.md says what they prove.
//   kill   kills daemons under load, on an image of its own, and looks at what is left
//   load   drives a disk that a daemon serves, with a ledger on a file or block device
//   judge  judges a disk, after a power loss, by such a ledger
// Ends with 1 if the contract is broken, with 2 if the test could not be done.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/crash/disk_client.h"
#include "tests/crash/kill_test.h"
#include "tests/crash/ledger.h"
#include "tests/crash/load.h"
#include "tests/support/seed.h"

namespace {

using namespace zbdkit;         // NOLINT: a program
using namespace zbdkit::crash;  // NOLINT

struct Arguments {
    KillTest::Options kill;
    std::string socket;
    std::string ledger;
    std::uint64_t seed = test::seed();
    std::uint64_t requests = 1000;
    std::uint32_t depth = DiskClient::kDepth;
    std::uint64_t records = 0;
};

[[noreturn]] void report_and_end(void* /*context*/, const std::string& text) {
    fmt::print("violation of the crash contract: {}", text);
    std::fflush(stdout);
    std::_Exit(1);
}

void run_load(const Arguments& arguments) {
    DiskClient client(arguments.socket);
    Ledger ledger(client.geometry());
    ledger.truth().set_complaint(report_and_end, nullptr);
    LedgerFile file(arguments.ledger);
    sim::Random random(arguments.seed);
    Load load(client, ledger, random, arguments.depth);
    while (load.answers() < arguments.requests) {
        load.turn(1000);
        file.add(ledger.take_events());
    }
    load.drain();
    file.add(ledger.take_events());
    fmt::print("{} answers\n", load.answers());
}

/// Does again all that was done when the disk was cut off: the first `records` records, and
/// whatever was begun before the next one was there.
std::uint64_t replay(Ledger& ledger, const std::string& path, std::uint64_t records) {
    const std::vector<std::vector<Event>> all = LedgerFile::read(path);
    if (records > all.size()) give_up("the ledger has fewer records");
    std::uint64_t ended = 0;
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(records + 1, all.size()); ++i) {
        for (const Event& event : all[i]) {
            if (i == records && event.is_end) continue;
            ledger.replay(event);
            if (event.is_end) ++ended;
        }
    }
    return ended;
}

void run_judge(const Arguments& arguments) {
    DiskClient client(arguments.socket);
    Ledger ledger(client.geometry());
    ledger.truth().set_complaint(report_and_end, nullptr);
    const std::uint64_t ended = replay(ledger, arguments.ledger, arguments.records);
    ledger.truth().crash(sim::Crash::power_loss, false);
    judge_all(client, ledger);
    fmt::print("{} answers judged, {} units compared, no violation\n", ended,
               ledger.truth().units_judged());
}

void run_kill(const Arguments& arguments) {
    KillTest::Options options = arguments.kill;
    options.seed = arguments.seed;
    KillTest test(options);
    test.run();
}

}  // namespace

int main(int argc, char** argv) {
    Arguments arguments;
    CLI::App app("Real crashes of zbdkit, judged by the crash contract");
    app.require_subcommand(1);
    CLI::App* kill = app.add_subcommand("kill", "kill daemons under load");
    kill->add_option("--zbdkit", arguments.kill.zbdkit, "the program")->required();
    kill->add_option("--kills", arguments.kill.kills, "how often (default 20)");
    kill->add_option("--folder", arguments.kill.folder, "where the image is (default: temporary)");
    kill->add_flag("--direct", arguments.kill.direct, "the daemon uses O_DIRECT");
    kill->add_option("--seed", arguments.seed, "of all choices but the moments of the kills");
    kill->add_option("--canary", arguments.kill.canary,
                     "lose something on purpose: old-image or other-boot; must be found")
        ->check(CLI::IsMember({"old-image", "other-boot"}));
    CLI::App* load = app.add_subcommand("load", "drive a disk and keep a ledger");
    load->add_option("--socket", arguments.socket, "where a daemon serves a new image")->required();
    load->add_option("--ledger", arguments.ledger, "a file or block device, overwritten")
        ->required();
    load->add_option("--requests", arguments.requests, "to be answered (default 1000)");
    load->add_option("--depth", arguments.depth, "requests at a time (default 32)")
        ->check(CLI::Range(1U, DiskClient::kDepth));
    load->add_option("--seed", arguments.seed, "of all choices");
    CLI::App* judge = app.add_subcommand("judge", "judge a disk by a ledger");
    judge->add_option("--socket", arguments.socket, "where a daemon serves the image")->required();
    judge->add_option("--ledger", arguments.ledger, "that of the load")->required();
    judge->add_option("--records", arguments.records, "that were there when the power went")
        ->required();
    CLI11_PARSE(app, argc, argv);
    if (kill->parsed()) run_kill(arguments);
    if (load->parsed()) run_load(arguments);
    if (judge->parsed()) run_judge(arguments);
    return 0;
}
