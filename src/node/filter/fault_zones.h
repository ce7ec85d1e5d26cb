// SPDX-License-Identifier: Apache-2.0
// What filter "fault" does to zones: makes them read-only or offline (from the start, after so many
// writes or resets, or when they are opened), and makes opens fail. Pure; one owner, who asks
// before a request goes down and tells when it has succeeded.
//
// The zones below know nothing of it: a zone that wore out here keeps its data, its state and its
// resources there.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/options.h"
#include "block/request.h"
#include "zone/zone.h"

namespace zbdkit {

class ZoneFaults {
  public:
    /// Reads `zone-fault.*`.
    /// Errors: messages that name the fault, the option and its value; any fault at all for a node
    /// that is not zoned.
    [[nodiscard]] static Outcome<ZoneFaults> parse(const OptionValues& options,
                                                   const ZoneGeometry& geometry);

    [[nodiscard]] bool empty() const { return worn_.empty() && armed_.empty(); }

    /// What a worn-out zone does to a request.
    /// Errors: zone_invalid for a read of an offline zone and for what would change a read-only or
    /// offline one. Spec: [virtio 1.3, 5.2.6.2], D23-D26, D37, D38.
    [[nodiscard]] Result<void> check(const Request& request) const;

    /// Whether the request, should it open its zone, may meet a fault: ask opening() then.
    [[nodiscard]] bool watches_open(const Request& request) const;
    /// A zone is about to be opened, explicitly or by a write.
    /// Errors: what the fault says, once; the zone may be worn out then.
    [[nodiscard]] Result<void> opening(ZoneIndex zone);

    /// A request has succeeded below: writes and resets are counted here.
    void completed(const Request& request);

    /// Shows zones as they are here.
    void show(std::span<ZoneDescriptor> zones) const;
    /// The state of a zone that wore out here.
    [[nodiscard]] std::optional<ZoneState> worn_state(ZoneIndex zone) const;

  private:
    enum class When : std::uint8_t { start, writes, resets, open };

    /// A fault of one zone that has not come yet.
    struct Armed {
        When when = When::start;
        std::uint64_t left = 0;          ///< of what it counts, before it comes
        std::optional<ZoneState> state;  ///< what the zone becomes; nothing: it stays
        Error error;                     ///< of the open that meets it
    };
    struct Fault {
        std::vector<std::uint32_t> zones;
        Armed armed;
    };

    [[nodiscard]] static Outcome<Fault> parse_fault(const OptionValues& options,
                                                    const ZoneGeometry& geometry);
    void wear_out(std::uint32_t zone, ZoneState state);
    void wear_out_in_use(std::uint32_t zone, ZoneState state);
    void count(std::uint32_t zone, When what);
    [[nodiscard]] bool has_worn(ByteRange range, bool offline_only) const;

    ZoneGeometry geometry_;
    std::map<std::uint32_t, ZoneState> worn_;
    std::map<std::uint32_t, std::vector<Armed>> armed_;
};

}  // namespace zbdkit
