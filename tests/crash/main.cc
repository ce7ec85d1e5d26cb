// SPDX-License-Identifier: Apache-2.0
// zbdkit-crash: real crashes, judged by the crash contract. docs/testing.md says what they prove.
//   kill   kills daemons under load, on an image of its own, and looks at what is left
//   load   the same on a new image of its caller's, with a ledger on a file or block device; every
//          other life is without a write cache
//   judge  judges an image, after a power loss, by such a ledger
// Ends with 1 if the contract is broken, with 2 if the test could not be done, with 77 if --direct
// cannot be had where the image is.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/crash/daemon.h"
#include "tests/crash/disk_client.h"
#include "tests/crash/kill_test.h"
#include "tests/crash/ledger.h"
#include "tests/crash/load.h"
#include "tests/support/export/server_thread.h"
#include "tests/support/seed.h"

namespace {

using namespace zbdkit;         // NOLINT: a program
using namespace zbdkit::crash;  // NOLINT

constexpr int kSkipped = 77;

const std::map<std::string, Medium> kMedia = {
    {"file", Medium::file}, {"nbd", Medium::nbd}, {"rbd", Medium::rbd}};

struct Arguments {
    KillTest::Options kill;
    std::string zbdkit;
    std::string image;
    std::string ledger;
    std::uint64_t seed = test::seed();
    std::uint64_t requests = 1000;
    std::uint64_t lives = 4;
    std::uint64_t records = 0;
};

[[noreturn]] void report_and_end(void* /*context*/, const std::string& text) {
    fmt::print("violation of the crash contract: {}", text);
    std::fflush(stdout);
    std::_Exit(1);
}

/// A daemon on the image of the arguments, with its socket in a folder of its own.
struct Served {
    explicit Served(const Arguments& arguments)
        : daemon({.zbdkit = arguments.zbdkit,
                  .image = arguments.image,
                  .socket = socket,
                  .log = folder.file("log")}) {}

    test::TempFolder folder;
    std::string socket = folder.file("disk.sock");
    Daemon daemon;
};

/// Drives a daemon until so many requests were answered, and leaves the others on their way.
void live(Load& load, std::uint64_t requests, Ledger& ledger, LedgerFile& file) {
    while (load.answers() < requests) {
        load.turn(1000);
        file.add(ledger.take_events());
    }
}

void run_load(const Arguments& arguments) {
    Served served(arguments);
    sim::Random random(arguments.seed);
    LedgerFile file(arguments.ledger);
    std::optional<Ledger> ledger;
    std::uint64_t answers = 0;
    for (std::uint64_t life = 0; life < arguments.lives; ++life) {
        const bool write_through = life % 2 == 1;
        served.daemon.start();
        DiskClient client(served.socket, {.packed = random.coin(), .write_through = write_through});
        if (!ledger) {
            ledger.emplace(client.geometry());
            ledger->truth().set_complaint(report_and_end, nullptr);
        }
        judge_all(client, *ledger);
        ledger->begin_life(write_through);
        file.add(ledger->take_events());
        Load load(client, *ledger, random, DiskClient::kDepth);
        live(load, arguments.requests / arguments.lives, *ledger, file);
        served.daemon.kill();
        load.take_last_words();
        ledger->die();
        file.add(ledger->take_events());
        answers += load.answers();
    }
    fmt::print("{} answers in {} lives\n", answers, arguments.lives);
}

/// Does again all that was done when the disk was cut off: the first `records` records, and
/// whatever was begun before the next one was there.
std::uint64_t replay(Ledger& ledger, const std::string& path, std::uint64_t records) {
    const std::vector<std::vector<Event>> all = LedgerFile::read(path);
    if (records > all.size()) give_up("the ledger has fewer records");
    std::uint64_t ended = 0;
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(records + 1, all.size()); ++i) {
        for (const Event& event : all[i]) {
            if (i == records && event.type != EventType::begin) continue;
            ledger.replay(event);
            if (event.type == EventType::end) ++ended;
        }
    }
    return ended;
}

void run_judge(const Arguments& arguments) {
    Served served(arguments);
    served.daemon.start();
    DiskClient client(served.socket, {});
    Ledger ledger(client.geometry());
    ledger.truth().set_complaint(report_and_end, nullptr);
    const std::uint64_t ended = replay(ledger, arguments.ledger, arguments.records);
    ledger.truth().crash(sim::Crash::power_loss, false);
    judge_all(client, ledger);
    served.daemon.stop();
    fmt::print("{} answers judged, {} units compared, no violation\n", ended,
               ledger.truth().units_judged());
}

int run_kill(const Arguments& arguments) {
    KillTest::Options options = arguments.kill;
    options.seed = arguments.seed;
    if (options.direct && options.medium != Medium::file) give_up("--direct is for files");
    if (options.canary == "other-boot" && options.medium == Medium::rbd) {
        give_up("an image in a cluster names no boot of a host");
    }
    KillTest test(options);
    if (const std::string reason = test.why_not(); !reason.empty()) {
        fmt::print("skipped: {}\n", reason);
        return kSkipped;
    }
    test.run();
    return 0;
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
    kill->add_option("--medium", arguments.kill.medium,
                     "what the image is on: file (default), nbd: a file of nbdkit's, or rbd: the "
                     "cluster of ZBDKIT_TEST_CEPH_CONF")
        ->transform(CLI::CheckedTransformer(kMedia));
    kill->add_flag("--direct", arguments.kill.direct, "the daemon uses O_DIRECT, on a file");
    kill->add_option("--seed", arguments.seed, "of all choices but the moments of the kills");
    kill->add_option("--canary", arguments.kill.canary,
                     "lose something on purpose: old-image or other-boot; must be found")
        ->check(CLI::IsMember({"old-image", "other-boot"}));
    CLI::App* load = app.add_subcommand("load", "drive a disk and keep a ledger");
    load->add_option("--zbdkit", arguments.zbdkit, "the program")->required();
    load->add_option("--image", arguments.image, "a new one")->required();
    load->add_option("--ledger", arguments.ledger, "a file or block device, overwritten")
        ->required();
    load->add_option("--requests", arguments.requests,
                     "to be answered, in all lives (default 1000)");
    load->add_option("--lives", arguments.lives, "of the daemon, each ends by SIGKILL (default 4)")
        ->check(CLI::PositiveNumber);
    load->add_option("--seed", arguments.seed, "of all choices");
    CLI::App* judge = app.add_subcommand("judge", "judge a disk by a ledger");
    judge->add_option("--zbdkit", arguments.zbdkit, "the program")->required();
    judge->add_option("--image", arguments.image, "what the power loss left")->required();
    judge->add_option("--ledger", arguments.ledger, "that of the load")->required();
    judge->add_option("--records", arguments.records, "that were there when the power went")
        ->required();
    CLI11_PARSE(app, argc, argv);
    if (kill->parsed()) return run_kill(arguments);
    if (load->parsed()) run_load(arguments);
    if (judge->parsed()) run_judge(arguments);
    return 0;
}
