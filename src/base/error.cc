// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"

#include <cerrno>
#include <system_error>
#include <utility>

namespace zbdkit {

const char* errc_name(Errc code) {
    switch (code) {
        case Errc::io: return "io";
        case Errc::no_space: return "no_space";
        case Errc::read_only: return "read_only";
        case Errc::out_of_range: return "out_of_range";
        case Errc::misaligned: return "misaligned";
        case Errc::not_supported: return "not_supported";
        case Errc::zone_invalid: return "zone_invalid";
        case Errc::zone_unaligned_wp: return "zone_unaligned_wp";
        case Errc::zone_open_limit: return "zone_open_limit";
        case Errc::zone_active_limit: return "zone_active_limit";
        case Errc::corrupt: return "corrupt";
        case Errc::shutting_down: return "shutting_down";
    }
    return "unknown";
}

bool is_storage_failure(Errc code) {
    switch (code) {
        case Errc::io:
        case Errc::no_space:
        case Errc::corrupt: return true;
        case Errc::read_only:
        case Errc::out_of_range:
        case Errc::misaligned:
        case Errc::not_supported:
        case Errc::zone_invalid:
        case Errc::zone_unaligned_wp:
        case Errc::zone_open_limit:
        case Errc::zone_active_limit:
        case Errc::shutting_down: return false;
    }
    return true;
}

Error error_from_errno(std::int32_t os_errno, const char* text) {
    switch (os_errno) {
        case ENOSPC:
        case EDQUOT: return {Errc::no_space, os_errno, text};
        case EROFS:
        case EPERM: return {Errc::read_only, os_errno, text};
        case EOPNOTSUPP:
        case ENOTTY:
        case ENOSYS: return {Errc::not_supported, os_errno, text};
        case ETOOMANYREFS: return {Errc::zone_open_limit, os_errno, text};
        case EOVERFLOW: return {Errc::zone_active_limit, os_errno, text};
        default: return {Errc::io, os_errno, text};
    }
}

std::int32_t errno_of(const Error& error) {
    if (error.os_errno != 0) return error.os_errno;
    switch (error.code) {
        case Errc::no_space: return ENOSPC;
        case Errc::read_only: return EPERM;
        case Errc::misaligned: return EINVAL;
        case Errc::not_supported: return EOPNOTSUPP;
        case Errc::zone_open_limit: return ETOOMANYREFS;
        case Errc::zone_active_limit: return EOVERFLOW;
        case Errc::io:
        case Errc::out_of_range:
        case Errc::zone_invalid:
        case Errc::zone_unaligned_wp:
        case Errc::corrupt:
        case Errc::shutting_down: return EIO;
    }
    return EIO;
}

std::string describe(const Error& error) {
    std::string line = error.text;
    if (error.os_errno != 0) {
        if (!line.empty()) line += ": ";
        line += std::generic_category().message(error.os_errno);
    }
    if (line.empty()) line = errc_name(error.code);
    return line;
}

std::unexpected<Failure> failure(std::string_view what, const Error& error) {
    return std::unexpected(Failure{std::string(what) + ": " + describe(error), error.code});
}

}  // namespace zbdkit
