// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/nbd.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "node/protocol/nbd_node.h"
#include "node/protocol/nbd_tls.h"

namespace zbdkit {
namespace {

constexpr std::array kOptions = {
    OptionInfo{"uri", "URI",
               "nbd://HOST[:PORT]/EXPORT, or nbd+unix:///EXPORT?socket=PATH; nbds for TLS"},
    OptionInfo{"export", "NAME", "the export, instead of the one in the URI"},
    OptionInfo{"read-only", "on|off", "open for reading only (default off)"},
    OptionInfo{"connections", "N",
               "most connections, of a server that allows several (default 4, up to 16)"},
    OptionInfo{"connect-timeout", "SECONDS",
               "how long the server may take to connect (default 10)"},
    OptionInfo{"request-timeout", "SECONDS",
               "how long the server may take to answer; then it is lost (default 0: no limit)"},
    OptionInfo{"reconnect-delay", "SECONDS",
               "how long to try to connect again to a server that is lost, while requests wait "
               "(default 0: they fail at once)"},
    OptionInfo{"tls-certificates", "FOLDER",
               "certificates for TLS: ca-cert.pem at least (default: the user's or host's)"},
    OptionInfo{"tls-username", "NAME", "the user's name for TLS"},
    OptionInfo{"tls-psk-file", "PATH", "keys shared with the server, for TLS without certificates"},
};

constexpr std::uint64_t kMostConnections = 16;
constexpr std::uint64_t kMostConnectSeconds = 3600;
constexpr std::uint64_t kMostSeconds = 86'400;
constexpr std::uint64_t kSecond = 1'000'000'000;

constexpr std::array<std::string_view, 6> kSchemes = {
    "nbd://", "nbd+unix://", "nbd+vsock://", "nbds://", "nbds+unix://", "nbds+vsock://",
};

Outcome<void> check_uri(const std::string& uri) {
    const auto begins = [&uri](std::string_view scheme) { return uri.starts_with(scheme); };
    if (std::ranges::none_of(kSchemes, begins)) {
        return failure(fmt::format("driver 'nbd': option 'uri': '{}' is no NBD address: expected "
                                   "nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH, "
                                   "with nbds instead of nbd for TLS",
                                   uri),
                       Errc::not_supported);
    }
    return {};
}

/// A number from 1 up.
Outcome<std::uint64_t> at_least_one(const OptionValues& options, std::string_view name,
                                    std::uint64_t otherwise, std::uint64_t most) {
    Outcome<std::uint64_t> number = options.number(name, otherwise, most);
    if (number && *number == 0) {
        return failure(fmt::format("driver 'nbd': option '{}': expected 1 to {}", name, most),
                       Errc::not_supported);
    }
    return number;
}

Task<Outcome<std::unique_ptr<BlockNode>>> open_nbd(OpenContext& context,
                                                   const OptionValues& options,
                                                   ChildNodes& /*children*/) {
    NbdNodeSettings settings;
    NbdServer& server = settings.server;
    server.uri = co_await ok(options.required_text("uri"));
    co_await ok(check_uri(server.uri));
    if (options.has("export")) server.export_name = options.text("export");
    server.tls_certificates = options.text("tls-certificates");
    server.tls_username = options.text("tls-username");
    server.tls_psk_file = options.text("tls-psk-file");
    co_await ok(check_tls_options(server));
    settings.read_only = co_await ok(options.flag("read-only", false));
    settings.most_connections =
        co_await ok(at_least_one(options, "connections", 4, kMostConnections));
    const std::uint64_t connect_timeout =
        co_await ok(at_least_one(options, "connect-timeout", 10, kMostConnectSeconds));
    server.connect_timeout_ns = connect_timeout * kSecond;
    const std::uint64_t request_timeout =
        co_await ok(options.number("request-timeout", 0, kMostSeconds));
    server.request_timeout_ns = request_timeout * kSecond;
    const std::uint64_t reconnect_delay =
        co_await ok(options.number("reconnect-delay", 0, kMostSeconds));
    settings.reconnect_delay_ns = reconnect_delay * kSecond;
    co_return co_await open_nbd_node(context, std::move(settings));
}

}  // namespace

const DriverInfo kNbdDriver = {
    "nbd", DriverKind::protocol, "an export of an NBD server", kOptions, {}, open_nbd};

}  // namespace zbdkit
