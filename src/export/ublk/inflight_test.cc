// SPDX-License-Identifier: Apache-2.0
// A server that dies is one whose file is copied as it is at that moment; the next takes the copy
// over.
#include "export/ublk/inflight.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <random>

#include "base/unique_fd.h"
#include "tests/support/export/notes_file.h"
#include "tests/support/export/single_steps.h"
#include "tests/support/seed.h"

namespace zbdkit::ublk {
namespace {

using test::MemoryState;
using test::NotesFile;

constexpr InflightShape kShape{.queue_count = 2, .queue_depth = 2, .device = 7};
constexpr std::size_t kFileSize = 4608;  // 4096, and 8 notes of 64
constexpr std::size_t kFirstNote = 4096;

/// A note, as a reader sees it.
struct Seen {
    std::uint64_t word;
    std::uint64_t number;
    ByteRange range;
    std::uint64_t place;
    std::uint64_t placed_length;
    bool operator==(const Seen&) const = default;
};
Seen seen(const Note& note) {
    return {note.word, note.number, {note.offset, note.length}, note.slot.place, note.slot.length};
}
/// What is left, the eldest first.
std::vector<Seen> seen_left(Inflight& inflight) {
    std::vector<Seen> found;
    for (const Note& note : inflight.left()) {
        if (note.word != 0) found.push_back(seen(note));
    }
    std::ranges::sort(found, {}, &Seen::number);
    return found;
}

class UblkInflight : public testing::Test {
  protected:
    Inflight create() { return Inflight::create(file.path(), kShape, "disk.img").value(); }
    Inflight take_over() { return Inflight::take_over(file.path(), kShape).value(); }
    std::string refusal(InflightShape shape = kShape) const {
        const Outcome<Inflight> inflight = Inflight::take_over(file.path(), shape);
        return inflight ? "" : inflight.error().message;
    }
    /// What a server finds that takes over a file with these notes.
    static std::vector<Seen> left_after(ConstBytes header, ConstBytes notes) {
        const NotesFile copy;
        std::vector<std::byte> bytes(header.begin(), header.end());
        bytes.insert(bytes.end(), notes.begin(), notes.end());
        copy.replace(bytes);
        Inflight inflight = Inflight::take_over(copy.path(), kShape).value();
        return seen_left(inflight);
    }
    /// The same for each of the states of one file's notes.
    std::vector<std::vector<Seen>> left_after_each(const std::vector<MemoryState>& states) const {
        const std::vector<std::byte> bytes = file.bytes();
        std::vector<std::vector<Seen>> found;
        for (const MemoryState& state : states) {
            found.push_back(left_after(ConstBytes(bytes).first(kFirstNote), state));
        }
        return found;
    }
    /// All notes of a file, as they are in memory.
    static ConstBytes notes_of(Inflight& inflight) {
        return {byte_pointer(&inflight.note({0, 0})), kFileSize - kFirstNote};
    }
    /// Changes a byte of the file.
    void poke(std::size_t at, std::uint8_t value) const {
        std::vector<std::byte> bytes = file.bytes();
        bytes[at] = std::byte{value};
        file.replace(bytes);
    }

    NotesFile file;
};

// --- the file ------------------------------------------------------------------------------------

TEST_F(UblkInflight, new_file_has_its_header_and_no_notes) {
    Inflight inflight = create();

    const std::vector<std::byte> bytes = file.bytes();
    EXPECT_EQ(bytes.size(), kFileSize);
    EXPECT_TRUE(
        std::ranges::equal(ConstBytes(bytes).first(8), std::as_bytes(std::span("ZBDUBLK1", 8))));
    EXPECT_EQ(load_le<std::uint32_t>(&bytes[8]), 1U);
    EXPECT_EQ(load_le<std::uint32_t>(&bytes[12]), 2U);
    EXPECT_EQ(load_le<std::uint32_t>(&bytes[16]), 2U);
    EXPECT_EQ(load_le<std::uint32_t>(&bytes[20]), 7U);
    EXPECT_TRUE(seen_left(inflight).empty());
}

TEST_F(UblkInflight, file_is_for_its_owner_only_and_has_all_its_memory) {
    const Inflight inflight = create();

    struct stat status{};
    ASSERT_EQ(::stat(file.path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600U);
    EXPECT_GE(static_cast<std::size_t>(status.st_blocks) * 512, kFileSize);
}

TEST_F(UblkInflight, new_file_takes_the_place_of_another) {
    Inflight before = create();
    before.begin({0, 0}, IoOperation::write, {4096, 512});

    (void)create();

    Inflight inflight = take_over();
    EXPECT_TRUE(seen_left(inflight).empty());
}

TEST_F(UblkInflight, file_that_cannot_be_made_is_named) {
    const Outcome<Inflight> inflight =
        Inflight::create(file.folder() + "/none/notes", kShape, "disk.img");

    EXPECT_EQ(inflight.error().message,
              "cannot create '" + file.folder() + "/none/notes': No such file or directory");
}

TEST_F(UblkInflight, removed_file_is_gone) {
    Inflight inflight = create();

    inflight.remove();

    EXPECT_FALSE(file.is_there());
    EXPECT_EQ(inflight.image(), "");
}

TEST_F(UblkInflight, image_is_told_without_taking_over) {
    const Inflight inflight = create();

    EXPECT_EQ(inflight.image(), "disk.img");
    EXPECT_EQ(inflight_image(file.path()), "disk.img");
    EXPECT_EQ(inflight_image(file.folder() + "/none"), "");
    EXPECT_EQ(inflight_image(file.folder()), "");
}

TEST_F(UblkInflight, long_image_name_is_cut) {
    const std::string name(5000, 'n');

    const Inflight inflight = Inflight::create(file.path(), kShape, name).value();

    EXPECT_EQ(inflight.image(), std::string(4071, 'n'));
    EXPECT_EQ(refusal(), "");
}

TEST_F(UblkInflight, image_of_something_else_is_not_told) {
    (void)create();
    poke(0, 'X');
    EXPECT_EQ(inflight_image(file.path()), "");

    file.replace(std::vector<std::byte>(100));
    EXPECT_EQ(inflight_image(file.path()), "");
}

TEST_F(UblkInflight, image_without_an_end_is_told_within_its_place) {
    (void)create();
    std::vector<std::byte> bytes = file.bytes();
    std::fill(bytes.begin() + 24, bytes.end(), std::byte{'n'});
    file.replace(bytes);

    EXPECT_EQ(inflight_image(file.path()), std::string(4071, 'n'));
}

// --- what is not taken over ----------------------------------------------------------------------

TEST_F(UblkInflight, missing_file_is_refused) {
    EXPECT_EQ(refusal(), "cannot open '" + file.path() + "': No such file or directory");
}

TEST_F(UblkInflight, file_of_another_size_is_refused) {
    (void)create();
    std::vector<std::byte> bytes = file.bytes();
    bytes.pop_back();
    file.replace(bytes);

    EXPECT_EQ(refusal(), "'" + file.path() + "' has 4607 bytes, expected 4608");
    EXPECT_EQ(Inflight::take_over(file.path(), kShape).error().code, Errc::corrupt);
}

TEST_F(UblkInflight, empty_file_is_refused) {
    file.replace({});

    EXPECT_EQ(refusal(), "'" + file.path() + "' has 0 bytes, expected 4608");
}

TEST_F(UblkInflight, file_of_another_device_or_shape_is_refused) {
    (void)create();
    const std::string message = "'" + file.path() + "' is not what a server of this device wrote";

    EXPECT_EQ(refusal({.queue_count = 2, .queue_depth = 2, .device = 8}), message);
    EXPECT_EQ(refusal({.queue_count = 1, .queue_depth = 4, .device = 7}), message);
    EXPECT_EQ(refusal(), "");
}

TEST_F(UblkInflight, other_magic_or_version_is_refused) {
    const std::string message = "'" + file.path() + "' is not what a server of this device wrote";
    (void)create();
    poke(7, '2');
    EXPECT_EQ(refusal(), message);

    (void)create();
    poke(8, 2);
    EXPECT_EQ(refusal(), message);
}

TEST_F(UblkInflight, what_is_no_file_is_refused) {
    ASSERT_EQ(::mkdir(file.path().c_str(), 0700), 0);
    EXPECT_EQ(refusal(), "cannot open '" + file.path() + "': Is a directory");

    ASSERT_EQ(::rmdir(file.path().c_str()), 0);
    ASSERT_EQ(::symlink("/dev/null", file.path().c_str()), 0);
    EXPECT_EQ(refusal(), "cannot open '" + file.path() + "': Too many levels of symbolic links");
    EXPECT_EQ(inflight_image(file.path()), "");
}

TEST_F(UblkInflight, more_notes_than_tags_are_refused) {
    Inflight inflight = create();
    for (const TagId id : {TagId{0, 0}, {0, 1}, {1, 0}, {1, 1}}) {
        inflight.begin(id, IoOperation::write, {4096, 512});
    }
    Inflight next = take_over();
    next.begin({0, 0}, IoOperation::write, {8192, 512});

    EXPECT_EQ(refusal(),
              "'" + file.path() + "' has more requests in flight than the device has tags");
}

// --- notes ---------------------------------------------------------------------------------------

TEST_F(UblkInflight, note_says_what_was_asked) {
    Inflight inflight = create();

    inflight.begin({1, 0}, IoOperation::zone_append, {1048576, 4096});

    EXPECT_EQ(seen(inflight.note({1, 0})), (Seen{14, 1, {1048576, 4096}, 0, 0}));
    EXPECT_EQ(inflight.index_of({1, 0}), 2U);
    EXPECT_EQ(inflight.note({1, 1}).word, 0U);
}

TEST_F(UblkInflight, note_of_a_tag_that_comes_again_has_no_place) {
    Inflight inflight = create();
    inflight.begin({0, 1}, IoOperation::write, {4096, 512});
    WriteRecord(inflight.note({0, 1}).slot).placed({4096, 512});
    inflight.note({0, 1}).word = 0;

    inflight.begin({0, 1}, IoOperation::write, {8192, 1024});

    EXPECT_EQ(seen(inflight.note({0, 1})), (Seen{2, 2, {8192, 1024}, 0, 0}));
}

TEST_F(UblkInflight, notes_are_left_at_the_index_of_their_tag) {
    Inflight before = create();
    before.begin({1, 1}, IoOperation::zone_close, {2097152, 0});
    before.begin({0, 1}, IoOperation::write, {4096, 512});
    WriteRecord(before.note({0, 1}).slot).placed({4096, 512});

    Inflight inflight = take_over();

    EXPECT_EQ(inflight.left().size(), 4U);
    EXPECT_EQ(seen(inflight.left()[1]), (Seen{2, 2, {4096, 512}, 4097, 512}));
    EXPECT_EQ(seen(inflight.left()[3]), (Seen{12, 1, {2097152, 0}, 0, 0}));
    EXPECT_EQ(seen_left(inflight).size(), 2U);
    EXPECT_EQ(inflight.note({0, 1}).word, 0U);
    EXPECT_EQ(inflight.note({1, 1}).word, 0U);
}

TEST_F(UblkInflight, answered_request_is_not_left) {
    Inflight before = create();
    before.begin({0, 0}, IoOperation::write, {4096, 512});
    before.begin({0, 1}, IoOperation::write, {8192, 512});
    before.note({0, 0}).word = 0;

    Inflight inflight = take_over();

    EXPECT_EQ(seen_left(inflight), (std::vector<Seen>{{2, 2, {8192, 512}, 0, 0}}));
}

TEST_F(UblkInflight, numbers_go_on_after_a_take_over) {
    Inflight before = create();
    before.begin({0, 0}, IoOperation::write, {4096, 512});
    before.begin({0, 0}, IoOperation::write, {4608, 512});
    Inflight inflight = take_over();

    inflight.begin({0, 0}, IoOperation::write, {8192, 512});

    EXPECT_EQ(inflight.note({0, 0}).number, 3U);
    EXPECT_EQ(inflight.left()[0].number, 2U);
}

TEST_F(UblkInflight, claimed_note_is_the_tags_with_its_place_and_number) {
    Inflight before = create();
    before.begin({0, 0}, IoOperation::zone_append, {1048576, 512});
    WriteRecord(before.note({0, 0}).slot).placed({1052672, 512});
    Inflight inflight = take_over();

    inflight.claim(inflight.left()[0], {1, 1});

    EXPECT_EQ(seen(inflight.note({1, 1})), (Seen{14, 1, {1048576, 512}, 1052673, 512}));
    EXPECT_TRUE(seen_left(inflight).empty());
}

TEST_F(UblkInflight, note_whose_place_is_taken_finds_another) {
    Inflight first = create();
    first.begin({0, 0}, IoOperation::write, {4096, 512});
    Inflight second = take_over();
    second.begin({0, 0}, IoOperation::write, {8192, 512});

    Inflight inflight = take_over();

    EXPECT_EQ(seen_left(inflight),
              (std::vector<Seen>{{2, 1, {4096, 512}, 0, 0}, {2, 2, {8192, 512}, 0, 0}}));
    EXPECT_EQ(inflight.left()[0].number, 1U);
    EXPECT_EQ(inflight.note({0, 0}).word, 0U);
}

TEST_F(UblkInflight, moved_object_goes_on) {
    Inflight first = create();
    first.begin({0, 0}, IoOperation::write, {4096, 512});

    Inflight second(std::move(first));
    second.begin({0, 1}, IoOperation::write, {8192, 512});

    EXPECT_EQ(second.note({0, 0}).number, 1U);
    EXPECT_EQ(second.note({0, 1}).number, 2U);
    EXPECT_EQ(second.image(), "disk.img");
}

// --- deaths between any two stores ---------------------------------------------------------------

/// Skipped where the machine forbids to trace.
class UblkInflightDeath : public UblkInflight {
  protected:
    /// The states of a file's notes while a server that was forked off works on them.
    template <class Work>
    std::optional<std::vector<MemoryState>> states(Inflight& inflight, Work work) {
        return test::states_during(notes_of(inflight), work);
    }
};

TEST_F(UblkInflightDeath, over_a_new_note_leaves_it_whole_or_not_at_all) {
    Inflight inflight = create();
    inflight.begin({0, 0}, IoOperation::write, {4096, 512});
    inflight.begin({0, 1}, IoOperation::zone_append, {1048576, 8192});
    WriteRecord(inflight.note({0, 1}).slot).placed({1048576, 8192});
    inflight.note({0, 1}).word = 0;
    const auto left =
        states(inflight, [&] { inflight.begin({0, 1}, IoOperation::zone_close, {2097152, 0}); });
    if (!left) GTEST_SKIP() << "this process may not trace another one";
    const auto found = left_after_each(*left);

    const std::vector<Seen> before = {{2, 1, {4096, 512}, 0, 0}};
    const std::vector<Seen> after = {{2, 1, {4096, 512}, 0, 0}, {12, 3, {2097152, 0}, 0, 0}};
    ASSERT_GE(found.size(), 6U);  // number, offset, length, place, its length, word
    EXPECT_EQ(found.back(), after);
    EXPECT_EQ(std::ranges::count(found, before), static_cast<std::ptrdiff_t>(found.size() - 1));
}

TEST_F(UblkInflightDeath, over_a_claim_loses_and_doubles_nothing) {
    Inflight before = create();
    before.begin({0, 0}, IoOperation::zone_append, {1048576, 512});
    before.begin({0, 1}, IoOperation::zone_append, {1048576, 1024});
    WriteRecord(before.note({0, 1}).slot).placed({1052672, 1024});
    Inflight inflight = take_over();
    const auto left = states(inflight, [&] { inflight.claim(inflight.left()[1], {1, 0}); });
    if (!left) GTEST_SKIP() << "this process may not trace another one";
    const auto found = left_after_each(*left);

    const std::vector<Seen> both = {{14, 1, {1048576, 512}, 0, 0},
                                    {14, 2, {1048576, 1024}, 1052673, 1024}};
    EXPECT_GE(found.size(), 7U);
    EXPECT_EQ(std::ranges::count(found, both), static_cast<std::ptrdiff_t>(found.size()));
}

TEST_F(UblkInflightDeath, over_a_take_over_loses_and_doubles_nothing) {
    Inflight first = create();
    first.begin({0, 0}, IoOperation::write, {4096, 512});
    first.begin({1, 1}, IoOperation::write, {65536, 512});
    Inflight inflight = take_over();
    inflight.claim(inflight.left()[3], {0, 1});
    inflight.begin({0, 0}, IoOperation::zone_append, {1048576, 1024});
    const auto left = states(inflight, [&] {
        if (!Inflight::take_over(file.path(), kShape)) ::_exit(1);
    });
    if (!left) GTEST_SKIP() << "this process may not trace another one";
    const auto found = left_after_each(*left);

    const std::vector<Seen> all = {
        {2, 1, {4096, 512}, 0, 0}, {2, 2, {65536, 512}, 0, 0}, {14, 3, {1048576, 1024}, 0, 0}};
    EXPECT_GE(found.size(), 8U);
    EXPECT_EQ(std::ranges::count(found, all), static_cast<std::ptrdiff_t>(found.size()));
}

// --- noise ---------------------------------------------------------------------------------------

/// Whatever notes there are: they are refused, or there are no more than tags.
TEST_F(UblkInflight, noise_is_refused_or_harmless) {
    SCOPED_TRACE(test::seed_trace());
    std::mt19937_64 random(test::seed());
    (void)create();
    std::vector<std::byte> bytes = file.bytes();
    unsigned taken = 0;
    for (int round = 0; round < 300; ++round) {
        for (std::size_t i = kFirstNote; i < bytes.size(); ++i) {
            // Few values: many words are 0, and numbers repeat.
            bytes[i] = i % 8 == 0 ? std::byte(random() % 4) : std::byte{0};
        }
        file.replace(bytes);
        Outcome<Inflight> inflight = Inflight::take_over(file.path(), kShape);
        if (!inflight) continue;
        ++taken;
        ASSERT_EQ(inflight->left().size(), 4U);
        ASSERT_EQ(inflight->note({0, 0}).word + inflight->note({0, 1}).word, 0U);
        ASSERT_EQ(inflight->note({1, 0}).word + inflight->note({1, 1}).word, 0U);
    }
    EXPECT_GT(taken, 20U);
    EXPECT_LT(taken, 300U);
}

}  // namespace
}  // namespace zbdkit::ublk
