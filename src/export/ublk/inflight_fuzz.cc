// SPDX-License-Identifier: Apache-2.0
// Takes over a file made of the input, and works with what it leaves. It is refused, or it leaves
// no more notes than there are tags, the same ones to whoever takes it over again.
//
//   input = flags:u8 notes...   flags 1: what stands for notes is the whole file
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "base/assert.h"
#include "export/ublk/inflight.h"
#include "tests/fuzz/input.h"
#include "tests/support/export/notes_file.h"

using namespace zbdkit;
using namespace zbdkit::ublk;

namespace {

constexpr InflightShape kShape{.queue_count = 2, .queue_depth = 2, .device = 0};
constexpr std::size_t kTags = 4;
constexpr std::size_t kHeaderSize = 4096;
constexpr std::size_t kFileSize = kHeaderSize + 2 * kTags * sizeof(Note);

/// What a server of this device writes, with notes of the input.
std::vector<std::byte> sound_file(ConstBytes notes) {
    constexpr std::string_view kMagic = "ZBDUBLK1";
    constexpr std::array<std::uint32_t, 3> kNumbers = {1, 2, 2};
    std::vector<std::byte> bytes(kFileSize);
    std::memcpy(bytes.data(), kMagic.data(), kMagic.size());
    std::memcpy(&bytes[kMagic.size()], kNumbers.data(), sizeof kNumbers);
    std::copy_n(notes.begin(), std::min(notes.size(), kFileSize - kHeaderSize),
                bytes.begin() + kHeaderSize);
    return bytes;
}

void check_own_notes(Inflight& inflight) {
    for (const TagId id : {TagId{0, 0}, {0, 1}, {1, 0}, {1, 1}}) {
        ZBDKIT_ASSERT(inflight.note(id).word == 0);
    }
}

/// A server serves one request that came back and one that is new.
void serve(Inflight& inflight) {
    const auto found =
        std::ranges::find_if(inflight.left(), [](const Note& note) { return note.word != 0; });
    if (found != inflight.left().end()) {
        const std::uint64_t word = found->word;
        inflight.claim(*found, {1, 0});
        ZBDKIT_ASSERT(inflight.note({1, 0}).word == word && found->word == 0);
        inflight.note({1, 0}).word = 0;
    }
    inflight.begin({0, 1}, IoOperation::zone_close, {0, 0});
    inflight.note({0, 1}).word = 0;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const test::NotesFile file;
    test::FuzzInput input(std::as_bytes(std::span(data, size)));
    const bool is_whole = (input.byte() & 1) != 0;
    const ConstBytes rest = input.take_all();
    file.replace(is_whole ? std::vector<std::byte>(rest.begin(), rest.end()) : sound_file(rest));

    ZBDKIT_ASSERT(inflight_image(file.path()).size() < kHeaderSize);
    Outcome<Inflight> inflight = Inflight::take_over(file.path(), kShape);
    if (!inflight) {
        ZBDKIT_ASSERT(!inflight.error().message.empty());
        return 0;
    }
    ZBDKIT_ASSERT(inflight->left().size() == kTags);
    check_own_notes(*inflight);
    const std::vector<std::byte> first = file.bytes();
    ZBDKIT_ASSERT(Inflight::take_over(file.path(), kShape).has_value());
    ZBDKIT_ASSERT(file.bytes() == first);
    serve(*inflight);
    ZBDKIT_ASSERT(Inflight::take_over(file.path(), kShape).has_value());
    return 0;
}
