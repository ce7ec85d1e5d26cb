// SPDX-License-Identifier: Apache-2.0
// What the host_device node remembers of the zones of its device: enough to place a write without
// asking. The device decides; the mirror may be behind it, because others can change zones too, so
// a refusal that rests on it is only given after a fresh report. One thread; no I/O.
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.h"
#include "base/units.h"
#include "zone/zone.h"
#include "zone/zone_rules.h"

namespace zbdkit {

class HostZoneMirror {
  public:
    /// Counts changes of the mirror, so that an old report does not undo a newer change.
    enum class Moment : std::uint64_t {};

    /// All zones offline until they are loaded.
    explicit HostZoneMirror(const ZoneGeometry& geometry);

    [[nodiscard]] const ZoneGeometry& geometry() const { return geometry_; }
    [[nodiscard]] Moment now() const { return Moment(changes_); }

    /// Which zone a report is of.
    /// Errors: corrupt, if it does not lie where the geometry has a zone.
    [[nodiscard]] Result<ZoneIndex> index_of(const ZoneDescriptor& zone) const;
    /// Takes over what the device reports of a zone. Errors: as index_of().
    [[nodiscard]] Result<void> load(const ZoneDescriptor& zone);
    /// Whether the zone has not changed since.
    [[nodiscard]] bool is_unchanged_since(ZoneIndex zone, Moment moment) const;
    /// A write that ended at `end`, bytes from the zone's start, has succeeded.
    void wrote(ZoneIndex zone, std::uint64_t end);

    [[nodiscard]] ZoneType type(ZoneIndex zone) const;
    /// What place_write() decides by.
    [[nodiscard]] ZoneWriteTarget target(ZoneIndex zone) const;
    /// What after_action() decides by.
    [[nodiscard]] ZoneRecord record(ZoneIndex zone) const;

    /// A read or write that touches a sequential-write-required zone stays within it. [D35]
    /// @param range  on the device, not empty
    /// Errors: zone_invalid. Types do not change, so this needs no fresh report.
    [[nodiscard]] Result<void> check_borders(ByteRange range) const;

  private:
    struct Zone {
        std::uint64_t pointer = 0;  ///< bytes from the zone's start
        std::uint64_t capacity = 0;
        std::uint64_t changed = 0;  ///< the moment of its last change
        ZoneType type = ZoneType::sequential_required;
        ZoneState state = ZoneState::offline;
    };

    [[nodiscard]] const Zone& at(ZoneIndex zone) const;

    ZoneGeometry geometry_;
    std::vector<Zone> zones_;
    std::uint64_t changes_ = 0;
};

}  // namespace zbdkit
