// SPDX-License-Identifier: Apache-2.0
#include "base/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/text.h"

namespace zbdkit {
namespace {

/// Splits at single commas; a doubled comma stands for one comma.
std::vector<std::string> split_items(std::string_view text) {
    std::vector<std::string> items(1);
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != ',') {
            items.back() += text[i];
        } else if (i + 1 < text.size() && text[i + 1] == ',') {
            items.back() += ',';
            ++i;
        } else {
            items.emplace_back();
        }
    }
    return items;
}

/// The key as an OptionInfo names it: "inject-error.3.event" is "inject-error.*.event".
std::string with_starred_indexes(std::string_view key) {
    std::string starred;
    for (std::size_t begin = 0; begin <= key.size();) {
        const std::size_t dot = std::min(key.find('.', begin), key.size());
        const std::string_view part = key.substr(begin, dot - begin);
        const bool is_index =
            !part.empty() && std::ranges::all_of(part, [](char c) { return c >= '0' && c <= '9'; });
        starred += is_index ? "*" : part;
        if (dot < key.size()) starred += '.';
        begin = dot + 1;
    }
    return starred;
}

}  // namespace

Outcome<OptionValues> OptionValues::parse(std::string_view text, std::string_view first_key,
                                          std::string subject) {
    OptionValues values(std::move(subject));
    bool is_first = true;
    for (const std::string& item : split_items(text)) {
        if (item.empty() && !is_first) continue;
        const std::size_t equals = item.find('=');
        std::string key = item.substr(0, equals);
        std::string value = equals == std::string::npos ? "on" : item.substr(equals + 1);
        if (equals == std::string::npos && is_first && !first_key.empty()) {
            value = std::exchange(key, std::string(first_key));
        }
        is_first = false;
        if (key.empty()) {
            return failure(fmt::format("{}: '{}' has no option name: expected name=value",
                                       values.subject_, item),
                           Errc::not_supported);
        }
        if (Outcome<void> stored = values.set(std::move(key), std::move(value)); !stored) {
            return std::unexpected(std::move(stored.error()));
        }
    }
    return values;
}

const std::string* OptionValues::find(std::string_view key) const {
    const auto found = std::ranges::find(
        items_, key, [](const auto& item) -> std::string_view { return item.first; });
    return found == items_.end() ? nullptr : &found->second;
}

Outcome<void> OptionValues::set(std::string key, std::string value) {
    if (has(key)) {
        return failure(fmt::format("{}: option '{}' is given twice", subject_, key),
                       Errc::not_supported);
    }
    items_.emplace_back(std::move(key), std::move(value));
    return {};
}

void OptionValues::replace(std::string_view key, std::string value) {
    for (auto& item : items_) {
        if (item.first == key) {
            item.second = std::move(value);
            return;
        }
    }
    items_.emplace_back(std::string(key), std::move(value));
}

std::unexpected<Failure> OptionValues::bad_value(std::string_view key,
                                                 std::string_view expected) const {
    return failure(fmt::format("{}: option '{}': {}", subject_, key, expected),
                   Errc::not_supported);
}

std::string OptionValues::text(std::string_view key, std::string_view otherwise) const {
    const std::string* value = find(key);
    return value == nullptr ? std::string(otherwise) : *value;
}

Outcome<std::string> OptionValues::required_text(std::string_view key) const {
    const std::string* value = find(key);
    if (value == nullptr || value->empty()) {
        return failure(fmt::format("{}: option '{}' is missing", subject_, key),
                       Errc::not_supported);
    }
    return *value;
}

Outcome<bool> OptionValues::flag(std::string_view key, bool otherwise) const {
    const std::string* value = find(key);
    if (value == nullptr) return otherwise;
    if (*value == "on" || *value == "true" || *value == "yes") return true;
    if (*value == "off" || *value == "false" || *value == "no") return false;
    return bad_value(key, fmt::format("'{}' is neither on nor off", *value));
}

Outcome<std::uint64_t> OptionValues::size(std::string_view key, std::uint64_t otherwise) const {
    const std::string* value = find(key);
    if (value == nullptr) return otherwise;
    Outcome<std::uint64_t> bytes = parse_size(*value);
    if (!bytes) return bad_value(key, bytes.error().message);
    return bytes;
}

Outcome<std::uint64_t> OptionValues::number(std::string_view key, std::uint64_t otherwise,
                                            std::uint64_t most) const {
    const std::string* value = find(key);
    if (value == nullptr) return otherwise;
    std::uint64_t number = 0;
    const char* end = value->data() + value->size();
    const auto [parsed, error] = std::from_chars(value->data(), end, number);
    if (error != std::errc() || parsed != end || number > most) {
        return bad_value(key, fmt::format("'{}' is not a whole number from 0 to {}", *value, most));
    }
    return number;
}

Outcome<std::uint64_t> OptionValues::duration_ns(std::string_view key, std::uint64_t otherwise,
                                                 std::uint64_t most) const {
    const std::string* value = find(key);
    if (value == nullptr) return otherwise;
    Outcome<std::uint64_t> duration = parse_duration(*value);
    if (!duration) return bad_value(key, duration.error().message);
    if (*duration > most) {
        return bad_value(
            key, fmt::format("'{}' is too long: at most {}", *value, format_duration(most)));
    }
    return duration;
}

Outcome<void> OptionValues::check_known(std::span<const OptionInfo> known,
                                        std::span<const OptionInfo> also) const {
    std::vector<std::string_view> names;
    for (const OptionInfo& option : known) names.push_back(option.name);
    for (const OptionInfo& option : also) names.push_back(option.name);
    for (const auto& [key, value] : items_) {
        if (std::ranges::find(names, with_starred_indexes(key)) != names.end()) continue;
        return failure(
            fmt::format("{}: unknown option '{}'{}", subject_, key, did_you_mean(key, names)),
            Errc::not_supported);
    }
    return {};
}

OptionValues OptionValues::take_below(std::string_view prefix, std::string subject) {
    OptionValues below(std::move(subject));
    std::vector<std::pair<std::string, std::string>> rest;
    for (auto& [key, value] : items_) {
        if (key.size() > prefix.size() && key.starts_with(prefix) && key[prefix.size()] == '.') {
            below.items_.emplace_back(key.substr(prefix.size() + 1), std::move(value));
        } else {
            rest.emplace_back(std::move(key), std::move(value));
        }
    }
    items_ = std::move(rest);
    return below;
}

std::string OptionValues::take(std::string_view key) {
    for (auto item = items_.begin(); item != items_.end(); ++item) {
        if (item->first != key) continue;
        std::string value = std::move(item->second);
        items_.erase(item);
        return value;
    }
    return {};
}

}  // namespace zbdkit
