// SPDX-License-Identifier: Apache-2.0
#include "node/filter/option_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace zbdkit {
namespace {

/// The indexes that stand after "prefix.", each once, by value.
std::vector<std::string> indexes_below(const OptionValues& options, std::string_view prefix) {
    std::vector<std::string> indexes;
    for (const auto& [key, value] : options.items()) {
        if (!key.starts_with(prefix) || key.size() <= prefix.size() || key[prefix.size()] != '.') {
            continue;
        }
        const std::string_view rest = std::string_view(key).substr(prefix.size() + 1);
        std::string index(rest.substr(0, rest.find('.')));
        if (std::ranges::find(indexes, index) == indexes.end()) indexes.push_back(std::move(index));
    }
    std::ranges::sort(indexes, {}, [](const std::string& index) {
        return std::pair(index.size(), index);  // "10" comes after "9"
    });
    return indexes;
}

}  // namespace

std::vector<OptionValues> list_elements(const OptionValues& options, std::string_view prefix) {
    std::vector<OptionValues> elements;
    OptionValues left = options;
    for (const std::string& index : indexes_below(options, prefix)) {
        const std::string name = fmt::format("{}.{}", prefix, index);
        elements.push_back(left.take_below(name, fmt::format("{}: {}", options.subject(), name)));
    }
    return elements;
}

std::vector<std::string> word_list(const OptionValues& options, std::string_view key) {
    std::vector<std::string> words;
    const std::string text = options.text(key);
    for (std::size_t begin = 0; options.has(key) && begin <= text.size();) {
        const std::size_t end = std::min(text.find(':', begin), text.size());
        words.push_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    for (const std::string& index : indexes_below(options, key)) {
        words.push_back(options.text(fmt::format("{}.{}", key, index)));
    }
    return words;
}

std::unexpected<Failure> bad_option(const OptionValues& options, std::string_view key,
                                    std::string_view problem) {
    return failure(fmt::format("{}: option '{}': {}", options.subject(), key, problem),
                   Errc::not_supported);
}

}  // namespace zbdkit
