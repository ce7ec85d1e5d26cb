// SPDX-License-Identifier: Apache-2.0
// A nameless temporary file: gone with its descriptor.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/unique_fd.h"

namespace zbdkit::test {

[[nodiscard]] inline UniqueFd temp_file(std::string_view content = {}) {
    const char* folder = std::getenv("TMPDIR");
    std::string path = std::string(folder == nullptr ? "/tmp" : folder) + "/zbdkit-XXXXXX";
    UniqueFd file(::mkstemp(path.data()));
    const bool is_ready = file && ::unlink(path.c_str()) == 0 &&
                          ::pwrite(file.get(), content.data(), content.size(), 0) ==
                              static_cast<ssize_t>(content.size());
    if (!is_ready) {
        std::perror("cannot make a temporary file");
        std::abort();
    }
    return file;
}

/// All bytes of the file.
[[nodiscard]] inline std::string content_of(const UniqueFd& file) {
    std::string content(static_cast<std::size_t>(::lseek(file.get(), 0, SEEK_END)), '\0');
    if (::pread(file.get(), content.data(), content.size(), 0) !=
        static_cast<ssize_t>(content.size())) {
        std::abort();
    }
    return content;
}

}  // namespace zbdkit::test
