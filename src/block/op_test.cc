// SPDX-License-Identifier: Apache-2.0
#include "block/op.h"

#include <gtest/gtest.h>

namespace zbdkit {
namespace {

TEST(Op, every_operation_is_found_by_its_name) {
    for (std::size_t i = 0; i < kOpCount; ++i) {
        const auto op = static_cast<Op>(i);
        EXPECT_EQ(find_op(op_name(op)), op) << op_name(op);
    }
}

TEST(Op, name_of_no_operation_finds_none) {
    EXPECT_EQ(find_op("unknown"), std::nullopt);
    EXPECT_EQ(find_op(""), std::nullopt);
    EXPECT_EQ(find_op("Read"), std::nullopt);
}

}  // namespace
}  // namespace zbdkit
