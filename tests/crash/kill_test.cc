// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/kill_test.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "node/format/zoned_header.h"
#include "tests/crash/disk_client.h"

namespace zbdkit::crash {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kLongestLifeUs = 120'000;

/// A small disk, so that its limits, full zones and the short last one are met all the time.
std::vector<std::string> random_layout(sim::Random& random) {
    const std::uint64_t zone_kib = std::uint64_t{128} << random.below(3);
    const std::uint64_t capacity_kib = zone_kib - random.below(3) * 16;
    const std::uint64_t size_kib = random.between(8, 24) * zone_kib + random.below(2) * 64;
    const std::uint64_t max_active = random.coin() ? random.between(4, 8) : 0;
    const std::uint64_t max_open = random.coin() ? random.between(2, 4) : 0;
    const std::string mode = random.one_in(3) ? "host-aware" : "host-managed";
    return {fmt::format("{}K", size_kib), "--any-guest", "-o",
            fmt::format("block_size=512,zone.mode={},zone.size={}K,zone.capacity={}K,"
                        "zone.conventional_zones={},zone.max_active_zones={},"
                        "zone.max_open_zones={},zone.max_append_bytes=32K",
                        mode, zone_kib, capacity_kib, random.below(3), max_active, max_open)};
}

/// Options of every daemon.
std::vector<std::string> serve_options(const KillTest::Options& options, const Image& image) {
    std::vector<std::string> words = image.serve_options();
    if (options.direct) words.emplace_back("--direct");
    return words;
}

/// Makes an image look as if another boot of the host had used it, so that what was completed and
/// not flushed is lost.
void change_boot(const std::string& image) {
    std::fstream file(image, std::ios::in | std::ios::out | std::ios::binary);
    constexpr std::array<std::uint64_t, 2> kCopies = {0, zoned::kSecondSuperblockOffset};
    for (const std::uint64_t offset : kCopies) {
        std::vector<char> text(zoned::kPageSize);
        file.seekg(static_cast<std::streamoff>(offset));
        file.read(text.data(), static_cast<std::streamsize>(text.size()));
        auto superblock = zoned::decode_superblock(std::as_bytes(std::span(text)));
        if (!superblock) give_up("the image has a damaged superblock");
        superblock->boot_id.fill(std::byte{0xb0});  // no boot of a host has such an id
        const auto page = zoned::encode_superblock(*superblock);
        std::memcpy(text.data(), page.data(), text.size());
        file.seekp(static_cast<std::streamoff>(offset));
        file.write(text.data(), static_cast<std::streamsize>(text.size()));
    }
    if (!file.flush()) give_up("cannot change the image");
}

}  // namespace

KillTest::KillTest(const Options& options)
    : options_(options),
      random_(options.seed),
      layout_(random_layout(random_)),
      image_(options.medium, options.folder.empty() ? temporary_.file("killed.zbd")
                                                    : options.folder + "/killed.zbd"),
      socket_(temporary_.file("disk.sock")),
      log_(temporary_.file("log")),
      daemon_({.zbdkit = options.zbdkit,
               .image = "",
               .socket = socket_,
               .log = log_,
               .more = serve_options(options, image_)}) {}

void KillTest::report_and_end(void* context, const std::string& text) {
    KillTest& test = *static_cast<KillTest*>(context);
    fmt::print("violation of the crash contract, seed {}: {}", test.options_.seed, text);
    if (test.options_.canary.empty()) {
        fmt::print("the image is {}, the log {}\n", test.image_.name(), test.log_);
    } else {
        test.image_.drop();
        std::filesystem::remove_all(std::filesystem::path(test.log_).parent_path());
    }
    std::fflush(stdout);
    std::_Exit(1);
}

std::string KillTest::why_not() const {
    if (!options_.direct) return Image::why_not(options_.medium);
    const std::string& path = image_.file();
    const UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0644));
    if (file || errno != EINVAL) return "";
    return "the file system of " + path + " has no O_DIRECT";
}

void KillTest::run() {
    make_image();
    start_and_judge();
    for (std::uint64_t kills = 0; kills < options_.kills;) {
        if (random_.one_in(10)) {
            live_and_stop();
        } else {
            live_and_die();
            ++kills;
        }
        lose_something();
        while (kills < options_.kills && random_.one_in(4)) {
            die_while_starting();
            ++kills;
        }
        start_and_judge();
    }
    live_and_stop();
    run_to_end({options_.zbdkit, "check", image_.name()}, log_);
    fmt::print(
        "seed {}: {} disk, {} kills, {} of them while starting, {} clean stops, {} lives, {} "
        "packed, {} write-through, {} answers, {} resets of all zones, {} units compared, no "
        "violation\n",
        options_.seed, zone_model_name(ledger_->truth().geometry().model), options_.kills,
        kills_while_starting_, stops_, lives_, packed_lives_, write_through_lives_, answers_,
        resets_of_all_, ledger_->truth().units_judged());
}

void KillTest::make_image() {
    image_.make(options_.zbdkit, layout_, log_);
    daemon_.set_image(image_.name());
}

void KillTest::start_and_judge() {
    daemon_.start();
    const DiskClient::Options driver = {.packed = random_.coin(),
                                        .write_through = random_.one_in(3)};
    client_ = std::make_unique<DiskClient>(socket_, driver);
    ++lives_;
    if (driver.packed) ++packed_lives_;
    if (driver.write_through) ++write_through_lives_;
    if (ledger_ == nullptr) {
        ledger_ = std::make_unique<Ledger>(client_->geometry());
        ledger_->truth().set_complaint(report_and_end, this);
    }
    judge_all(*client_, *ledger_);
    ledger_->begin_life(driver.write_through);
    [[maybe_unused]] const auto not_needed = ledger_->take_events();
}

void KillTest::kill_daemon() {
    daemon_.kill();
    image_.settle();
}

void KillTest::count(const Load& load) {
    answers_ += load.answers();
    resets_of_all_ += load.resets_of_all();
}

void KillTest::live_and_die() {
    const auto depth = static_cast<std::uint32_t>(random_.between(1, DiskClient::kDepth));
    const auto end = Clock::now() + std::chrono::microseconds(random_.below(kLongestLifeUs));
    Load load(*client_, *ledger_, random_, depth);
    while (Clock::now() < end) load.turn(1);
    kill_daemon();
    load.take_last_words();
    count(load);
    ledger_->die();
}

void KillTest::live_and_stop() {
    const auto end = Clock::now() + std::chrono::microseconds(random_.below(kLongestLifeUs));
    Load load(*client_, *ledger_, random_, DiskClient::kDepth);
    while (Clock::now() < end) load.turn(1);
    load.drain();
    daemon_.stop();
    count(load);
    ++stops_;
    ledger_->truth().crash(sim::Crash::none, true);
}

void KillTest::die_while_starting() {
    daemon_.start();
    const auto longest = static_cast<std::uint64_t>(image_.start_time().count());
    std::this_thread::sleep_for(std::chrono::microseconds(random_.below(longest)));
    kill_daemon();
    ++kills_while_starting_;
    ledger_->die();
}

void KillTest::lose_something() {
    if (options_.canary == "old-image") {
        make_image();
    } else if (options_.canary == "other-boot") {
        change_boot(image_.file());
    }
}

}  // namespace zbdkit::crash
