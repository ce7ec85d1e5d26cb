// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/rbd_connection.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string_view>

#include "node/protocol/rbd_library.h"
#include "node/protocol/rbd_name.h"

namespace zbdkit {
namespace {

constexpr std::uint64_t kConnectTimeout = 10;
/// A cluster notices an OSD that has died after 20 s, and writes elsewhere some seconds later.
constexpr std::uint64_t kOpTimeout = 60;
constexpr std::uint64_t kLongestTimeout = 24 * 60 * 60;

/// The connections that may be shared. The images own them.
class Connections {
  public:
    [[nodiscard]] std::shared_ptr<RbdConnection> find(const std::string& key) {
        const std::lock_guard lock(mutex_);
        std::shared_ptr<RbdConnection> found = known_[key].lock();
        return found && !found->is_fenced() ? found : nullptr;
    }
    void put(const std::string& key, const std::shared_ptr<RbdConnection>& connection) {
        const std::lock_guard lock(mutex_);
        known_[key] = connection;
    }

  private:
    std::mutex mutex_;
    std::map<std::string, std::weak_ptr<RbdConnection>> known_;  // guarded by mutex_
};

Connections& connections() {
    static Connections all;
    return all;
}

/// What makes two images ask for the same client. No option holds a line's end.
std::string key_of(const RbdWish& wish) {
    return fmt::format("{}\n{}\n{}\n{}", wish.conf, wish.user, wish.connect_timeout_s,
                       wish.op_timeout_s);
}

std::string conf_name(const RbdWish& wish) {
    return wish.conf.empty() ? "the usual ceph.conf" : fmt::format("'{}'", wish.conf);
}

Outcome<void> read_configuration(RbdConnection& connection, const RbdWish& wish) {
    const char* const path = wish.conf.empty() ? nullptr : wish.conf.c_str();
    const int result = connection.library().rados_conf_read_file(connection.rados(), path);
    // Without a file in the usual places the connect says what is missing.
    if (result == 0 || wish.conf.empty()) return {};
    return rbd_failure(wish, fmt::format("option 'conf': cannot read '{}': {}", wish.conf,
                                         std::strerror(-result)));
}

Outcome<void> configure(RbdConnection& connection, const RbdWish& wish) {
    const auto set = [&connection](const char* name, const std::string& value) {
        return connection.library().rados_conf_set(connection.rados(), name, value.c_str());
    };
    const std::string connect_timeout = std::to_string(wish.connect_timeout_s);
    if (set("client_mount_timeout", connect_timeout) < 0 ||
        set("rados_mon_op_timeout", connect_timeout) < 0 ||
        set("rados_osd_op_timeout", std::to_string(wish.op_timeout_s)) < 0) {
        return rbd_failure(wish, "librados does not take its timeouts");
    }
    // A write that has completed is with the cluster: a cache here would be lost with this host.
    if (set("rbd_cache", "false") < 0) return rbd_failure(wish, "librbd does not take rbd_cache");
    // Not every version has these, and where they are absent so is what they switch off.
    static_cast<void>(set("rbd_persistent_cache_mode", "disabled"));
    // Whoever loses the lock must not be able to write any more.
    if (set("rbd_blocklist_on_break_lock", "true") < 0 &&
        set("rbd_blacklist_on_break_lock", "true") < 0) {
        return rbd_failure(wish, "librbd cannot fence the owner of a broken lock");
    }
    return {};
}

std::string user_name(const RbdWish& wish) { return wish.user.empty() ? "admin" : wish.user; }

/// What a user needs, as "ceph auth caps" takes it.
std::string needed_caps(const RbdWish& wish) {
    return fmt::format("mon 'profile rbd' osd 'profile {} pool={}'",
                       wish.read_only ? "rbd-read-only" : "rbd", wish.pool);
}

Outcome<void> connect(RbdConnection& connection, const RbdWish& wish) {
    const int result = connection.library().rados_connect(connection.rados());
    if (result == 0) return {};
    const std::string conf = conf_name(wish);
    const std::string user = user_name(wish);
    switch (-result) {
        case ETIMEDOUT:
            return rbd_failure(wish,
                               fmt::format("no monitor of the cluster in {} has answered within "
                                           "{} s (option 'connect-timeout')",
                                           conf, wish.connect_timeout_s));
        case ENOENT:
            return rbd_failure(wish, fmt::format("{} names no monitor of a cluster, or there is no "
                                                 "key of user '{}' (options 'conf', 'user')",
                                                 conf, user));
        case EACCES:
        case EPERM:
            return rbd_failure(
                wish,
                fmt::format("the cluster in {} does not let user '{}' in (options 'conf', 'user'): "
                            "expected the key that 'ceph auth get client.{}' shows in a keyring "
                            "of that configuration, and the capabilities {}",
                            conf, user, user, needed_caps(wish)));
        case EIO:
            return rbd_failure(wish, fmt::format("cannot connect to the cluster in {}: {}: "
                                                 "expected a whole key of user '{}' in a keyring",
                                                 conf, std::strerror(EIO), user));
        default:
            return rbd_failure(wish, fmt::format("cannot connect to the cluster in {}: {}", conf,
                                                 std::strerror(-result)));
    }
}

Outcome<std::shared_ptr<RbdConnection>> make_connection(const RbdWish& wish) {
    const Outcome<const RbdLibrary*> library = rbd_library();
    if (!library) return rbd_failure(wish, library.error().message, library.error().code);
    void* rados = nullptr;
    const char* const user = wish.user.empty() ? nullptr : wish.user.c_str();
    if (const int result = (*library)->rados_create(&rados, user); result < 0) {
        return rbd_failure(wish,
                           fmt::format("cannot make a client of Ceph: {}", std::strerror(-result)));
    }
    // Shared: by all images that ask for the same one.
    auto connection = std::make_shared<RbdConnection>(**library, rados);
    if (Outcome<void> read = read_configuration(*connection, wish); !read) {
        return std::unexpected(std::move(read.error()));
    }
    if (Outcome<void> configured = configure(*connection, wish); !configured) {
        return std::unexpected(std::move(configured.error()));
    }
    if (Outcome<void> connected = connect(*connection, wish); !connected) {
        return std::unexpected(std::move(connected.error()));
    }
    return connection;
}

}  // namespace

Outcome<RbdWish> rbd_wish_of(const OptionValues& options) {
    Outcome<std::string> pool = options.required_text("pool");
    if (!pool) return std::unexpected(std::move(pool.error()));
    Outcome<std::string> image = options.required_text("image");
    if (!image) return std::unexpected(std::move(image.error()));
    const Outcome<bool> read_only = options.flag("read-only", false);
    if (!read_only) return std::unexpected(read_only.error());
    const Outcome<bool> takeover = options.flag("force-takeover", false);
    if (!takeover) return std::unexpected(takeover.error());
    const Outcome<bool> own = options.flag("own-connection", false);
    if (!own) return std::unexpected(own.error());
    const auto connect = options.number("connect-timeout", kConnectTimeout, kLongestTimeout);
    if (!connect) return std::unexpected(connect.error());
    if (*connect == 0) {
        return failure("driver 'rbd': option 'connect-timeout' must not be 0: expected seconds",
                       Errc::not_supported);
    }
    const auto op = options.number("op-timeout", kOpTimeout, kLongestTimeout);
    if (!op) return std::unexpected(op.error());
    return RbdWish{.name = rbd_name_of(options),
                   .pool = std::move(*pool),
                   .name_space = options.text("namespace"),
                   .image = std::move(*image),
                   .snapshot = options.text("snapshot"),
                   .conf = options.text("conf"),
                   .user = options.text("user"),
                   .read_only = *read_only || options.has("snapshot"),
                   .force_takeover = *takeover,
                   .own_connection = *own,
                   .connect_timeout_s = *connect,
                   .op_timeout_s = *op};
}

std::unexpected<Failure> rbd_failure(const RbdWish& wish, std::string_view problem, Errc code) {
    return failure(fmt::format("'{}': {}", wish.name, problem), code);
}

std::string rbd_problem(const RbdWish& wish, int result) {
    switch (-result) {
        case ETIMEDOUT:
            return fmt::format("the cluster has not answered within {} s (option 'op-timeout')",
                               wish.op_timeout_s);
        case EACCES:
        case EPERM:
            return fmt::format(
                "the cluster does not allow it to user '{}': expected the capabilities {}",
                user_name(wish), needed_caps(wish));
        default: return std::strerror(-result);
    }
}

Outcome<std::shared_ptr<RbdConnection>> RbdConnection::get(const RbdWish& wish) {
    if (wish.own_connection) return make_connection(wish);
    const std::string key = key_of(wish);
    if (std::shared_ptr<RbdConnection> found = connections().find(key)) return found;
    // Not under a lock: a cluster that does not answer must not hold up the others.
    Outcome<std::shared_ptr<RbdConnection>> made = make_connection(wish);
    if (!made) return made;
    if (std::shared_ptr<RbdConnection> found = connections().find(key)) return found;
    connections().put(key, *made);
    return made;
}

std::string RbdConnection::address() {
    char* text = nullptr;
    if (library_.rados_getaddrs(rados_, &text) < 0) return "";
    const std::unique_ptr<char, decltype(&std::free)> owned(text, &std::free);
    return owned ? owned.get() : "";
}

RbdConnection::~RbdConnection() { library_.rados_shutdown(rados_); }

Outcome<RbdPool> RbdPool::open(std::shared_ptr<RbdConnection> connection, const RbdWish& wish) {
    const RbdLibrary& library = connection->library();
    void* io = nullptr;
    const int result = library.rados_ioctx_create(connection->rados(), wish.pool.c_str(), &io);
    if (result == -ENOENT) {
        return rbd_failure(wish, fmt::format("the cluster has no pool '{}'", wish.pool));
    }
    if (result < 0) {
        return rbd_failure(
            wish, fmt::format("cannot open pool '{}': {}", wish.pool, rbd_problem(wish, result)));
    }
    if (!wish.name_space.empty()) library.rados_ioctx_set_namespace(io, wish.name_space.c_str());
    return RbdPool(std::move(connection), io);
}

RbdPool::~RbdPool() {
    if (io_ != nullptr) connection_->library().rados_ioctx_destroy(io_);
}

}  // namespace zbdkit
