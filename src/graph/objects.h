// SPDX-License-Identifier: Apache-2.0
// "--object throttle-group,id=tg0,x-iops-total=100": things that nodes of several graphs share. A
// command makes them before it opens its nodes.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "base/options.h"
#include "block/driver.h"

namespace zbdkit {

/// An object to be made.
struct ObjectPlan {
    const ObjectInfo* kind = nullptr;
    std::string id;
    OptionValues options;  ///< of this kind of object, by known names
};

/// Reads the value of --object: "KIND,id=ID,..." or JSON with "qom-type" and "id".
/// Errors: syntax; an unknown kind or option, with the nearest known one; no id.
[[nodiscard]] Outcome<ObjectPlan> parse_object(std::string_view text);

/// Makes the object and puts it into the context. Errors: the id is in use; bad options.
[[nodiscard]] Outcome<void> make_object(OpenContext& context, const ObjectPlan& plan);

}  // namespace zbdkit
