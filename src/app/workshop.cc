// SPDX-License-Identifier: Apache-2.0
#include "app/workshop.h"

#include "io/uring_engine.h"

namespace zbdkit::app {

Outcome<std::unique_ptr<Workshop>> Workshop::make() {
    Outcome<std::unique_ptr<IoEngine>> engine = make_uring_engine();
    if (!engine) return std::unexpected(std::move(engine.error()));
    return std::unique_ptr<Workshop>(new Workshop(std::move(*engine)));
}

Workshop::Workshop(std::unique_ptr<IoEngine> engine)
    : reactor_(std::move(engine)), pool_(kBlockingThreads), context_{reactor_, pool_} {}

}  // namespace zbdkit::app
