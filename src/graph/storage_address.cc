// SPDX-License-Identifier: Apache-2.0
#include "graph/storage_address.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "node/protocol/rbd_name.h"

namespace zbdkit {
namespace {

/// What driver "nbd" takes whole.
constexpr std::array<std::string_view, 4> kNbdSchemes = {"nbd://", "nbd+unix://", "nbds://",
                                                         "nbds+unix://"};

bool is_nbd_uri(std::string_view text) {
    return std::ranges::any_of(
        kNbdSchemes, [text](std::string_view scheme) { return text.starts_with(scheme); });
}

}  // namespace

bool is_storage_address(std::string_view text) { return is_nbd_uri(text) || is_rbd_name(text); }

Outcome<OptionValues> storage_options(const std::string& address) {
    if (is_rbd_name(address)) return parse_rbd_name(address);
    OptionValues options("node options");
    options.replace("driver", "nbd");
    options.replace("uri", address);
    return options;
}

void put_below(OptionValues& options, std::string_view child, const OptionValues& below) {
    for (const auto& [key, value] : below.items()) {
        options.replace(fmt::format("{}.{}", child, key), value);
    }
}

}  // namespace zbdkit
