// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/rbd_image.h"

#include <fmt/format.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "node/protocol/rbd_library.h"

namespace zbdkit {
namespace {

/// Owners and watchers that are looked at; an image open for writing has one of each, and a few
/// more watchers while somebody looks at it.
constexpr std::size_t kMostClients = 256;
/// Options of an image that are looked at; Ceph 16 has some ninety.
constexpr int kMostOptions = 4096;
/// How long a question may take that nobody depends on.
constexpr std::uint64_t kPatience = 10;  // seconds

// --- Who has the lock ---------------------------------------------------------------------------

/// The address of the lock's owner, alive or not, or "" if nobody has it.
std::string owner_of(const RbdLibrary& library, void* image) {
    std::vector<char*> owners(kMostClients);
    std::size_t count = owners.size();
    rbd_lock_mode_t mode = RBD_LOCK_MODE_EXCLUSIVE;
    if (library.lock_get_owners(image, &mode, owners.data(), &count) < 0 || count == 0) return "";
    std::string owner = owners.front();
    library.lock_get_owners_cleanup(owners.data(), count);
    return owner;
}

/// Whether a client of that address still watches the image. If it does not, it is gone, and the
/// cluster hands its lock to whoever asks, after it has fenced it.
bool is_alive(const RbdLibrary& library, void* image, const std::string& address) {
    std::vector<rbd_image_watcher_t> watchers(kMostClients);
    std::size_t count = watchers.size();
    if (library.watchers_list(image, watchers.data(), &count) < 0) return true;  // for all we know
    const auto end = watchers.begin() + static_cast<std::ptrdiff_t>(count);
    const bool found = std::any_of(
        watchers.begin(), end,
        [&address](const rbd_image_watcher_t& watcher) { return address == watcher.addr; });
    library.watchers_list_cleanup(watchers.data(), count);
    return found;
}

std::string image_title(const RbdWish& wish) {
    return wish.snapshot.empty()
               ? fmt::format("image '{}'", wish.image)
               : fmt::format("image '{}' with snapshot '{}'", wish.image, wish.snapshot);
}

std::string pool_title(const RbdWish& wish) {
    return wish.name_space.empty()
               ? fmt::format("pool '{}'", wish.pool)
               : fmt::format("namespace '{}' of pool '{}'", wish.name_space, wish.pool);
}

}  // namespace

// --- Opening ------------------------------------------------------------------------------------

Outcome<std::unique_ptr<RbdImage>> RbdImage::open(const RbdWish& wish) {
    bool is_fenced = false;
    Outcome<std::unique_ptr<RbdImage>> image = attempt(wish, is_fenced);
    if (!is_fenced) return image;
    // A shared client that was fenced off while it had nothing to do. It is not shared any more.
    return attempt(wish, is_fenced);
}

Outcome<std::unique_ptr<RbdImage>> RbdImage::attempt(const RbdWish& wish, bool& is_fenced) {
    is_fenced = false;
    Outcome<std::shared_ptr<RbdConnection>> connection = RbdConnection::get(wish);
    if (!connection) return std::unexpected(std::move(connection.error()));
    Outcome<RbdPool> pool = RbdPool::open(std::move(*connection), wish);
    if (!pool) return std::unexpected(std::move(pool.error()));
    std::unique_ptr<RbdImage> image(new RbdImage(std::move(*pool), wish));
    const int result = image->open_handle();
    if (result == -ESHUTDOWN) {
        is_fenced = true;
        image->connection().set_fenced();
        return rbd_failure(wish, "the cluster has fenced this client off");
    }
    if (result == -ENOENT) {
        return rbd_failure(
            wish, fmt::format("there is no {} in {}", image_title(wish), pool_title(wish)));
    }
    if (result < 0) return rbd_failure(wish, rbd_problem(wish, result));
    if (Outcome<void> ready = image->set_up(); !ready) {
        return std::unexpected(std::move(ready.error()));
    }
    return image;
}

int RbdImage::open_handle() {
    const char* const snapshot = wish_.snapshot.empty() ? nullptr : wish_.snapshot.c_str();
    const auto open = wish_.read_only ? library().open_read_only : library().open;
    void* image = nullptr;
    const int result = open(pool_.io(), wish_.image.c_str(), &image, snapshot);
    if (result == 0) image_ = image;
    return result;
}

Outcome<void> RbdImage::set_up() {
    if (!wish_.read_only) {
        if (Outcome<void> locked = take_lock(); !locked) return locked;
    }
    event_fd_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!event_fd_) {
        return rbd_failure(wish_, fmt::format("cannot make an eventfd: {}", std::strerror(errno)));
    }
    int result = library().set_image_notification(image_, event_fd_.get(), EVENT_TYPE_EVENTFD);
    if (result < 0) return rbd_failure(wish_, rbd_problem(wish_, result));
    // Before the size is read, so that no change goes unnoticed. A client that only reads is not
    // told of any.
    result = library().update_watch(image_, &watch_, &note_change, this);
    if (result < 0) return rbd_failure(wish_, rbd_problem(wish_, result));
    has_watch_ = true;
    const Result<std::uint64_t> size = size_now();
    if (!size) return rbd_failure(wish_, describe(size.error()));
    size_ = *size;
    has_cache_ = find_cache();
    return {};
}

void RbdImage::note_change(void* image) {
    RbdImage& self = *static_cast<RbdImage*>(image);
    self.changed_ = true;
    // Fails only where it is readable already.
    static_cast<void>(::eventfd_write(self.event_fd_.get(), 1));
}

Result<std::uint64_t> RbdImage::size_now() {
    std::uint64_t size = 0;
    const int result = library().get_size(image_, &size);
    if (result < 0) {
        return std::unexpected(error_from_errno(-result, "cannot ask for the size of the image"));
    }
    return size;
}

bool RbdImage::find_cache() {
    int count = 0;
    if (library().config_image_list(image_, nullptr, &count) != -ERANGE || count > kMostOptions) {
        return true;  // for all we know
    }
    std::vector<rbd_config_option_t> options(static_cast<std::size_t>(count));
    if (library().config_image_list(image_, options.data(), &count) < 0) return true;
    const bool found = std::ranges::any_of(options, [](const rbd_config_option_t& option) {
        const std::string_view name = option.name;
        const std::string_view value = option.value;
        return (name == "rbd_cache" && value != "false") ||
               (name == "rbd_persistent_cache_mode" && value != "disabled");
    });
    library().config_image_list_cleanup(options.data(), count);
    return found;
}

// --- The lock -----------------------------------------------------------------------------------

std::unexpected<Failure> RbdImage::taken_by(const std::string& owner) const {
    return rbd_failure(wish_,
                       fmt::format("in use by the client at {}: if that has died, its lock is free "
                                   "once the cluster has missed it for some 30 s; "
                                   "force-takeover=on takes it now and cuts that client off",
                                   owner.empty() ? "an unknown address" : owner));
}

Outcome<void> RbdImage::take_lock() {
    std::uint64_t features = 0;
    if (const int result = library().get_features(image_, &features); result < 0) {
        return rbd_failure(wish_, rbd_problem(wish_, result));
    }
    if ((features & RBD_FEATURE_EXCLUSIVE_LOCK) == 0) {
        return rbd_failure(wish_,
                           fmt::format("the image has no exclusive lock, so nothing would keep "
                                       "other writers off it: rbd feature enable {} exclusive-lock",
                                       wish_.name.substr(std::string_view("rbd:").size())),
                           Errc::not_supported);
    }
    // Before the lock is asked for: a client that takes it for each write, as QEMU's does, would
    // hand it over and lose its disk.
    const std::string owner = owner_of(library(), image_);
    // To break that lock would be to cut ourselves off.
    if (!owner.empty() && owner == connection().address()) {
        return rbd_failure(wish_, "this process has the image open for writing already");
    }
    if (!owner.empty() && is_alive(library(), image_, owner)) {
        if (!wish_.force_takeover) return taken_by(owner);
        if (Outcome<void> broken = break_lock(owner); !broken) return broken;
    }
    const int result = library().lock_acquire(image_, RBD_LOCK_MODE_EXCLUSIVE);
    if (result == 0) return {};
    // Somebody else was faster.
    if (result == -EROFS) return taken_by(owner_of(library(), image_));
    return rbd_failure(wish_, fmt::format("cannot lock the image: {}", rbd_problem(wish_, result)));
}

Outcome<void> RbdImage::break_lock(const std::string& owner) {
    const int result = library().lock_break(image_, RBD_LOCK_MODE_EXCLUSIVE, owner.c_str());
    if (result == -ENOENT) return {};  // it went by itself
    if (result < 0) {
        return rbd_failure(wish_, fmt::format("cannot break the lock of the client at {}: {}",
                                              owner, rbd_problem(wish_, result)));
    }
    spdlog::warn("'{}': taken from the client at {}, which is cut off now", wish_.name, owner);
    return {};
}

// --- Closing ------------------------------------------------------------------------------------

RbdImage::~RbdImage() { static_cast<void>(close()); }

Outcome<void> RbdImage::close() {
    if (image_ == nullptr) return {};
    if (has_watch_) static_cast<void>(library().update_unwatch(image_, watch_));
    const int result = library().close(std::exchange(image_, nullptr));
    // Who was fenced has said so, and has nothing left to give back.
    if (result == 0 || result == -ESHUTDOWN || connection().is_fenced()) return {};
    return rbd_failure(wish_,
                       fmt::format("cannot close the image: {}", rbd_problem(wish_, result)));
}

// --- Without an open image ----------------------------------------------------------------------

std::string rbd_lock_owner(RbdWish wish) {
    wish.own_connection = true;
    wish.connect_timeout_s = std::min(wish.connect_timeout_s, kPatience);
    wish.op_timeout_s = kPatience;
    Outcome<std::shared_ptr<RbdConnection>> connection = RbdConnection::get(wish);
    if (!connection) return "";
    Outcome<RbdPool> pool = RbdPool::open(std::move(*connection), wish);
    if (!pool) return "";
    const RbdLibrary& library = pool->connection().library();
    // For writing, though nothing is written: one that only reads is not told of locks.
    void* image = nullptr;
    if (library.open(pool->io(), wish.image.c_str(), &image, nullptr) < 0) return "";
    std::string owner = owner_of(library, image);
    static_cast<void>(library.close(image));
    return owner;
}

Outcome<bool> create_image(const RbdWish& wish, std::uint64_t size) {
    Outcome<std::shared_ptr<RbdConnection>> connection = RbdConnection::get(wish);
    if (!connection) return std::unexpected(std::move(connection.error()));
    Outcome<RbdPool> pool = RbdPool::open(std::move(*connection), wish);
    if (!pool) return std::unexpected(std::move(pool.error()));
    const RbdLibrary& library = pool->connection().library();
    rbd_image_options_t options = nullptr;
    library.image_options_create(&options);
    int result = library.image_options_set_uint64(options, RBD_IMAGE_OPTION_FEATURES_SET,
                                                  RBD_FEATURE_EXCLUSIVE_LOCK);
    if (result == 0) result = library.create4(pool->io(), wish.image.c_str(), size, options);
    library.image_options_destroy(options);
    if (result == 0) return true;
    if (result == -EEXIST) return false;
    if (result == -ENOENT && !wish.name_space.empty()) {
        return rbd_failure(wish, fmt::format("cannot create it: there is no {}", pool_title(wish)));
    }
    return rbd_failure(wish, fmt::format("cannot create it: {}", rbd_problem(wish, result)));
}

}  // namespace zbdkit
