// SPDX-License-Identifier: Apache-2.0
// An oracle for zoned devices: a slow, simple model written from the text of virtio 1.3, section
// 5.2.6, and not from src/zone, with which it shares the vocabulary in zone.h only. Zones are rows
// of a plain table, transitions are looked up in a list, counts are counted each time.
//
// write() and act() are the device one request at a time. For writes that overlap, a test splits
// write() into its parts: check_write() and admit() when it is accepted, then apply() when it
// takes effect, or abandon() when nothing is left of the first writes of a zone.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/units.h"
#include "zone/zone.h"

namespace zbdkit::model {

/// Nothing means success.
using Refusal = std::optional<Errc>;

struct OracleZone {
    ZoneType type = ZoneType::conventional;
    ZoneState state = ZoneState::not_write_pointer;
    std::uint64_t length = 0;
    std::uint64_t capacity = 0;
    std::uint64_t data_end = 0;  ///< from the zone's start
    std::uint64_t last_use = 0;  ///< when a write was last admitted
};

class ZoneOracle {
  public:
    explicit ZoneOracle(const ZoneGeometry& geometry);

    [[nodiscard]] const OracleZone& zone(std::size_t index) const { return zones_[index]; }
    [[nodiscard]] std::size_t size() const { return zones_.size(); }
    /// Puts a zone into a state, for tests that start there.
    void set(std::size_t index, ZoneState state, std::uint64_t data_end);

    // One request at a time. Positions are bytes from the zone's start.
    [[nodiscard]] Refusal act(ZoneAction action, std::size_t index);
    [[nodiscard]] Refusal write(std::size_t index, std::optional<std::uint64_t> at,
                                std::uint64_t length);
    [[nodiscard]] Refusal read(ByteRange device_range) const;
    [[nodiscard]] std::vector<std::size_t> reset_all();

    // A write in its parts.
    /// @param pointer  where the next write of the zone goes
    [[nodiscard]] Refusal check_write(std::size_t index, std::optional<std::uint64_t> at,
                                      std::uint64_t length, std::uint64_t pointer) const;
    [[nodiscard]] Refusal admit(std::size_t index);
    void apply(std::size_t index, std::uint64_t data_end);
    void abandon(std::size_t index);
    void degrade(std::size_t index, ZoneState state);

    // What is seen.
    [[nodiscard]] ZoneState shown_state(std::size_t index) const;
    [[nodiscard]] ZoneDescriptor describe(std::size_t index) const;
    [[nodiscard]] std::uint32_t open_count() const;
    [[nodiscard]] std::uint32_t active_count() const;

  private:
    [[nodiscard]] Refusal take_resources(std::size_t index, ZoneState to);

    ZoneGeometry geometry_;
    std::vector<OracleZone> zones_;
    std::uint64_t time_ = 0;
};

}  // namespace zbdkit::model
