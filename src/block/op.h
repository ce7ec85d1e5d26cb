// SPDX-License-Identifier: Apache-2.0
// Everything a block node can be asked to do, as one flat list.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace zbdkit {

enum class Op : std::uint8_t {
    read,          ///< range -> segments
    write,         ///< segments -> range
    append,        ///< segments -> the write pointer of the zone that range.offset starts
    write_zeroes,  ///< range reads as zeroes afterwards
    discard,       ///< range is no longer needed; what it reads as is undefined
    flush,         ///< everything completed before is durable
    report_zones,  ///< descriptors of the zones from the one that contains range.offset on
    zone_open,     ///< the zone that range.offset starts
    zone_close,
    zone_finish,
    zone_reset,
    zone_reset_all,  ///< every open, closed and full sequential zone
};
inline constexpr std::size_t kOpCount = 12;

[[nodiscard]] const char* op_name(Op op);
/// The operation of that name, or nothing.
[[nodiscard]] std::optional<Op> find_op(std::string_view name);

/// True for what changes the medium or a zone: refused by a read-only node.
[[nodiscard]] bool op_modifies(Op op);
/// True for operations that only a zoned node has.
[[nodiscard]] bool op_is_zoned(Op op);

}  // namespace zbdkit
