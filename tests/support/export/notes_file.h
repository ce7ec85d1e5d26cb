// SPDX-License-Identifier: Apache-2.0
// A file of notes of ublk requests, in a folder of its own that goes with it.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "base/assert.h"
#include "base/bytes.h"

namespace zbdkit::test {

class NotesFile {
  public:
    NotesFile() {
        std::string name = std::filesystem::temp_directory_path() / "zbdkit-notes-XXXXXX";
        ZBDKIT_ASSERT(::mkdtemp(name.data()) != nullptr);
        folder_ = name;
    }
    NotesFile(const NotesFile&) = delete;
    NotesFile& operator=(const NotesFile&) = delete;
    ~NotesFile() {
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }

    [[nodiscard]] std::string folder() const { return folder_; }
    [[nodiscard]] std::string path() const { return folder_ / "notes"; }
    [[nodiscard]] bool is_there() const { return std::filesystem::exists(path()); }

    [[nodiscard]] std::vector<std::byte> bytes() const {
        std::vector<std::byte> found(std::filesystem::file_size(path()));
        void* const first = found.data();
        std::ifstream(path(), std::ios::binary)
            .read(static_cast<char*>(first), static_cast<std::streamsize>(found.size()));
        return found;
    }
    /// Makes the file anew, of these bytes.
    void replace(ConstBytes with) const {
        const void* const first = with.data();
        std::ofstream(path(), std::ios::binary | std::ios::trunc)
            .write(static_cast<const char*>(first), static_cast<std::streamsize>(with.size()));
    }

  private:
    std::filesystem::path folder_;
};

}  // namespace zbdkit::test
