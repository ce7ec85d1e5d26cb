// SPDX-License-Identifier: Apache-2.0
#include "export/ublk/server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/log.h"
#include "base/unique_fd.h"
#include "export/ublk/control.h"
#include "export/ublk/device.h"
#include "export/ublk/disk_use.h"
#include "export/ublk/inflight.h"
#include "export/ublk/queue.h"
#include "io/blocking_pool.h"
#include "io/scope.h"
#include "io/sync.h"

namespace zbdkit::ublk {
namespace {

/// By system calls: the kernel copies between its pages and ours and waits for nothing.
class CharacterDevice final : public DataPort {
  public:
    [[nodiscard]] Outcome<void> open(const std::string& path) {
        fd_ = UniqueFd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
        if (fd_) return {};
        return failure(fmt::format("cannot open '{}': {}", path, std::strerror(errno)));
    }
    [[nodiscard]] int fd() const { return fd_.get(); }
    void close() { fd_.reset(); }

    [[nodiscard]] Result<void> fetch(TagId id, MutableBytes to) override {
        const auto offset = static_cast<off_t>(data_offset(id.queue, id.tag));
        return result_of(::pread(fd_.get(), to.data(), to.size(), offset), to.size());
    }
    [[nodiscard]] Result<void> deliver(TagId id, ConstBytes from) override {
        const auto offset = static_cast<off_t>(data_offset(id.queue, id.tag));
        return result_of(::pwrite(fd_.get(), from.data(), from.size(), offset), from.size());
    }

  private:
    static Result<void> result_of(ssize_t moved, std::size_t wanted) {
        if (moved == static_cast<ssize_t>(wanted)) return {};
        return fail(Errc::io, "the kernel did not move a request's data", moved < 0 ? errno : 0);
    }
    UniqueFd fd_;
};

/// Whether there is such a process, other than one that has ended and was not waited for.
bool process_lives(pid_t pid) {
    std::ifstream file(fmt::format("/proc/{}/stat", pid));
    std::string text;
    if (!std::getline(file, text)) return false;
    const std::size_t end_of_name = text.rfind(')');
    return end_of_name == std::string::npos || end_of_name + 2 >= text.size() ||
           (text[end_of_name + 2] != 'Z' && text[end_of_name + 2] != 'X');
}

class UblkServer final : public Server {
  public:
    UblkServer(Reactor& reactor, BlockBackend& backend, ServerOptions options, Params params,
               std::unique_ptr<Control> control, UniqueFd zeroes)
        : reactor_(reactor),
          backend_(backend),
          options_(std::move(options)),
          params_(params),
          control_(std::move(control)),
          zeroes_(std::move(zeroes)) {}
    ~UblkServer() override {
        ZBDKIT_ASSERT(tags_.running() == 0);
        reactor_.engine().release_commands(reserved_);
        if (lent_) reactor_.engine().give_back_lent(*lent_);
    }

    [[nodiscard]] Task<Outcome<void>> start() override;
    [[nodiscard]] Task<Outcome<void>> run() override;
    void stop() override { stopping_.set(); }
    [[nodiscard]] Task<Outcome<void>> check_unused() override;

    [[nodiscard]] std::uint32_t device() const override { return info_.device; }
    [[nodiscard]] std::string description() const override;
    [[nodiscard]] bool has_recovered() const override { return has_recovered_; }
    [[nodiscard]] ServerCounters counters() const override;

  private:
    template <class Work>
    [[nodiscard]] Task<Outcome<void>> call(Work work);

    [[nodiscard]] Outcome<void> add_or_find();
    [[nodiscard]] Outcome<void> add(std::uint64_t kernel_features);
    [[nodiscard]] Outcome<void> find(const DeviceInfo& found);
    [[nodiscard]] Task<Outcome<void>> bring_up();
    [[nodiscard]] Outcome<void> open_inflight();
    [[nodiscard]] Outcome<void> make_queues();
    [[nodiscard]] Outcome<void> take_lent();
    [[nodiscard]] Task<void> watch_tags();
    [[nodiscard]] Task<Outcome<void>> take_away();

    Reactor& reactor_;
    BlockBackend& backend_;
    ServerOptions options_;
    Params params_;
    std::unique_ptr<Control> control_;  // used on a thread of pool_, and never by two calls
    UniqueFd zeroes_;
    // Of its own: a call that waits for the disk must not keep its nodes from theirs.
    BlockingPool pool_{1};
    DeviceInfo info_;
    bool has_recovered_ = false;
    std::string path_;  // of the disk
    CharacterDevice character_device_;
    std::optional<Inflight> inflight_;
    std::unique_ptr<Device> device_;
    std::vector<std::unique_ptr<Queue>> queues_;
    unsigned reserved_ = 0;          // commands of the reactor's engine
    std::optional<LentRange> lent_;  // places for the buffers of all tags
    TaskScope tags_;
    TaskScope watch_;
    AsyncEvent stopping_;
};

/// Runs a blocking call of the control device.
template <class Work>
Task<Outcome<void>> UblkServer::call(Work work) {
    Outcome<void> outcome;
    BlockingPool::Call on_thread = pool_.run(reactor_, [&outcome, &work] { outcome = work(); });
    co_await on_thread;
    co_return outcome;
}

// --- Coming up ----------------------------------------------------------------------------------

Task<Outcome<void>> UblkServer::start() {
    const auto find_or_add = [this] { return add_or_find(); };
    Outcome<void> outcome = co_await call(find_or_add);
    if (!outcome) co_return outcome;
    outcome = co_await bring_up();
    if (outcome) {
        watch_.spawn(watch_tags());
        co_return outcome;
    }
    // A device that was here before stays as it is, for the next who tries; but what was fetched
    // can only be given back by stopping it.
    if (has_recovered_ && tags_.running() == 0) {
        queues_.clear();
        character_device_.close();
    } else {
        Outcome<void> removed = co_await take_away();
        if (!removed) spdlog::warn("{}", removed.error().message);
    }
    co_return outcome;
}

Outcome<void> UblkServer::add_or_find() {
    const Outcome<std::uint64_t> features = control_->features();
    if (!features) return std::unexpected(features.error());
    const bool is_zoned = (params_.types & param_type::kZoned) != 0;
    if (is_zoned && (*features & feature::kZoned) == 0) {
        return failure(
            "ublk of this kernel has no zones: expected Linux 6.6 or newer, built with "
            "CONFIG_BLK_DEV_ZONED",
            Errc::not_supported);
    }
    if (options_.device) {
        const Outcome<DeviceInfo> found = control_->info(*options_.device);
        if (found) return find(*found);
        if (options_.must_recover) return std::unexpected(found.error());
    }
    return add(*features);
}

Outcome<void> UblkServer::add(std::uint64_t kernel_features) {
    DeviceInfo wanted;
    wanted.device = options_.device.value_or(kAnyDevice);
    wanted.queue_count = options_.queue_count;
    wanted.queue_depth = options_.queue_depth;
    wanted.max_io_bytes = static_cast<std::uint32_t>(options_.disk.max_io_bytes);
    wanted.features = feature::kUserCopy | feature::kCommandIoctlEncode | feature::kUserRecovery |
                      feature::kUserRecoveryReissue;
    if ((params_.types & param_type::kZoned) != 0) wanted.features |= feature::kZoned;
    const bool is_lent = backend_.info().takes_lent_data && options_.disk.writable;
    if (is_lent) wanted.features |= kernel_features & feature::kAutoBufferRegistration;
    Outcome<DeviceInfo> added = control_->add(wanted);
    if (!added) return std::unexpected(std::move(added.error()));
    info_ = *added;
    Outcome<void> set = control_->set_params(info_.device, params_);
    if (!set) static_cast<void>(control_->remove(info_.device));
    return set;
}

/// A device with the wanted number exists: may it be taken over?
Outcome<void> UblkServer::find(const DeviceInfo& found) {
    const std::string name = fmt::format("ublk device {}", found.device);
    if (static_cast<DeviceState>(found.state) == DeviceState::dead) {
        return failure(fmt::format("{} is taken by one that was never started, or that is being "
                                   "stopped; if it stays, zbdkit ublk stop {} removes it",
                                   name, found.device),
                       Errc::not_supported);
    }
    if (process_lives(found.server_pid)) {
        return failure(fmt::format("{} is taken: process {} serves it", name, found.server_pid),
                       Errc::not_supported);
    }
    const std::string image = inflight_image(inflight_path(found.device));
    if (image.empty()) {
        return failure(fmt::format("{} has no server, and '{}' does not say what was in flight: "
                                   "stop it with zbdkit ublk stop {} --force",
                                   name, inflight_path(found.device), found.device),
                       Errc::corrupt);
    }
    if (image != options_.image) {
        return failure(fmt::format("{} is taken: it is of '{}', whose server died; expected that "
                                   "image, or zbdkit ublk stop {}",
                                   name, image, found.device),
                       Errc::not_supported);
    }
    const Outcome<Params> present = control_->params(found.device);
    if (!present) return std::unexpected(present.error());
    // Its limits stay, whatever is asked for now.
    options_.disk.max_io_bytes = std::uint64_t{present->basic.max_sectors} * kSectorSize;
    const Outcome<Params> own = make_params(backend_.info(), options_.disk);
    if (!own) return std::unexpected(own.error());
    if (Outcome<void> same = check_same_disk(*present, *own); !same) {
        return failure(fmt::format("{} is not of this disk: {}", name, same.error().message),
                       Errc::not_supported);
    }
    info_ = found;
    has_recovered_ = true;
    return control_->start_recovery(found.device);
}

Task<Outcome<void>> UblkServer::bring_up() {
    path_ = disk_path(info_.device);
    co_await ok(character_device_.open(server_path(info_.device)));
    co_await ok(open_inflight());
    device_ = std::make_unique<Device>(backend_, options_.disk, *inflight_, character_device_,
                                       [this] { return reactor_.now_ns(); });
    if (has_recovered_) {
        const Result<void> judged = co_await device_->recover();
        if (!judged) co_return failure(path_ + ": cannot tell what was written", judged.error());
    }
    co_await ok(make_queues());
    for (const std::unique_ptr<Queue>& queue : queues_) queue->start(tags_);
    const auto go_live = [this] {
        return has_recovered_ ? control_->end_recovery(info_.device)
                              : control_->start(info_.device);
    };
    co_return co_await call(go_live);
}

Outcome<void> UblkServer::open_inflight() {
    const InflightShape shape{info_.queue_count, info_.queue_depth, info_.device};
    const std::string path = inflight_path(info_.device);
    std::error_code error;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
    Outcome<Inflight> opened = has_recovered_ ? Inflight::take_over(path, shape)
                                              : Inflight::create(path, shape, options_.image);
    if (!opened) return std::unexpected(std::move(opened.error()));
    inflight_.emplace(std::move(*opened));
    return {};
}

Outcome<void> UblkServer::make_queues() {
    const unsigned tags = unsigned{info_.queue_count} * info_.queue_depth;
    if (!reactor_.engine().reserve_commands(tags)) {
        return failure(fmt::format("{} has {} requests in {} queue{}, and a thread serves {} at "
                                   "most, of all its disks: expected a smaller queue-size, or "
                                   "another iothread",
                                   path_, tags, info_.queue_count,
                                   info_.queue_count == 1 ? "" : "s", kMaxCommands),
                       Errc::not_supported);
    }
    reserved_ = tags;
    if (Outcome<void> taken = take_lent(); !taken) return taken;
    const QueueContext context{.reactor = reactor_,
                               .device = *device_,
                               .inflight = *inflight_,
                               .name = path_.c_str(),
                               .fd = character_device_.fd(),
                               .zeroes = zeroes_.get(),
                               .lent = lent_ ? &*lent_ : nullptr};
    for (std::uint16_t i = 0; i < info_.queue_count; ++i) {
        Outcome<std::unique_ptr<Queue>> queue =
            Queue::make(context, i, info_.queue_depth, options_.disk.max_io_bytes);
        if (!queue) return std::unexpected(std::move(queue.error()));
        queues_.push_back(std::move(*queue));
    }
    return {};
}

/// A device keeps what it was added with, so the server that goes on with one takes places as well,
/// whatever lies below its disk.
Outcome<void> UblkServer::take_lent() {
    if ((info_.features & feature::kAutoBufferRegistration) == 0) return {};
    const auto tags = static_cast<std::uint16_t>(reserved_);
    const Result<LentRange> taken = reactor_.engine().take_lent(tags, options_.disk.max_io_bytes);
    if (!taken) return failure(path_ + ": no places for its buffers", taken.error());
    lent_ = *taken;
    return {};
}

// --- Going away ---------------------------------------------------------------------------------

/// Notices that somebody else stopped the device.
Task<void> UblkServer::watch_tags() {
    co_await tags_.join();
    stopping_.set();
}

Task<Outcome<void>> UblkServer::run() {
    co_await stopping_.wait();
    co_return co_await take_away();
}

Task<Outcome<void>> UblkServer::take_away() {
    // Stopping waits for writes that the kernel still has, so the tags are served meanwhile.
    const auto stop_it = [this] { return control_->stop(info_.device); };
    const Outcome<void> stopped = co_await call(stop_it);
    if (!stopped) spdlog::error("{}", stopped.error().message);
    if (watch_.running() != 0) {
        co_await watch_.join();
    } else {
        co_await tags_.join();
    }
    queues_.clear();
    // In this order: once the device is closed its number may be free, and the file another's.
    if (inflight_) inflight_->remove();
    character_device_.close();
    const auto remove_it = [this]() -> Outcome<void> {
        const Outcome<bool> is_free = control_->remove(info_.device);
        if (!is_free) return std::unexpected(is_free.error());
        if (!*is_free) {
            spdlog::warn("{}: somebody has it open; number {} stays in use until then", path_,
                         info_.device);
        }
        return {};
    };
    co_return co_await call(remove_it);
}

Task<Outcome<void>> UblkServer::check_unused() {
    // Opening and closing a disk can make the kernel read and write it.
    const auto claim = [this]() -> Outcome<void> {
        const Outcome<UniqueFd> claimed = claim_disk(path_);
        if (!claimed) return std::unexpected(claimed.error());
        return {};
    };
    co_return co_await call(claim);
}

std::string UblkServer::description() const {
    const bool is_lent = lent_ && backend_.info().takes_lent_data;
    return fmt::format(
        "{} queue{} of {} requests, data {}", info_.queue_count, info_.queue_count == 1 ? "" : "s",
        info_.queue_depth,
        is_lent ? "written without a copy (AUTO_BUF_REG), read by USER_COPY" : "by USER_COPY");
}

ServerCounters UblkServer::counters() const {
    if (device_ == nullptr) return {};
    return {.refused = device_->refused(), .came_back = device_->came_back()};
}

}  // namespace

Outcome<std::unique_ptr<Server>> Server::make(Reactor& reactor, BlockBackend& backend,
                                              const ServerOptions& options) {
    Outcome<Params> params = make_params(backend.info(), options.disk);
    if (!params) return std::unexpected(std::move(params.error()));
    Outcome<std::unique_ptr<Control>> control = Control::open();
    if (!control) return std::unexpected(std::move(control.error()));
    UniqueFd zeroes(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
    if (!zeroes) return failure(fmt::format("cannot open '/dev/zero': {}", std::strerror(errno)));
    return std::unique_ptr<Server>(std::make_unique<UblkServer>(
        reactor, backend, options, *params, std::move(*control), std::move(zeroes)));
}

}  // namespace zbdkit::ublk
