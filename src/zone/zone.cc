// SPDX-License-Identifier: Apache-2.0
#include "zone/zone.h"

namespace zbdkit {

std::uint64_t reported_write_pointer(const ZoneDescriptor& zone) {
    switch (zone.state) {
        case ZoneState::not_write_pointer:
        case ZoneState::empty: return zone.start;
        case ZoneState::implicit_open:
        case ZoneState::explicit_open:
        case ZoneState::closed: return zone.write_pointer;
        case ZoneState::read_only:
        case ZoneState::full:
        case ZoneState::offline: break;
    }
    return zone.start + zone.length;
}

const char* zone_type_name(ZoneType type) {
    switch (type) {
        case ZoneType::conventional: return "conventional";
        case ZoneType::sequential_required: return "sequential-write-required";
        case ZoneType::sequential_preferred: return "sequential-write-preferred";
    }
    return "unknown";
}

const char* zone_state_name(ZoneState state) {
    switch (state) {
        case ZoneState::not_write_pointer: return "not-write-pointer";
        case ZoneState::empty: return "empty";
        case ZoneState::implicit_open: return "implicit-open";
        case ZoneState::explicit_open: return "explicit-open";
        case ZoneState::closed: return "closed";
        case ZoneState::read_only: return "read-only";
        case ZoneState::full: return "full";
        case ZoneState::offline: return "offline";
    }
    return "unknown";
}

const char* zone_model_name(ZoneModel model) {
    switch (model) {
        case ZoneModel::none: return "none";
        case ZoneModel::host_managed: return "host-managed";
        case ZoneModel::host_aware: return "host-aware";
    }
    return "unknown";
}

}  // namespace zbdkit
