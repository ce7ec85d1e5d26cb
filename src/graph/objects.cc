// SPDX-License-Identifier: Apache-2.0
#include "graph/objects.h"

#include <fmt/format.h>

#include <array>
#include <memory>
#include <utility>

#include "graph/graph.h"
#include "graph/registry.h"

namespace zbdkit {
namespace {

constexpr std::string_view kKind = "qom-type";
constexpr std::array kCommonOptions = {
    OptionInfo{kKind, "KIND", "what it is"},
    OptionInfo{"id", "ID", "a name for it"},
};

Outcome<OptionValues> parse_values(std::string_view text) {
    if (text.starts_with('{')) return parse_node_options(text);
    return OptionValues::parse(text, kKind, "--object");
}

}  // namespace

Outcome<ObjectPlan> parse_object(std::string_view text) {
    const Outcome<OptionValues> given = parse_values(text);
    if (!given) return std::unexpected(given.error());
    OptionValues values("--object");
    for (const auto& [key, value] : given->items()) values.replace(key, value);

    const Outcome<std::string> kind = values.required_text(kKind);
    if (!kind) return std::unexpected(kind.error());
    const Outcome<const ObjectInfo*> info = find_object(*kind);
    if (!info) return failure(fmt::format("--object: {}", info.error().message), info.error().code);
    const Outcome<std::string> id = values.required_text("id");
    if (!id) return std::unexpected(id.error());

    ObjectPlan plan{
        .kind = *info, .id = *id, .options = OptionValues(fmt::format("object '{}'", *id))};
    for (const auto& [key, value] : values.items()) {
        if (key != kKind && key != "id") plan.options.replace(key, value);
    }
    if (Outcome<void> known = plan.options.check_known((*info)->options, kCommonOptions); !known) {
        return std::unexpected(std::move(known.error()));
    }
    return plan;
}

Outcome<void> make_object(OpenContext& context, const ObjectPlan& plan) {
    if (context.objects.contains(plan.id)) {
        return failure(fmt::format("--object: there are two objects with id '{}'", plan.id),
                       Errc::not_supported);
    }
    Outcome<std::shared_ptr<SharedObject>> object = plan.kind->make(context, plan.options);
    if (!object) return std::unexpected(std::move(object.error()));
    context.objects.emplace(plan.id, std::move(*object));
    return {};
}

}  // namespace zbdkit
