// SPDX-License-Identifier: Apache-2.0
// Which requests filter "fault" fails, and with what: rules in the vocabulary of QEMU's blkdebug
// (inject-error, set-state), with counts and probabilities. Pure; one owner. The draws of a
// probability follow from the seed and the order of the requests alone.
#pragma once

#include <bitset>
#include <cstdint>
#include <optional>
#include <random>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/options.h"
#include "base/units.h"
#include "block/op.h"
#include "block/request.h"
#include "zone/zone.h"

namespace zbdkit {

/// Reads an error as the option "errno" has it: a number, its name ("EIO"), or one of zbdkit's own
/// names ("zone_unaligned_wp"), for what no errno can say.
/// Errors: a message that quotes the text.
[[nodiscard]] Outcome<Error> parse_injected_error(std::string_view text);

class FaultRules {
  public:
    /// Reads `inject-error.*`, `set-state.*` and `seed`.
    /// @param seed   for the probabilities, if the options give none
    /// @param zones  of the node; model none if it has none
    /// Errors: messages that name the rule, the option and its value.
    [[nodiscard]] static Outcome<FaultRules> parse(const OptionValues& options, std::uint64_t seed,
                                                   const ZoneGeometry& zones);

    /// Judges a request. Rules are tried in their order; the first that fires is the answer.
    /// @return the error it fails with, or nothing
    [[nodiscard]] std::optional<Error> decide(const Request& request);

    /// Whether an answer may depend on the seed.
    [[nodiscard]] bool uses_chance() const;
    [[nodiscard]] bool empty() const { return errors_.empty() && changes_.empty(); }
    /// Of blkdebug's state machine; 1 at first.
    [[nodiscard]] std::uint64_t state() const { return state_; }

  private:
    static constexpr std::uint64_t kAnyState = 0;

    /// `inject-error`: fails requests.
    struct ErrorRule {
        std::bitset<kOpCount> ops;       ///< by number
        std::optional<ByteRange> range;  ///< nothing: wherever it is
        std::uint64_t state = kAnyState;
        std::uint64_t after = 0;   ///< how many it lets pass first
        std::uint64_t count = 0;   ///< how many it fails; 0: no end
        double probability = 1.0;  ///< of each that is neither
        Error error;

        std::uint64_t passed = 0;
        std::uint64_t failed = 0;
    };
    /// `set-state`: an event moves the state machine.
    struct StateChange {
        std::bitset<kOpCount> ops;
        std::uint64_t from = kAnyState;
        std::uint64_t to = 1;
    };

    [[nodiscard]] static Outcome<ErrorRule> parse_error(const OptionValues& options);
    [[nodiscard]] static Outcome<StateChange> parse_change(const OptionValues& options);
    [[nodiscard]] bool fires(ErrorRule& rule, const Request& request);
    [[nodiscard]] bool draw(double probability);

    ZoneGeometry zones_;
    std::vector<ErrorRule> errors_;
    std::vector<StateChange> changes_;
    std::uint64_t state_ = 1;
    std::mt19937_64 random_;
};

}  // namespace zbdkit
