// SPDX-License-Identifier: Apache-2.0
#include "block/op.h"

namespace zbdkit {

const char* op_name(Op op) {
    switch (op) {
        case Op::read: return "read";
        case Op::write: return "write";
        case Op::append: return "append";
        case Op::write_zeroes: return "write_zeroes";
        case Op::discard: return "discard";
        case Op::flush: return "flush";
        case Op::report_zones: return "report_zones";
        case Op::zone_open: return "zone_open";
        case Op::zone_close: return "zone_close";
        case Op::zone_finish: return "zone_finish";
        case Op::zone_reset: return "zone_reset";
        case Op::zone_reset_all: return "zone_reset_all";
    }
    return "unknown";
}

std::optional<Op> find_op(std::string_view name) {
    for (std::size_t i = 0; i < kOpCount; ++i) {
        const auto op = static_cast<Op>(i);
        if (name == op_name(op)) return op;
    }
    return std::nullopt;
}

bool op_modifies(Op op) {
    switch (op) {
        case Op::read:
        case Op::flush:
        case Op::report_zones: return false;
        case Op::write:
        case Op::append:
        case Op::write_zeroes:
        case Op::discard:
        case Op::zone_open:
        case Op::zone_close:
        case Op::zone_finish:
        case Op::zone_reset:
        case Op::zone_reset_all: return true;
    }
    return true;
}

bool op_is_zoned(Op op) {
    switch (op) {
        case Op::read:
        case Op::write:
        case Op::write_zeroes:
        case Op::discard:
        case Op::flush: return false;
        case Op::append:
        case Op::report_zones:
        case Op::zone_open:
        case Op::zone_close:
        case Op::zone_finish:
        case Op::zone_reset:
        case Op::zone_reset_all: return true;
    }
    return false;
}

}  // namespace zbdkit
