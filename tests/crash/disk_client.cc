// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/disk_client.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "base/units.h"

namespace zbdkit::crash {
namespace {

using test::TestGuest;
using Clock = DiskClient::Clock;

constexpr std::uint32_t kRingSize = 128;
constexpr std::uint32_t kTailLength = 16;
constexpr std::chrono::seconds kPatience(30);
constexpr int kPatienceMs = 30'000;
constexpr std::uint64_t kFeatures = TestGuest::kZoned | TestGuest::kProtocol |
                                    TestGuest::kVersion1 | TestGuest::kEventIdx |
                                    blk_feature::kFlush | blk_feature::kConfigWce;

/// A daemon that has just been started needs a moment to listen. A killed one leaves its socket,
/// and for a moment the kernel may still take connections there, until it has undone the io_uring
/// that waited for them; so a connection counts when it answers.
std::unique_ptr<TestGuest> connect(const std::string& path) {
    const auto deadline = Clock::now() + kPatience;
    while (Clock::now() < deadline) {
        auto guest = std::make_unique<TestGuest>(path, 1);
        test::FrontEnd& front_end = guest->front_end;
        if (front_end.fd() >= 0) {
            front_end.send(test::request::kGetFeatures);
            if (front_end.receive()) return guest;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    give_up("nobody serves " + path);
}

}  // namespace

void give_up(const std::string& why) {
    fmt::print(stderr, "zbdkit-crash: {}\n", why);
    std::fflush(stdout);
    std::_Exit(2);
}

DiskClient::DiskClient(const std::string& socket_path, const Options& options)
    : guest_(connect(socket_path)), slot_of_(kRingSize) {
    start_ring(options);
    if (options.write_through) switch_write_cache_off();
    for (std::uint32_t i = 0; i < kDepth; ++i) {
        slots_.push_back({.header = guest_->memory.allocate(sizeof(BlkHeader)),
                          .data = guest_->memory.allocate(kLongestData, 4096),
                          .tail = guest_->memory.allocate(kTailLength)});
        free_.push_back(i);
    }
    read_layout();
}

void DiskClient::start_ring(const Options& options) {
    guest_->negotiate(kFeatures | (options.packed ? TestGuest::kPacked : 0));
    guest_->share_memory();
    guest_->start_queue(0, test::SetupOrder::qemu, kRingSize);
}

/// [virtio 1.3, 5.2.5.2: writeback; vhost-user: VHOST_USER_SET_CONFIG, flags 0 is a driver's write]
void DiskClient::switch_write_cache_off() {
    constexpr std::array<std::byte, 1> kOff = {std::byte{0}};
    test::Payload change;
    change.u32(offsetof(BlkConfig, writeback)).u32(kOff.size()).u32(0).add(kOff);
    guest_->front_end.send(test::request::kSetConfig, change);
    if (read_config().writeback != 0) give_up("the write cache cannot be switched off");
}

BlkConfig DiskClient::read_config() {
    const std::array<std::byte, sizeof(BlkConfig)> room{};
    test::Payload question;
    question.u32(0).u32(sizeof(BlkConfig)).u32(0).add(room);
    guest_->front_end.send(test::request::kGetConfig, question);
    const auto reply = guest_->front_end.receive();
    constexpr std::size_t kBefore = 12;
    if (!reply || reply->payload.size() != kBefore + sizeof(BlkConfig)) {
        give_up("the daemon does not tell the disk's configuration");
    }
    BlkConfig config{};
    std::memcpy(&config, reply->payload.data() + kBefore, sizeof config);
    return config;
}

void DiskClient::read_layout() {
    const BlkConfig config = read_config();
    geometry_ = {.model = static_cast<ZoneModel>(config.model),
                 .device_size = config.capacity * kSectorSize,
                 .zone_size = config.zone_sectors * kSectorSize,
                 .zone_capacity = config.zone_sectors * kSectorSize,
                 .max_open_zones = config.max_open_zones,
                 .max_active_zones = config.max_active_zones,
                 .max_append_bytes = config.max_append_sectors * kSectorSize,
                 .write_granularity = config.write_granularity};
    if (!geometry_.is_zoned()) give_up("the disk has no zones");
    for (std::uint32_t zone = 0; zone < geometry_.zone_count(); ++zone) {
        const ZoneDescriptor shown = report(zone);
        if (shown.type == ZoneType::conventional) {
            geometry_.conventional_zones = zone + 1;
        } else {
            geometry_.zone_capacity = shown.capacity;
            return;
        }
    }
}

std::uint32_t DiskClient::submit(const DiskRequest& request) {
    const std::uint32_t index = free_.back();
    free_.pop_back();
    Slot& slot = slots_[index];
    slot.type = request.type;
    slot.reply_length = request.reply_length;
    BlkHeader header{};
    header.type = static_cast<std::uint32_t>(request.type);
    header.sector = request.offset / kSectorSize;
    std::memcpy(guest_->memory.at({slot.header, sizeof header}).data(), &header, sizeof header);
    std::ranges::copy(request.data, guest_->memory.at({slot.data, kLongestData}).begin());
    guest_->memory.at({slot.tail, kTailLength})[kTailLength - 1] = std::byte{0xee};

    std::vector<test::DriverBuffer> buffers{{slot.header, sizeof header, false}};
    // No request has both.
    const auto data_length =
        std::max(static_cast<std::uint32_t>(request.data.size()), request.reply_length);
    const bool is_written_by_disk = request.reply_length != 0;
    if (data_length != 0) buffers.push_back({slot.data, data_length, is_written_by_disk});
    if (request.type == BlkRequestType::zone_append) {
        buffers.push_back({slot.tail, kTailLength, true});
    } else {
        buffers.push_back({slot.tail + kTailLength - 1, 1, true});
    }
    const auto id = driver().add(buffers, test::ChainForm::direct);
    if (!id) give_up("the ring is full");
    slot_of_[*id] = index;
    return index;
}

DiskAnswer DiskClient::answer_of(std::uint32_t slot_index) const {
    const Slot& slot = slots_[slot_index];
    const ConstBytes tail = guest_->memory.at({slot.tail, kTailLength});
    const ConstBytes data = guest_->memory.at({slot.data, kLongestData});
    DiskAnswer answer{.slot = slot_index, .status = static_cast<BlkStatus>(tail.back())};
    answer.reply.assign(data.begin(), data.begin() + slot.reply_length);
    if (slot.type == BlkRequestType::zone_append) {
        answer.appended_at = load_le<std::uint64_t>(tail.data()) * kSectorSize;
    }
    return answer;
}

std::vector<DiskAnswer> DiskClient::take() {
    std::vector<DiskAnswer> answers;
    while (const auto used = driver().take_used()) {
        const std::uint32_t slot = slot_of_[used->id];
        answers.push_back(answer_of(slot));
        free_.push_back(slot);
    }
    return answers;
}

std::vector<DiskAnswer> DiskClient::wait(int timeout_ms) {
    const auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
    std::vector<DiskAnswer> answers = take();
    while (answers.empty() && Clock::now() < deadline) {
        await_event(deadline);
        answers = take();
    }
    return answers;
}

/// Waits for a call, which may be an old one, or for the time.
void DiskClient::await_event(Clock::time_point deadline) {
    if (driver().enable_notifications()) return;
    const UniqueFd& call = guest_->queues[0].call;
    std::array<pollfd, 2> events{{{.fd = call.get(), .events = POLLIN, .revents = 0},
                                  {.fd = guest_->front_end.fd(), .events = POLLIN, .revents = 0}}};
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    if (::poll(events.data(), events.size(), std::max(0, static_cast<int>(left.count()))) <= 0) {
        return;
    }
    if (events[1].revents != 0) give_up("the daemon ended the connection");
    [[maybe_unused]] const bool taken = test::take_event(call, 0);
}

DiskAnswer DiskClient::ask(const DiskRequest& request) {
    submit(request);
    kick();
    std::vector<DiskAnswer> answers = wait(kPatienceMs);
    if (answers.empty()) give_up("a request was not answered");
    return std::move(answers.front());
}

std::vector<ZoneDescriptor> DiskClient::decode_report(ConstBytes reply) const {
    BlkReportHeader header{};
    std::memcpy(&header, reply.data(), sizeof header);
    const std::uint64_t room = (reply.size() - sizeof header) / sizeof(BlkZoneDescriptor);
    std::vector<ZoneDescriptor> zones;
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(header.zone_count, room); ++i) {
        BlkZoneDescriptor wire{};
        std::memcpy(&wire, reply.data() + sizeof header + i * sizeof wire, sizeof wire);
        const std::uint64_t start = wire.start * kSectorSize;
        zones.push_back({.start = start,
                         .length = geometry_.length_of(geometry_.zone_of(start)),
                         .capacity = wire.capacity * kSectorSize,
                         .write_pointer = wire.write_pointer * kSectorSize,
                         .type = static_cast<ZoneType>(wire.type),
                         .state = static_cast<ZoneState>(wire.state)});
    }
    return zones;
}

ZoneDescriptor DiskClient::report(std::uint32_t zone) {
    const DiskAnswer answer =
        ask({.type = BlkRequestType::zone_report,
             .offset = geometry_.start_of(ZoneIndex(zone)),
             .reply_length = sizeof(BlkReportHeader) + sizeof(BlkZoneDescriptor)});
    const std::vector<ZoneDescriptor> zones = decode_report(answer.reply);
    if (answer.status != BlkStatus::ok || zones.empty()) give_up("a report failed");
    return zones.front();
}

}  // namespace zbdkit::crash
