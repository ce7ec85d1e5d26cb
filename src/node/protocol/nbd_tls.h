// SPDX-License-Identifier: Apache-2.0
// What TLS to an NBD server needs so that the server is checked. libnbd checks it by certificates
// only where it is given a folder with those to trust, and by its name only where the address has
// one: in all other cases it would take any server, and say nothing. Those cases are refused here.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "node/protocol/nbd_connection.h"

namespace zbdkit {

/// Whether address and options say enough; no file is looked at.
/// Errors: not_supported: an option without TLS, a user without a name, a server that could not be
///     checked.
[[nodiscard]] Outcome<void> check_tls_options(const NbdServer& server);

/// The folder with the certificates to trust: the one of the options, or that of the user or host.
/// @return "" where keys are shared, or there is no TLS
/// Errors: not_supported: there is none, or it has no ca-cert.pem that can be read.
/// Thread: any.   Waits: for the file system.
[[nodiscard]] Outcome<std::string> trusted_certificates(const NbdServer& server);

/// What would have been right, for the end of a message of libnbd.
/// @param text  what libnbd said
/// @return ": expected ..."; "" where it is not about TLS
[[nodiscard]] std::string tls_advice(const NbdServer& server, std::string_view text);

}  // namespace zbdkit
