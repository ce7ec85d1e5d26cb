// SPDX-License-Identifier: Apache-2.0
#include "io/op_fifo.h"

#include <gtest/gtest.h>

#include <array>

namespace zbdkit {
namespace {

TEST(OpFifo, operations_leave_in_the_order_they_came) {
    std::array<IoOp, 3> ops;
    OpFifo fifo;
    for (IoOp& op : ops) fifo.push(op);
    EXPECT_EQ(&fifo.pop(), &ops[0]);
    EXPECT_EQ(&fifo.pop(), &ops[1]);
    EXPECT_EQ(&fifo.pop(), &ops[2]);
    EXPECT_TRUE(fifo.empty());
}

TEST(OpFifo, emptied_list_takes_operations_again) {
    IoOp op;
    OpFifo fifo;
    fifo.push(op);
    EXPECT_EQ(&fifo.pop(), &op);
    fifo.push(op);
    EXPECT_FALSE(fifo.empty());
    EXPECT_EQ(&fifo.pop(), &op);
}

TEST(OpFifo, front_is_the_oldest_and_stays) {
    std::array<IoOp, 2> ops;
    OpFifo fifo;
    fifo.push(ops[0]);
    fifo.push(ops[1]);
    EXPECT_EQ(&fifo.front(), &ops[0]);
    EXPECT_EQ(&fifo.pop(), &ops[0]);
    EXPECT_EQ(&fifo.front(), &ops[1]);
    EXPECT_FALSE(fifo.empty());
}

TEST(OpFifo, middle_operation_is_removed) {
    std::array<IoOp, 3> ops;
    OpFifo fifo;
    for (IoOp& op : ops) fifo.push(op);
    EXPECT_TRUE(fifo.remove(ops[1]));
    EXPECT_EQ(&fifo.pop(), &ops[0]);
    EXPECT_EQ(&fifo.pop(), &ops[2]);
    EXPECT_TRUE(fifo.empty());
}

TEST(OpFifo, push_after_removing_the_last_keeps_the_order) {
    std::array<IoOp, 3> ops;
    OpFifo fifo;
    fifo.push(ops[0]);
    fifo.push(ops[1]);
    EXPECT_TRUE(fifo.remove(ops[1]));
    fifo.push(ops[2]);
    EXPECT_EQ(&fifo.pop(), &ops[0]);
    EXPECT_EQ(&fifo.pop(), &ops[2]);
}

TEST(OpFifo, absent_operation_is_not_removed) {
    IoOp present;
    IoOp absent;
    OpFifo fifo;
    fifo.push(present);
    EXPECT_FALSE(fifo.remove(absent));
    EXPECT_EQ(&fifo.pop(), &present);
}

}  // namespace
}  // namespace zbdkit
