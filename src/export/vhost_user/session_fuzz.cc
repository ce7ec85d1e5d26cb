// SPDX-License-Identifier: Apache-2.0
// Fuzzes whole connections: the input is a front end's script, one message after the other, with
// descriptors, and the guest's requests in the rings' memory. Behind it stands the real device over
// a zoned image in memory. Front end and guest may change what they share at any moment, and the
// daemon may die at any: then its place is taken by one that finds the image, the memory and the
// inflight region as they were at that moment. Nothing may crash, hang or be left behind, and the
// zones stay lawful. While nobody misbehaves, every request is answered exactly once over all
// lives, and every write is in its zone exactly once.
//
//   input   = boots:u8 requests(tests/fuzz/planted_requests.h) count:u8 spoil{count % 16}
//             step...                                                              up to 64
//   boots   = 3 of 4 values begin each life with a ring that runs; bit 2 which ring, bit 3 with an
//             inflight region, bit 4 packed, bit 5 data writes wait until a step lets them go,
//             bit 6 those of metadata too, bit 7 without a write cache
//   spoil   = at:u16 flip:u8
//   step    = choice:u8 index:u8 fds:u8 length:u8 byte{length % 64}
//   choice  = 0x80 and more: a message of that code modulo 48, with the bytes
//             0x38 to 0x3f: an Event; the others a sound message (tests/fuzz/front_end_messages.h)
//             modulo 32; bit 6: packed
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/log.h"
#include "export/vhost_user/service.h"
#include "export/vhost_user/session.h"
#include "graph/backend.h"
#include "io/scope.h"
#include "tests/fuzz/canary.h"
#include "tests/fuzz/front_end_messages.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/planted_requests.h"
#include "tests/fuzz/zoned_storage.h"
#include "tests/support/io/uring_reactor.h"
#include "tests/support/node/held_node.h"

using namespace zbdkit;
using namespace zbdkit::vhost_user;

namespace {

using test::FrontEndFiles;
using test::FrontEndMessage;
using test::MessageChoice;
using test::RequestPlanter;

constexpr std::size_t kMaxSteps = 64;
constexpr std::size_t kMostSpoils = 16;
/// Turns of the reactor in which a daemon that works has answered all there is.
constexpr unsigned kPatience = 1000;
/// Where the data of the image begins.
constexpr std::uint64_t kDataOffset = 0x100000;

enum class Event : std::uint8_t {
    turns = 0x38,         ///< the reactor has 1 + index % 16 of them
    release = 0x39,       ///< the index-th write that waits goes on, and fails if fds is odd
    spoil_page = 0x3a,    ///< the bytes flip those of the ring's page from index + 256 * fds on
    spoil_region = 0x3b,  ///< the bytes go to the inflight region from index + 256 * fds on
    cut_region = 0x3c,    ///< the region without seals is cut to nothing
    kick = 0x3d,
    die = 0x3e,
    die_at_once = 0x3f,  ///< the same, before what was sent last is read
};
constexpr std::uint8_t kFirstEvent = 0x38;

std::uint64_t no_time() { return 0; }

/// What all runs share.
struct World {
    World() { spdlog::set_level(spdlog::level::off); }
    test::UringReactor reactor;
    std::string name = "fuzz";
    FrontEndFiles files;
};

/// One life of the daemon: disk, device and connection.
class Daemon {
  public:
    struct Options {
        std::optional<std::uint64_t> hold_from{};  ///< where on the storage writes wait
        bool write_cache = true;
    };

    Daemon(World& world, AlignedBuffer image, const Options& options)
        : world_(world), image_(std::move(image)) {
        auto held = std::make_unique<test::HeldNode>(make_memory_node(image_.bytes()));
        storage_ = held.get();
        auto disk = test::open_zoned(storage_world_, std::move(held));
        ZBDKIT_ASSERT(disk.has_value());
        if (options.hold_from) storage_->hold_from(*options.hold_from);
        backend_ = std::make_unique<BlockBackend>(std::move(*disk));
        const BlkDevice::Options device{.queue_count = 2, .write_cache = options.write_cache};
        device_ = std::make_unique<BlkDevice>(*backend_, device, &no_time);
        service_ = std::make_unique<Service>(world.reactor, *device_, world.name);
        std::array<int, 2> ends{};
        ZBDKIT_ASSERT(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
        socket_ = UniqueFd(ends[0]);
        ::fcntl(ends[1], F_SETFL, O_NONBLOCK);
        session_ = std::make_unique<Session>(*service_, UniqueFd(ends[1]));
        scope_.spawn(session_->run());
    }

    /// The front end's end. Replies find room unread; the session may have closed the other end.
    [[nodiscard]] int socket() const { return socket_.get(); }
    [[nodiscard]] MutableBytes image() { return image_.bytes(); }

    void run(unsigned turns) {
        for (unsigned i = 0; i < turns; ++i) world_.reactor.turn(false);
    }
    void release(std::size_t index, bool fails) {
        const std::size_t count = storage_->held_count();
        if (count == 0) return;
        storage_->release(index % count, fails ? std::optional(Errc::io) : std::nullopt);
    }
    void release_all() {
        storage_->hold_nothing();
        while (storage_->held_count() != 0) release(0, false);
    }

    /// The front end leaves: the session reads all there is and then finds the end.
    /// @return the zones as they are then
    std::vector<ZoneDescriptor> end() {
        ::shutdown(socket_.get(), SHUT_WR);
        release_all();
        while (scope_.running() != 0) world_.reactor.turn(true);
        ZBDKIT_ASSERT(backend_->in_flight() == 0);
        ZBDKIT_ASSERT(device_->features() == 0);
        const std::vector<ZoneDescriptor> zones = report(backend_->root());
        ZBDKIT_ASSERT(storage_world_.reactor.run_to_end(backend_->close()).has_value());
        auto again = test::open_zoned(storage_world_, make_memory_node(image_.bytes()));
        ZBDKIT_ASSERT(again && report(**again) == zones);
        ZBDKIT_ASSERT(storage_world_.reactor.run_to_end((*again)->close()).has_value());
        return zones;
    }

  private:
    [[nodiscard]] std::vector<ZoneDescriptor> report(BlockNode& disk) {
        std::vector<ZoneDescriptor> zones(disk.info().zones.zone_count());
        Request request = report_request(0, zones);
        const Result<void> reported = storage_world_.reactor.run_to_end(disk.submit(request));
        ZBDKIT_ASSERT(reported && request.zones_reported == zones.size());
        test::check_zones(disk.info().zones, zones);
        return zones;
    }

    World& world_;
    test::FuzzWorld storage_world_;
    AlignedBuffer image_;
    test::HeldNode* storage_ = nullptr;
    std::unique_ptr<BlockBackend> backend_;
    std::unique_ptr<BlkDevice> device_;
    std::unique_ptr<Service> service_;
    UniqueFd socket_;
    std::unique_ptr<Session> session_;
    TaskScope scope_;
};

void send(int socket, const FrontEndMessage& message, bool needs_reply) {
    std::vector<std::byte> bytes =
        test::payload_of(message.request, std::uint32_t{needs_reply ? 9U : 1U},
                         static_cast<std::uint32_t>(message.payload.size()));
    bytes.insert(bytes.end(), message.payload.begin(), message.payload.end());
    iovec segment{bytes.data(), bytes.size()};
    msghdr header{};
    header.msg_iov = &segment;
    header.msg_iovlen = 1;
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(4 * sizeof(int))> control{};
    if (!message.fds.empty()) {
        const std::size_t length = message.fds.size() * sizeof(int);
        header.msg_control = control.data();
        header.msg_controllen = CMSG_SPACE(length);
        cmsghdr* part = CMSG_FIRSTHDR(&header);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(length);
        std::memcpy(CMSG_DATA(part), message.fds.data(), length);
    }
    const ssize_t sent = ::sendmsg(socket, &header, MSG_NOSIGNAL);
    ZBDKIT_ASSERT(sent == static_cast<ssize_t>(bytes.size()) || errno == EPIPE);
}

AlignedBuffer copy_of(ConstBytes bytes) {
    AlignedBuffer copy(bytes.size());
    std::ranges::copy(bytes, copy.bytes().begin());
    return copy;
}

/// A front end and its guest, over all lives of the daemon.
class Fuzzer {
  public:
    Fuzzer(World& world, test::FuzzInput script)
        : world_(world), script_(script), boots_(script_.byte()) {
        files().begin_run();
        plant();
        start(test::new_zoned_image(image_world_, 0));
    }

    void run() {
        for (std::size_t step = 0; step < kMaxSteps && !script_.is_empty(); ++step) {
            take_step(step % 2 == 0);
        }
        if (is_honest_) wait_for_answers();
        const std::vector<ZoneDescriptor> zones = daemon_->end();
        if (is_honest_) check_written(zones);
    }

  private:
    [[nodiscard]] const FrontEndFiles& files() const { return world_.files; }
    [[nodiscard]] bool is_packed() const { return (boots_ & 0x10) != 0; }
    [[nodiscard]] bool has_region() const { return (boots_ & 8) != 0; }

    /// Fills the rings' page of guest memory, which the guest would have done while it ran.
    void plant() {
        RequestPlanter planter(page(), {.packed = is_packed(),
                                        .page = test::kGuestMemory,
                                        .data = test::kGuestMemory + 0x2000,
                                        .data_length = 0x2000,
                                        .zone_sectors = 64});
        planter.plant(script_);
        planted_ = planter.planted();
        const std::size_t spoils = script_.byte() % kMostSpoils;
        for (std::size_t i = 0; i < spoils; ++i) {
            const auto at = script_.take<std::uint16_t>();
            page()[at % page().size()] ^= std::byte{script_.byte()};
        }
        is_honest_ = boots_ % 4 != 0 && has_region() && spoils == 0;
    }
    [[nodiscard]] MutableBytes page() const {
        return files().memory.bytes().first(RequestPlanter::kPageSize);
    }

    void start(AlignedBuffer image) {
        Daemon::Options options{.hold_from = {}, .write_cache = (boots_ & 0x80) == 0};
        if ((boots_ & 0x20) != 0) options.hold_from = (boots_ & 0x40) != 0 ? 0 : kDataOffset;
        daemon_.emplace(world_, std::move(image), options);
        if (boots_ % 4 == 0) return;
        constexpr std::array<unsigned, 10> kMessages = {
            0, 1, 2, MessageChoice::kSetInflight, 3, 4, 5, 6, 7, 8};
        for (const unsigned number : kMessages) {
            if (number == MessageChoice::kSetInflight && !has_region()) continue;
            const MessageChoice choice = {
                .number = number, .ring = boots_ / 4U % 2, .is_packed = is_packed()};
            send(daemon_->socket(), test::sound_message(files(), choice), true);
        }
    }

    void take_step(bool needs_reply) {
        const std::uint8_t choice = script_.byte();
        const std::uint8_t index = script_.byte();
        const std::uint8_t fds = script_.byte();
        const ConstBytes bytes = script_.take_bytes(script_.byte() % 64);
        if (choice >= kFirstEvent && choice < 0x40) {
            happen(Event{choice}, index, fds, bytes);
            return;
        }
        is_honest_ = false;
        FrontEndMessage message{.request = choice % 48U, .payload = {}, .fds = {}};
        if (choice < 0x80) {
            message = test::sound_message(files(), {.number = choice % MessageChoice::kCount,
                                                    .ring = index % 2U,
                                                    .is_packed = (choice & 0x40) != 0});
        } else {
            message.payload.assign(bytes.begin(), bytes.end());
            const int fd = (fds & 0x40) != 0 ? files().memory.fd() : files().event.get();
            message.fds.assign(fds % 4U, fd);
        }
        send(daemon_->socket(), message, needs_reply);
    }

    void happen(Event event, std::uint8_t index, std::uint8_t fds, ConstBytes bytes) {
        const std::size_t at = index + 256U * fds;
        const bool spoils = event == Event::spoil_page || event == Event::spoil_region;
        if (spoils || (event == Event::release && fds % 2 != 0)) is_honest_ = false;
        switch (event) {
            case Event::turns: daemon_->run(1 + index % 16U); break;
            case Event::release: daemon_->release(index, fds % 2 != 0); break;
            case Event::spoil_page:
                for (std::size_t i = 0; i < bytes.size(); ++i) {
                    page()[(at + i) % page().size()] ^= bytes[i];
                }
                break;
            case Event::spoil_region:
                for (std::size_t i = 0; i < bytes.size(); ++i) {
                    const MutableBytes region = files().region.bytes();
                    region[(at + i) % region.size()] = bytes[i];
                }
                break;
            case Event::cut_region: files().cut_loose_region(); break;
            case Event::kick: {
                const std::uint64_t one = 1;
                (void)!::write(files().event.get(), &one, sizeof one);
                break;
            }
            case Event::die:
                daemon_->run(4);
                die();
                break;
            case Event::die_at_once: die(); break;
        }
    }

    /// What the daemon does from here on counts for nothing.
    void die() {
        AlignedBuffer image = copy_of(daemon_->image());
        const AlignedBuffer memory = copy_of(files().memory.bytes());
        const AlignedBuffer region = copy_of(files().region.bytes());
        daemon_->end();
        daemon_.reset();
        std::ranges::copy(memory.bytes(), files().memory.bytes().begin());
        if (!test::has_fuzz_canary("forgotten-region")) {
            std::ranges::copy(region.bytes(), files().region.bytes().begin());
        }
        start(std::move(image));
    }

    void wait_for_answers() {
        daemon_->release_all();
        for (unsigned i = 0; i < kPatience && answers().size() < planted_.size(); ++i) {
            daemon_->run(1);
        }
        // Once more for one too many.
        daemon_->run(4);
        const std::vector<std::uint32_t> answered = answers();
        const std::set<std::uint32_t> once(answered.begin(), answered.end());
        ZBDKIT_ASSERT(answered.size() == planted_.size() && once.size() == planted_.size());
    }

    /// Zones that nobody resets or finishes have what was answered with OK, once.
    void check_written(const std::vector<ZoneDescriptor>& zones) const {
        std::vector<std::uint64_t> written(zones.size());
        for (const RequestPlanter::Chain& chain : planted_) {
            const BlkRequestType type = chain.type;
            if (type == BlkRequestType::zone_reset || type == BlkRequestType::zone_reset_all ||
                type == BlkRequestType::zone_finish) {
                return;
            }
            const bool writes = type == BlkRequestType::out || type == BlkRequestType::zone_append;
            if (!writes || page()[chain.status_in_page] != std::byte{0}) continue;
            written.at(chain.range.offset / zones.front().length) += chain.range.length;
        }
        for (std::size_t i = 0; i < zones.size(); ++i) {
            if (zones[i].type == ZoneType::conventional) continue;
            const std::uint64_t pointer = zones[i].write_pointer - zones[i].start;
            ZBDKIT_ASSERT(std::min(pointer, zones[i].capacity) == written[i]);
        }
    }

    /// @return the ids of the chains that came back, up to one more than there are
    [[nodiscard]] std::vector<std::uint32_t> answers() const {
        std::vector<std::uint32_t> ids;
        const std::byte* const used = page().data() + RequestPlanter::kDevicePart;
        const auto count = load_le<std::uint16_t>(used + 2);
        if (is_packed()) return packed_answers();
        for (std::size_t i = 0; i < count && i <= planted_.size(); ++i) {
            ids.push_back(load_le<std::uint32_t>(used + 4 + i * 8));
        }
        return ids;
    }
    [[nodiscard]] std::vector<std::uint32_t> packed_answers() const {
        constexpr std::uint16_t kAvailableAndUsed = 1 << 7 | 1 << 15;  // in the first lap
        std::vector<std::uint32_t> ids;
        std::size_t at = 0;
        while (at < RequestPlanter::kRingSize && ids.size() <= planted_.size()) {
            const std::byte* const descriptor =
                page().data() + RequestPlanter::kDescriptors + at * Descriptor::kSize;
            const auto flags = load_le<std::uint16_t>(descriptor + 14);
            if ((flags & kAvailableAndUsed) != kAvailableAndUsed) break;
            ids.push_back(load_le<std::uint16_t>(descriptor + 12));
            const auto chain = std::ranges::find(planted_, ids.back(), &RequestPlanter::Chain::id);
            ZBDKIT_ASSERT(chain != planted_.end());
            at += chain->descriptor_count;
        }
        return ids;
    }

    World& world_;
    test::FuzzInput script_;
    std::uint8_t boots_;
    test::FuzzWorld image_world_;
    std::vector<RequestPlanter::Chain> planted_;
    /// Nothing but what front ends, guests and deaths do in good faith: what is promised then can
    /// be asserted.
    bool is_honest_ = false;
    std::optional<Daemon> daemon_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static World world;
    Fuzzer(world, test::FuzzInput(std::as_bytes(std::span(data, size)))).run();
    return 0;
}
