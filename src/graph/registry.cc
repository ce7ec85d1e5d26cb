// SPDX-License-Identifier: Apache-2.0
#include "graph/registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/text.h"
#include "graph/io_thread_object.h"
#include "node/filter/account.h"
#include "node/filter/delay.h"
#include "node/filter/fault.h"
#include "node/filter/throttle.h"
#include "node/filter/throttle_group.h"
#include "node/filter/trace.h"
#include "node/filter/write_log.h"
#include "node/filter/zone_check.h"
#include "node/format/raw.h"
#include "node/format/zoned.h"
#include "node/protocol/file.h"
#include "node/protocol/host_device.h"
#include "node/protocol/memory.h"
#include "node/protocol/null.h"
#ifdef ZBDKIT_HAS_RBD
#include "node/protocol/rbd.h"
#endif

#ifdef ZBDKIT_HAS_NBD
#include "node/protocol/nbd.h"
#endif

namespace zbdkit {
namespace {

/// Drivers that need a library which may be absent where zbdkit is built.
constexpr std::array kOptionalDrivers = {
    OptionalDriver{"nbd", "libnbd"},
    OptionalDriver{"rbd", "librbd"},
};

}  // namespace

std::span<const DriverInfo* const> drivers() {
    static constexpr std::array kDrivers = {
        // protocols
        &kFileDriver,
        &kHostDeviceDriver,
        &kMemoryDriver,
#ifdef ZBDKIT_HAS_NBD
        &kNbdDriver,
#endif
        &kNullDriver,
        &kNullCoDriver,
#ifdef ZBDKIT_HAS_RBD
        &kRbdDriver,
#endif
        // formats
        &kRawDriver,
        &kZonedDriver,
        // filters
        &kAccountDriver,
        &kDelayDriver,
        &kFaultDriver,
        &kBlkdebugDriver,
        &kThrottleDriver,
        &kTraceDriver,
        &kWriteLogDriver,
        &kBlklogwritesDriver,
        &kZoneCheckDriver,
    };
    return kDrivers;
}

std::vector<OptionalDriver> absent_drivers() {
    std::vector<OptionalDriver> absent;
    for (const OptionalDriver& optional : kOptionalDrivers) {
        const bool is_there = std::ranges::any_of(drivers(), [&optional](const DriverInfo* driver) {
            return driver->name == optional.name;
        });
        if (!is_there) absent.push_back(optional);
    }
    return absent;
}

Outcome<const DriverInfo*> find_driver(std::string_view name) {
    std::vector<std::string_view> names;
    for (const DriverInfo* driver : drivers()) {
        if (driver->name == name) return driver;
        names.push_back(driver->name);
    }
    for (const OptionalDriver& absent : absent_drivers()) {
        if (absent.name != name) continue;
        return failure(fmt::format("driver '{}' is not built in: this zbdkit was built without {}",
                                   name, absent.library),
                       Errc::not_supported);
    }
    return failure(fmt::format("unknown driver '{}'{}: known are {}", name,
                               did_you_mean(name, names), fmt::join(names, ", ")),
                   Errc::not_supported);
}

std::span<const ObjectInfo* const> objects() {
    static constexpr std::array kObjects = {
        &kIoThreadObject,
        &kThrottleGroupObject,
    };
    return kObjects;
}

Outcome<const ObjectInfo*> find_object(std::string_view name) {
    std::vector<std::string_view> names;
    for (const ObjectInfo* object : objects()) {
        if (object->name == name) return object;
        names.push_back(object->name);
    }
    return failure(fmt::format("unknown kind of object '{}'{}: known are {}", name,
                               did_you_mean(name, names), fmt::join(names, ", ")),
                   Errc::not_supported);
}

}  // namespace zbdkit
