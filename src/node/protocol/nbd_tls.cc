// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/nbd_tls.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <utility>
#include <vector>

namespace zbdkit {
namespace {

constexpr std::string_view kAuthorityFile = "ca-cert.pem";

bool contains(std::string_view text, std::string_view part) {
    return text.find(part) != std::string_view::npos;
}

/// The part of an address between its scheme and its path: a user, a host, a port.
std::string_view authority_of(std::string_view uri) {
    const std::size_t mark = uri.find("://");
    if (mark == std::string_view::npos) return {};
    const std::string_view rest = uri.substr(mark + 3);
    return rest.substr(0, rest.find_first_of("/?"));
}

Outcome<void> refuse(std::string message) {
    return failure("driver 'nbd': " + std::move(message), Errc::not_supported);
}

bool has_authority(const std::string& folder) {
    return ::access(fmt::format("{}/{}", folder, kAuthorityFile).c_str(), R_OK) == 0;
}

/// Where libnbd and other programs look too.
std::vector<std::string> usual_folders() {
    std::vector<std::string> folders;
    const char* const home = std::getenv("HOME");
    if (home != nullptr) {
        folders.push_back(fmt::format("{}/.pki/libnbd", home));
        folders.push_back(fmt::format("{}/.config/pki/libnbd", home));
    }
    folders.emplace_back("/etc/pki/libnbd");
    return folders;
}

}  // namespace

Outcome<void> check_tls_options(const NbdServer& server) {
    const std::array<std::pair<std::string_view, const std::string&>, 3> only_tls = {{
        {"tls-certificates", server.tls_certificates},
        {"tls-username", server.tls_username},
        {"tls-psk-file", server.tls_psk_file},
    }};
    for (const auto& [name, value] : only_tls) {
        if (value.empty() || server.has_tls()) continue;
        return refuse(
            fmt::format("option '{}' is for TLS, and '{}' has none: expected nbds "
                        "instead of nbd",
                        name, server.uri));
    }
    if (!server.has_tls()) return {};
    const bool has_keys = !server.tls_psk_file.empty();
    const bool names_user = !server.tls_username.empty() || contains(authority_of(server.uri), "@");
    if (has_keys && !names_user) {
        return refuse(
            fmt::format("option 'tls-psk-file' has keys of users, and '{}' names none: "
                        "expected option 'tls-username'",
                        server.uri));
    }
    if (!has_keys && !server.uri.starts_with("nbds://")) {
        return refuse(
            fmt::format("'{}' has no host whose certificate could be checked: expected "
                        "option 'tls-psk-file', or nbds://HOST",
                        server.uri));
    }
    return {};
}

Outcome<std::string> trusted_certificates(const NbdServer& server) {
    if (!server.has_tls() || !server.tls_psk_file.empty()) return std::string();
    const std::string& given = server.tls_certificates;
    if (!given.empty()) {
        if (has_authority(given)) return given;
        return failure(fmt::format("option 'tls-certificates': '{}/{}' cannot be read: expected "
                                   "the certificates of who vouches for the server",
                                   given, kAuthorityFile),
                       Errc::not_supported);
    }
    for (const std::string& folder : usual_folders()) {
        if (has_authority(folder)) return folder;
    }
    return failure(fmt::format("there is nothing to check the server with: expected option "
                               "'tls-certificates', a folder with {}, or 'tls-psk-file'",
                               kAuthorityFile),
                   Errc::not_supported);
}

std::string tls_advice(const NbdServer& server, std::string_view text) {
    if (!server.has_tls()) {
        return contains(text, "requires TLS") ? ": expected nbds instead of nbd" : "";
    }
    if (contains(text, "refused TLS")) return ": expected a server with TLS";
    if (!contains(text, "gnutls")) return "";
    if (!server.tls_psk_file.empty()) {
        return fmt::format(": expected a server that has the key of '{}' for the same user",
                           server.tls_psk_file);
    }
    if (contains(text, "certificate verification")) {
        return fmt::format(
            ": expected a certificate for the host of the address that is valid "
            "now, and that {} vouches for",
            kAuthorityFile);
    }
    return ": expected a server with certificates, that accepts client-cert.pem if it asks for one";
}

}  // namespace zbdkit
