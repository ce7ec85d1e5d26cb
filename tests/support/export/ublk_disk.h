// SPDX-License-Identifier: Apache-2.0
// A zoned image in memory, served as a ublk disk to a kernel that a test plays: it sends
// descriptors, keeps what was not answered when a server dies, and sends that to the next one. A
// death is a moment whose bytes, of the image and of the notes, are kept and restored.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "export/ublk/device.h"
#include "tests/support/export/notes_file.h"
#include "tests/support/node/zoned_format.h"

namespace zbdkit::test {

/// A node of another owner, for a backend that goes before it.
class BorrowedNode final : public BlockNode {
  public:
    explicit BorrowedNode(BlockNode& node, bool takes_lent_data = false)
        : BlockNode("borrowed"), node_(node) {
        NodeInfo info = node.info();
        info.takes_lent_data = takes_lent_data;
        set_info(info);
    }
    [[nodiscard]] std::string describe() const override { return node_.describe(); }

    /// Every later request fails so.
    std::optional<Error> error;
    /// Of each request that came, what it was, its range and whether it is to be durable.
    struct Seen {
        Op op;
        ByteRange range;
        bool fua;
        bool operator==(const Seen&) const = default;
    };
    std::vector<Seen> seen;

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        seen.push_back({request.op, request.range, request.fua});
        if (error) co_return std::unexpected(*error);
        co_return co_await node_.submit(request);
    }

  private:
    BlockNode& node_;
};

/// The kernel's pages of each tag.
class FakePort final : public ublk::DataPort {
  public:
    [[nodiscard]] Result<void> fetch(ublk::TagId id, MutableBytes to) override {
        if (fails) return fail(Errc::io, "cannot move data");
        std::ranges::copy(ConstBytes(pages_of(id)).first(to.size()), to.begin());
        ++fetched;
        return {};
    }
    [[nodiscard]] Result<void> deliver(ublk::TagId id, ConstBytes from) override {
        if (fails) return fail(Errc::io, "cannot move data");
        pages_of(id).assign(from.begin(), from.end());
        ++delivered;
        return {};
    }
    [[nodiscard]] std::vector<std::byte>& pages_of(ublk::TagId id) {
        return pages_.at(id.queue * std::size_t{8} + id.tag);
    }

    bool fails = false;
    unsigned fetched = 0;
    unsigned delivered = 0;

  private:
    std::array<std::vector<std::byte>, 16> pages_;
};

class UblkDisk : public ZonedFormat {
  protected:
    static constexpr ublk::InflightShape kShape{.queue_count = 2, .queue_depth = 8, .device = 0};

    /// A request that the kernel has sent to a tag.
    struct Asked {
        ublk::IoDescriptor descriptor;
        ublk::TagId id;
        AlignedBuffer buffer;
        AlignedBuffer lent;  ///< stands for the kernel's pages, if they are lent
        std::optional<ublk::Answer> answer;
    };
    /// What a dead server leaves.
    struct Remains {
        std::vector<std::byte> image;
        std::vector<std::byte> notes;
    };

    void SetUp() override {
        ZonedFormat::SetUp();
        start_first();
    }
    void TearDown() override {
        stop();
        ZonedFormat::TearDown();
    }

    /// Starts over with another disk.
    void serve(std::uint64_t size, std::string_view text) {
        stop();
        make(size, text);
        start_first();
    }
    void start_first() {
        inflight_.emplace(ublk::Inflight::create(file_.path(), kShape, "test").value());
        start();
    }
    void start() {
        auto borrowed = std::make_unique<BorrowedNode>(*disk_, takes_lent_data_);
        root_ = borrowed.get();
        backend_.emplace(std::move(borrowed));
        device_.emplace(*backend_, options_, *inflight_, port_, [this] { return time_ns_; });
    }
    void stop() {
        device_.reset();
        backend_.reset();
        inflight_.reset();
    }

    // --- the kernel ---

    [[nodiscard]] static ublk::IoDescriptor descriptor(ublk::IoOperation operation, ByteRange range,
                                                       std::uint32_t flags = 0) {
        return {.operation_and_flags = static_cast<std::uint32_t>(operation) | flags,
                .sectors = static_cast<std::uint32_t>(range.length / kSectorSize),
                .start_sector = range.offset / kSectorSize};
    }
    /// Sends a request. Its data, if it has some, are bytes of one value.
    Asked& send(const ublk::IoDescriptor& wanted, ublk::TagId id, std::uint8_t value = 0) {
        port_.pages_of(id).assign(wanted.sectors * kSectorSize, std::byte{value});
        Asked& asked = asked_.emplace_back(wanted, id, AlignedBuffer(options_.max_io_bytes));
        if (lends_data_) {
            asked.lent = AlignedBuffer(options_.max_io_bytes);
            std::ranges::fill(asked.lent.bytes(), std::byte{value});
        }
        scope_.spawn(drive(*device_, asked));
        settle();
        return asked;
    }
    Asked& send(ublk::IoOperation operation, ByteRange range, ublk::TagId id = {},
                std::uint8_t value = 0) {
        return send(descriptor(operation, range), id, value);
    }
    /// A request that is answered at once. @return what with
    ublk::Answer ask(ublk::IoOperation operation, ByteRange range, ublk::TagId id = {},
                     std::uint8_t value = 0) {
        return take_answer(send(operation, range, id, value));
    }
    /// The kernel takes an answer: from then on the note is gone.
    ublk::Answer take_answer(const Asked& asked) {
        EXPECT_TRUE(asked.answer.has_value());
        inflight_->note(asked.id).word = 0;
        return asked.answer.value_or(ublk::Answer{.result = 1});
    }
    static Task<void> drive(ublk::Device& device, Asked& asked) {
        const ublk::TagMemory memory{.buffer = asked.buffer.bytes(), .lent = asked.lent.bytes()};
        const ublk::Answer answer = co_await device.handle(asked.descriptor, asked.id, memory);
        asked.answer = answer;
    }

    // --- lives of the server ---

    /// What is left of the server if it dies now.
    [[nodiscard]] Remains remains() const {
        return {{memory_.bytes().begin(), memory_.bytes().end()}, file_.bytes()};
    }
    /// It died at that moment, and the next one has started.
    void die(const Remains& left) {
        end_all();
        stop();
        kill_daemon();
        std::ranges::copy(left.image, memory_.bytes().begin());
        file_.replace(left.notes);
        ASSERT_EQ(open(), "");
        inflight_.emplace(ublk::Inflight::take_over(file_.path(), kShape).value());
        start();
        EXPECT_TRUE(reactor_.run_to_end(device_->recover()).has_value());
    }
    void die() { die(remains()); }
    /// What the dead did after its death does not count.
    void end_all() {
        below_->hold_nothing();
        while (below_->held_count() != 0) release(0);
        asked_.clear();
    }
    void release(std::size_t index) {
        below_->release(index);
        settle();
    }
    /// Notes of requests that have not come back.
    [[nodiscard]] std::size_t left_count() {
        return static_cast<std::size_t>(std::ranges::count_if(
            inflight_->left(), [](const ublk::Note& note) { return note.word != 0; }));
    }
    [[nodiscard]] std::uint64_t word(ublk::TagId id) { return inflight_->note(id).word; }
    [[nodiscard]] const WriteSlot& slot(ublk::TagId id) { return inflight_->note(id).slot; }

    NotesFile file_;
    ublk::DiskOptions options_{.max_io_bytes = 64 * kKiB};
    bool takes_lent_data_ = false;  // the graph; to be set before start()
    bool lends_data_ = false;       // the kernel
    FakePort port_;
    std::uint64_t time_ns_ = 0;
    std::optional<ublk::Inflight> inflight_;
    std::optional<BlockBackend> backend_;
    BorrowedNode* root_ = nullptr;
    std::optional<ublk::Device> device_;
    std::deque<Asked> asked_;
};

}  // namespace zbdkit::test
