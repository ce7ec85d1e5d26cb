// SPDX-License-Identifier: Apache-2.0
// What a server notes of requests that must not be done twice: writes to sequential zones, appends,
// closes. The kernel keeps a device whose server dies, and hands its requests that were in flight
// to the next one; the notes, in a file in memory that outlives the server, tell that one what
// became of them. One reactor.
//
//   file    header 4096   magic "ZBDUBLK1" | u32 version 1 | u32 queues | u32 depth | u32 device
//                         | u8 image[4072]  what is served, for people
//           notes         one for each tag of each queue, then as many for those left by the
//                         server before
//   note    64            u64 word   0: none; else 1 + an IoOperation
//                         u64 number counts all notes: which of two is the younger
//                         u64 offset | u64 length   bytes, as the request has them
//                         WriteSlot  where the data goes (block/write_record.h)
//                         u64 * 2    0
//
// A note is complete before its word is set, and the kernel clears the word in one step with taking
// the request's result (CommandOp::clears): so a word says exactly whether the request will come
// back, whenever the server dies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/units.h"
#include "block/write_record.h"
#include "export/ublk/wire.h"

namespace zbdkit::ublk {

struct Note {
    std::uint64_t word = 0;
    std::uint64_t number = 0;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    WriteSlot slot;
    std::uint64_t reserved[2] = {};
};
static_assert(sizeof(Note) == 64);

/// A tag of a queue.
struct TagId {
    std::uint16_t queue = 0;
    std::uint16_t tag = 0;
    bool operator==(const TagId&) const = default;
};

struct InflightShape {
    std::uint32_t queue_count = 0;
    std::uint32_t queue_depth = 0;
    std::uint32_t device = 0;
    bool operator==(const InflightShape&) const = default;
};

class Inflight {
  public:
    /// Makes a file without notes, in the place of one that is there.
    /// @param image  what is served, for people
    /// Errors: messages that name the file.
    [[nodiscard]] static Outcome<Inflight> create(const std::string& path, InflightShape shape,
                                                  const std::string& image);
    /// Takes over the file of a server that is gone, and moves its notes to where left() finds
    /// them. Errors: no such file, or it is not that of such a device.
    [[nodiscard]] static Outcome<Inflight> take_over(const std::string& path, InflightShape shape);

    Inflight(Inflight&& other) noexcept;
    Inflight& operator=(Inflight&&) = delete;
    Inflight(const Inflight&) = delete;
    Inflight& operator=(const Inflight&) = delete;
    ~Inflight();

    /// Notes a request that has just come, before anything is done for it.
    void begin(TagId id, IoOperation operation, ByteRange range);
    /// The tag's note: its slot is for the nodes, its word for the kernel to clear.
    [[nodiscard]] Note& note(TagId id) { return notes_[index_of(id)]; }

    /// Notes of the server before whose requests have not come back yet: those with a word. Most
    /// stand at the index of their tag.
    [[nodiscard]] std::span<Note> left() { return notes_.subspan(notes_.size() / 2); }
    [[nodiscard]] std::size_t index_of(TagId id) const {
        return std::size_t{id.queue} * shape_.queue_depth + id.tag;
    }
    /// One of left() is that of the request that came with this tag: moves it there.
    void claim(Note& from, TagId id);

    /// What is served, for people.
    [[nodiscard]] std::string image() const;
    /// Removes the file: nothing will ever come back.
    void remove();

  private:
    Inflight(std::string path, InflightShape shape, MutableBytes memory);
    [[nodiscard]] Outcome<void> collect_left();
    [[nodiscard]] Outcome<void> leave(Note& note, std::size_t index);

    std::string path_;
    InflightShape shape_;
    MutableBytes memory_;    // mapped; empty once moved from
    std::span<Note> notes_;  // of memory_
    std::uint64_t next_number_ = 1;
};

/// What a file says is served, without taking it over. "" if there is none.
[[nodiscard]] std::string inflight_image(const std::string& path);

}  // namespace zbdkit::ublk
