// SPDX-License-Identifier: Apache-2.0
#include "tests/conformance/stacks.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <random>
#include <utility>

#include "graph/registry.h"
#include "tests/support/seed.h"

namespace zbdkit::test {
namespace {

using enum Neutral::Kind;

constexpr std::array kNeutral = {
    Neutral{"account", same, ""},
    Neutral{"delay", same, "delay-read=1ns,delay-write=1ns,delay-zone=1ns,delay-flush=1ns"},
    Neutral{"fault", same, ""},
    Neutral{"raw", trims, ""},
    Neutral{"throttle", same, "limits.iops-total=1000000000,limits.bps-total=1T"},
    Neutral{"trace", same, "limit=0"},
    Neutral{"write_log", same, "log.driver=memory,log.size=1G"},
    Neutral{"zone_check", same, ""},
    Neutral{"zoned", refuses, ""},
};

/// The options of one driver of a stack.
Outcome<OptionValues> options_for(const DriverInfo& driver, const NodeInfo& below) {
    const Neutral entry = neutral(driver).value();
    OptionValues options("stack");
    if (!entry.options.empty()) {
        Outcome<OptionValues> given = OptionValues::parse(entry.options, "", "stack");
        if (!given) return given;
        options = std::move(*given);
    }
    if (entry.kind == trims) {
        const std::uint64_t zone_size = below.zones.zone_size;
        options.replace("offset", std::to_string(zone_size));
        options.replace("size", std::to_string(below.size - 2 * zone_size));
    }
    options.replace("driver", std::string(driver.name));
    options.replace("file", "below");
    return options;
}

}  // namespace

std::vector<const DriverInfo*> drivers_with_a_child() {
    std::vector<const DriverInfo*> found;
    for (const DriverInfo* driver : drivers()) {
        const auto is_same = [driver](const DriverInfo* other) {
            return other->open == driver->open;
        };
        if (driver->children.empty() || std::ranges::any_of(found, is_same)) continue;
        found.push_back(driver);
    }
    return found;
}

std::optional<Neutral> neutral(const DriverInfo& driver) {
    const auto* const found = std::ranges::find(kNeutral, driver.name, &Neutral::driver);
    if (found == kNeutral.end()) return std::nullopt;
    return *found;
}

std::vector<const DriverInfo*> stackable_drivers() {
    std::vector<const DriverInfo*> stackable = drivers_with_a_child();
    std::erase_if(stackable, [](const DriverInfo* driver) {
        const std::optional<Neutral> entry = neutral(*driver);
        return !entry || entry->kind == refuses;
    });
    return stackable;
}

std::vector<Stack> stacks_of_depth(std::size_t depth) {
    std::vector<Stack> stacks = {{}};
    for (std::size_t level = 0; level < depth; ++level) {
        std::vector<Stack> higher;
        for (const Stack& stack : stacks) {
            for (const DriverInfo* driver : stackable_drivers()) {
                higher.push_back(stack);
                higher.back().push_back(driver);
            }
        }
        stacks = std::move(higher);
    }
    return stacks;
}

std::vector<Stack> sample_of_depth(std::size_t depth, std::size_t count) {
    const std::vector<Stack> all = stacks_of_depth(depth);
    std::vector<Stack> sample;
    std::mt19937_64 random(seed() + depth);
    std::ranges::sample(all, std::back_inserter(sample), static_cast<std::ptrdiff_t>(count),
                        random);
    return sample;
}

std::string name_of(const Stack& stack) {
    std::vector<std::string_view> names;
    for (const DriverInfo* driver : stack) names.push_back(driver->name);
    return names.empty() ? "plain" : fmt::format("{}", fmt::join(names, "_"));
}

std::uint32_t trimmed_zones(const Stack& stack) {
    return static_cast<std::uint32_t>(std::ranges::count_if(
        stack, [](const DriverInfo* driver) { return neutral(*driver)->kind == trims; }));
}

Task<Outcome<std::unique_ptr<BlockNode>>> open_stack(OpenContext& context, const Stack& stack,
                                                     std::unique_ptr<BlockNode> node) {
    for (const DriverInfo* driver : stack) {
        NamedNodes named;
        OptionValues options = co_await ok(options_for(*driver, node->info()));
        co_await ok(named.put_as("below", std::move(node)));
        node = co_await ok(open_node(context, std::move(options), named));
    }
    co_return node;
}

}  // namespace zbdkit::test
