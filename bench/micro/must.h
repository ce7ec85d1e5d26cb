// SPDX-License-Identifier: Apache-2.0
// What a benchmark needs or ends over.
#pragma once

#include <fmt/format.h>

#include <cstdlib>
#include <type_traits>
#include <utility>

#include "base/error.h"

namespace zbdkit::bench {

/// @return what the outcome holds; ends the process with its message if that is a failure
template <class T>
T must(Outcome<T> outcome) {
    if (!outcome) {
        fmt::print(stderr, "{}\n", outcome.error().message);
        std::exit(1);
    }
    if constexpr (!std::is_void_v<T>) return std::move(*outcome);
}

}  // namespace zbdkit::bench
