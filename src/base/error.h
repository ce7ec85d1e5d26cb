// SPDX-License-Identifier: Apache-2.0
// Errors are values. Result<T> is for paths that a request takes: its Error is 16 bytes, trivially
// copyable and never allocates. Outcome<T> is for what a person waits for (open, create, options):
// its Failure carries a message. Neither is ever thrown.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace zbdkit {

/// What the caller of a failed request can do about it. A value exists only if some caller acts
/// on it; the mapping to virtio, ublk and errno is made once, where the error leaves the process.
enum class Errc : std::uint8_t {
    io = 1,             ///< the medium or the transport failed
    no_space,           ///< the storage below is full
    read_only,          ///< the node refuses writes
    out_of_range,       ///< beyond the end of the device
    misaligned,         ///< offset or length is no multiple of the block size
    not_supported,      ///< this node cannot do this operation
    zone_invalid,       ///< type, state or range of the zone forbids it
    zone_unaligned_wp,  ///< a write that does not start at the write pointer, or off granularity
    zone_open_limit,    ///< max_open_zones would be exceeded
    zone_active_limit,  ///< max_active_zones would be exceeded
    corrupt,            ///< metadata contradicts itself or its checksum
    shutting_down,      ///< the node is being closed
};

/// Stable lower-case name, for logs and JSON.
[[nodiscard]] const char* errc_name(Errc code);

/// True for what the storage is to blame for, and not whoever asked.
[[nodiscard]] bool is_storage_failure(Errc code);

/// An error on the data path. `text` points to static storage and says what was found.
struct Error {
    Errc code = Errc::io;
    std::int32_t os_errno = 0;  ///< positive errno of the host call behind it, 0 if there is none
    const char* text = "";
};
static_assert(sizeof(Error) == 16 && std::is_trivially_copyable_v<Error>);

template <class T>
using Result = std::expected<T, Error>;

/// Shorthand for returning an error: `return fail(Errc::zone_invalid, "zone is full");`
[[nodiscard]] inline std::unexpected<Error> fail(Errc code, const char* text,
                                                 std::int32_t os_errno = 0) {
    return std::unexpected(Error{code, os_errno, text});
}

/// The error for a failed host call.
/// @param os_errno  positive errno
[[nodiscard]] Error error_from_errno(std::int32_t os_errno, const char* text);

/// The errno that says the same to a program of the host: the one of the host call behind the
/// error, or what Linux answers of a device in that situation (ETOOMANYREFS at the open limit, EIO
/// for what a zone forbids).
/// @return positive errno
[[nodiscard]] std::int32_t errno_of(const Error& error);

/// One line for people: "zone is full (zone_invalid)" with strerror text if there is an errno.
[[nodiscard]] std::string describe(const Error& error);

/// A failure that a person reads: what failed, on which file or option, what was expected.
/// Lower case, no full stop.
struct Failure {
    std::string message;
    Errc code = Errc::io;
};

template <class T>
using Outcome = std::expected<T, Failure>;

[[nodiscard]] inline std::unexpected<Failure> failure(std::string message, Errc code = Errc::io) {
    return std::unexpected(Failure{std::move(message), code});
}

/// Turns a data-path error into a failure: "<what>: <describe(error)>".
[[nodiscard]] std::unexpected<Failure> failure(std::string_view what, const Error& error);

}  // namespace zbdkit
