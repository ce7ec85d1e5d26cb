// SPDX-License-Identifier: Apache-2.0
// `zbdkit ublk list`, `stop` and `recover`: the ublk devices of this machine, whoever serves them.
#pragma once

#include <cstdint>

#include "app/serve.h"

namespace zbdkit::app {

struct UblkListArguments {
    bool json = false;
};

struct UblkStopArguments {
    std::uint64_t device = 0;
    bool force = false;  ///< also one that is in use
};

struct UblkRecoverArguments {
    std::uint64_t device = 0;
    ServeArguments serve;
};

/// Each @return the exit status
[[nodiscard]] int run_ublk_list(const UblkListArguments& arguments);
[[nodiscard]] int run_ublk_stop(const UblkStopArguments& arguments);
[[nodiscard]] int run_ublk_recover(const UblkRecoverArguments& arguments);

}  // namespace zbdkit::app
