// SPDX-License-Identifier: Apache-2.0
// Every driver and kind of object this build has, by name.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "block/driver.h"

namespace zbdkit {

[[nodiscard]] std::span<const DriverInfo* const> drivers();

/// A driver that is built only where its library is.
struct OptionalDriver {
    std::string_view name;
    std::string_view library;
};
/// Those that this build lacks.
[[nodiscard]] std::vector<OptionalDriver> absent_drivers();

/// Errors: an unknown name, with the nearest known one; one that this build lacks.
[[nodiscard]] Outcome<const DriverInfo*> find_driver(std::string_view name);

/// Every kind of object that "--object" makes.
[[nodiscard]] std::span<const ObjectInfo* const> objects();

/// Errors: an unknown name, with the nearest known one.
[[nodiscard]] Outcome<const ObjectInfo*> find_object(std::string_view name);

}  // namespace zbdkit
