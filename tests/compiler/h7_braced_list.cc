// SPDX-License-Identifier: Apache-2.0
// H7: a braced list as an argument of an awaited call, and awaits inside a braced list. g++ 12 did
// not compile them.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/compiler/canary.h"

namespace zbdkit::canary {
namespace {

Task<std::string> join(std::vector<char> letters) {
    co_await Later();
    co_return std::string(letters.begin(), letters.end());
}

Task<std::string> pass_list() {
    const std::string joined = co_await join({'a', 'b'});
    co_return joined;
}

TEST(H7, braced_list_is_an_argument) { EXPECT_EQ(run(pass_list()), "ab"); }

Task<std::vector<int>> list_of_awaits() {
    const std::vector<int> numbers{co_await number(1), co_await number(2)};
    co_return numbers;
}

TEST(H7, awaits_in_a_braced_list_run_in_order) {
    EXPECT_EQ(run(list_of_awaits()), (std::vector<int>{1, 2}));
}

}  // namespace
}  // namespace zbdkit::canary
