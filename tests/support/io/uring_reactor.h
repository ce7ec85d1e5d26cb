// SPDX-License-Identifier: Apache-2.0
// What tests with real I/O start from: an io_uring engine, a reactor over one.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

#include "io/reactor.h"
#include "io/uring_engine.h"

namespace zbdkit::test {

/// Ends the test program if the host has no io_uring: nothing of zbdkit works without.
[[nodiscard]] inline std::unique_ptr<IoEngine> uring_engine(unsigned queue_depth = 256) {
    Outcome<std::unique_ptr<IoEngine>> engine = make_uring_engine(queue_depth);
    if (!engine) {
        std::fprintf(stderr, "%s\n", engine.error().message.c_str());
        std::abort();
    }
    return std::move(*engine);
}

struct UringReactor : Reactor {
    explicit UringReactor(unsigned queue_depth = 256) : Reactor(uring_engine(queue_depth)) {}
};

}  // namespace zbdkit::test
