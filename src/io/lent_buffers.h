// SPDX-License-Identifier: Apache-2.0
// Buffers of the kernel that a driver lends to whoever serves its requests, so that their data need
// not be copied: places in the table of registered buffers of a ring, which the driver fills when a
// request comes and empties when it is answered. Each place has addresses in this process that
// stand for it, so that requests carry them as any others. Nobody can read or write there: who
// touches data that is not in this process dies at once, instead of working on something else. One
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"

namespace zbdkit {

/// Places in a row.
struct LentRange {
    MutableBytes addresses;   ///< of all of them, in order; not to be touched
    std::uint64_t each = 0;   ///< bytes of a place
    std::uint16_t first = 0;  ///< index in the table
    std::uint16_t count = 0;

    /// The addresses of a place. @param index  below `count`
    [[nodiscard]] MutableBytes at(std::uint16_t index) const {
        return addresses.subspan(index * each, each);
    }
};

class LentBuffers {
  public:
    /// What addresses stand for.
    struct Place {
        std::uint16_t index = 0;   ///< in the table
        std::uint64_t offset = 0;  ///< in its buffer, bytes
    };

    /// @param size  places of the table
    explicit LentBuffers(std::uint16_t size) : size_(size) {}
    LentBuffers(const LentBuffers&) = delete;
    LentBuffers& operator=(const LentBuffers&) = delete;
    ~LentBuffers();

    /// Takes places that are free. @param each  bytes
    /// Errors: the table has not so many left in a row; no addresses.
    [[nodiscard]] Result<LentRange> take(std::uint16_t count, std::uint64_t each);
    /// Gives them back. Nobody may use their addresses any more.
    void give_back(const LentRange& range);

    /// The place that an address stands for; none if it is ordinary memory.
    [[nodiscard]] std::optional<Place> find(const void* address) const;

  private:
    [[nodiscard]] std::optional<std::uint16_t> free_places(std::uint16_t count) const;

    std::uint16_t size_;
    std::vector<LentRange> taken_;  // in the order of their places
};

}  // namespace zbdkit
