// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/rbd_name.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

namespace zbdkit {
namespace {

constexpr std::string_view kScheme = "rbd:";

std::unexpected<Failure> bad_name(std::string_view name, std::string_view problem) {
    return failure(fmt::format("'{}': {}: expected rbd:POOL/IMAGE[@SNAPSHOT][:id=USER][:conf=PATH]",
                               name, problem),
                   Errc::not_supported);
}

/// A part of a name, and what ended it.
struct Part {
    std::string text;
    char end = '\0';  ///< one of the characters asked for, or '\0' for the end of the name
};

/// Takes the next part off the front of `rest`, without its backslashes.
Part take_part(std::string_view& rest, std::string_view ends) {
    Part part;
    while (!rest.empty()) {
        const char c = rest.front();
        rest.remove_prefix(1);
        if (c == '\\' && !rest.empty()) {
            part.text += rest.front();
            rest.remove_prefix(1);
            continue;
        }
        if (ends.find(c) != std::string_view::npos) {
            part.end = c;
            return part;
        }
        part.text += c;
    }
    return part;
}

/// "id=USER" or "conf=PATH".
Outcome<void> set_option(OptionValues& options, std::string_view name, const std::string& text) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos) return bad_name(name, fmt::format("'{}' has no '='", text));
    const std::string key = text.substr(0, equals);
    const std::string value = text.substr(equals + 1);
    if (value.empty()) return bad_name(name, fmt::format("'{}' has no value", key));
    if (key == "id") return options.set("user", value);
    if (key == "conf") return options.set("conf", value);
    return bad_name(name, fmt::format("option '{}' is not known here", key));
}

}  // namespace

bool is_rbd_name(std::string_view text) { return text.starts_with(kScheme); }

Outcome<OptionValues> parse_rbd_name(std::string_view name) {
    std::string_view rest = name.substr(kScheme.size());
    std::vector<std::string> path;  // pool, then perhaps a namespace, then the image
    Part part;
    do {
        part = take_part(rest, "/@:");
        path.push_back(part.text);
    } while (part.end == '/');
    if (path.size() < 2) return bad_name(name, "no image is named");
    if (path.size() > 3) return bad_name(name, "too many parts");
    for (const std::string& one : path) {
        if (one.empty()) return bad_name(name, "a part is empty");
    }
    OptionValues options("node options");
    options.replace("driver", "rbd");
    options.replace("pool", path.front());
    if (path.size() == 3) options.replace("namespace", path[1]);
    options.replace("image", path.back());
    if (part.end == '@') {
        part = take_part(rest, ":");
        if (part.text.empty()) return bad_name(name, "a part is empty");
        options.replace("snapshot", part.text);
    }
    while (part.end == ':') {
        part = take_part(rest, ":");
        if (Outcome<void> set = set_option(options, name, part.text); !set) {
            return std::unexpected(std::move(set.error()));
        }
    }
    return options;
}

std::string rbd_name_of(const OptionValues& options) {
    std::string name = fmt::format("{}{}/", kScheme, options.text("pool"));
    if (options.has("namespace")) name += options.text("namespace") + "/";
    name += options.text("image");
    if (options.has("snapshot")) name += "@" + options.text("snapshot");
    return name;
}

}  // namespace zbdkit
