// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/rbd.h"

#include <array>
#include <memory>
#include <optional>
#include <utility>

#include "node/protocol/rbd_connection.h"
#include "node/protocol/rbd_image.h"
#include "node/protocol/rbd_node.h"

namespace zbdkit {
namespace {

constexpr std::array kOptions = {
    OptionInfo{"pool", "NAME", "the pool that has the image"},
    OptionInfo{"image", "NAME", "the image"},
    OptionInfo{"namespace", "NAME", "the namespace of the pool (default: the pool's own)"},
    OptionInfo{"snapshot", "NAME", "a snapshot of the image, for reading only"},
    OptionInfo{"conf", "PATH", "the cluster's ceph.conf (default: that of the host)"},
    OptionInfo{"user", "ID", "who asks, without \"client.\" (default admin)"},
    OptionInfo{"read-only", "on|off", "open for reading only, without the lock (default off)"},
    OptionInfo{"connect-timeout", "SECONDS", "how long to wait for the cluster (default 10)"},
    OptionInfo{"op-timeout", "SECONDS",
               "how long to wait for a request's answer; 0 waits for ever (default 60)"},
    OptionInfo{"force-takeover", "on|off",
               "take the lock of an image in use, and cut its user off (default off)"},
    OptionInfo{"own-connection", "on|off",
               "share no client of the cluster with other images (default off)"},
};

Task<Outcome<std::unique_ptr<BlockNode>>> open_rbd(OpenContext& context,
                                                   const OptionValues& options,
                                                   ChildNodes& /*children*/) {
    const RbdWish wish = co_await ok(rbd_wish_of(options));
    std::optional<Outcome<std::unique_ptr<RbdImage>>> opened;
    BlockingPool::Call call =
        context.pool.run(context.reactor, [&wish, &opened] { opened = RbdImage::open(wish); });
    co_await call;
    std::unique_ptr<RbdImage> image = co_await ok(std::move(*opened));
    co_return make_rbd_node(context, std::move(image));
}

Task<Outcome<bool>> create_rbd(OpenContext& context, const OptionValues& options,
                               std::uint64_t size) {
    const RbdWish wish = co_await ok(rbd_wish_of(options));
    Outcome<bool> created = false;
    BlockingPool::Call call = context.pool.run(
        context.reactor, [&wish, size, &created] { created = create_image(wish, size); });
    co_await call;
    co_return created;
}

}  // namespace

const DriverInfo kRbdDriver = {
    "rbd",     DriverKind::protocol, "an image in a Ceph cluster", kOptions, {}, open_rbd, {},
    create_rbd};

}  // namespace zbdkit
