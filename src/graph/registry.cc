// SPDX-License-Identifier: Apache-2.0
#include "graph/registry.h"

#include <fmt/format.h>

#include <array>
#include <vector>

#include "base/text.h"
#include "node/format/zoned.h"
#include "node/protocol/file.h"
#include "node/protocol/memory.h"
#include "node/protocol/null.h"

namespace zbdkit {

std::span<const DriverInfo* const> drivers() {
    static const std::array<const DriverInfo*, 5> kDrivers = {
        &kFileDriver, &kMemoryDriver, &kNullDriver, &kNullCoDriver, &kZonedDriver,
    };
    return kDrivers;
}

Outcome<const DriverInfo*> find_driver(std::string_view name) {
    std::vector<std::string_view> names;
    for (const DriverInfo* driver : drivers()) {
        if (driver->name == name) return driver;
        names.push_back(driver->name);
    }
    return failure(fmt::format("unknown driver '{}'{}: known are {}", name,
                               did_you_mean(name, names), fmt::join(names, ", ")),
                   Errc::not_supported);
}

}  // namespace zbdkit
