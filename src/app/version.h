// SPDX-License-Identifier: Apache-2.0
// `zbdkit --version`: what this build is and what it can do, and plainly what it cannot.
#pragma once

#include <string>

namespace zbdkit::app {

[[nodiscard]] std::string version_text();

}  // namespace zbdkit::app
