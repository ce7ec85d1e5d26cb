// SPDX-License-Identifier: Apache-2.0
// BlockNode: one node of the graph. submit() checks the contract at every hop and calls
// do_submit(), the one function a node implements. There are two bases for nodes with a child:
//   PassthroughFilter  same bytes at the same addresses: forwards everything by default, so a new
//                      Op needs no change in any filter and a filter cannot lose the zones;
//   TranslatingNode    other bytes or addresses: forwards nothing; its switch over Op has no
//                      default, so the build stops where someone must think.
// A graph belongs to one reactor; nodes need no locks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/bytes.h"
#include "base/error.h"
#include "block/request.h"
#include "io/task.h"
#include "zone/zone.h"

namespace zbdkit {

/// A set of operations.
class OpSet {
  public:
    constexpr OpSet() = default;
    constexpr OpSet(std::initializer_list<Op> ops) {
        for (const Op op : ops) bits_ |= bit(op);
    }
    [[nodiscard]] constexpr bool has(Op op) const { return (bits_ & bit(op)) != 0; }
    constexpr void add(Op op) { bits_ |= bit(op); }
    constexpr void remove(Op op) { bits_ &= ~bit(op); }
    constexpr bool operator==(const OpSet&) const = default;

  private:
    static constexpr std::uint32_t bit(Op op) {
        return std::uint32_t{1} << static_cast<unsigned>(op);
    }
    std::uint32_t bits_ = 0;
};

/// What a node is. Fixed when it is opened.
struct NodeInfo {
    std::uint64_t size = 0;                   ///< bytes
    std::uint32_t block_size = 512;           ///< logical block, bytes: offsets and lengths of
                                              ///< reads and writes are multiples of it
    std::uint32_t physical_block_size = 512;  ///< bytes; a multiple of block_size
    std::uint32_t memory_alignment = 1;  ///< bytes; what segments' addresses should be aligned to
    bool read_only = false;
    /// Whether the data of writes and appends need not be in this process: no node from here down
    /// looks at it, and the leaf hands it to the engine (io/lent_buffers.h).
    bool takes_lent_data = false;
    OpSet ops{};  ///< what do_submit() takes
    /// A completed write outlives this host, flushed or not.
    bool durable_on_completion = false;
    /// The node's bytes, if they lie in this process's memory for as long as the node lives, in
    /// the node's order: to be brought into the processor's cache ahead of a request. Else empty.
    ConstBytes resident{};
    ZoneGeometry zones{};  ///< model none if the node is not zoned
};

/// Memory that is the same as a range of the node's bytes, until it is destroyed.
class NodeMapping {
  public:
    NodeMapping() = default;
    NodeMapping(MutableBytes bytes, std::move_only_function<void()> release)
        : bytes_(bytes), release_(std::move(release)) {}
    NodeMapping(NodeMapping&& other) noexcept
        : bytes_(std::exchange(other.bytes_, {})), release_(std::exchange(other.release_, {})) {}
    NodeMapping& operator=(NodeMapping&& other) noexcept;
    NodeMapping(const NodeMapping&) = delete;
    NodeMapping& operator=(const NodeMapping&) = delete;
    ~NodeMapping() { reset(); }

    [[nodiscard]] MutableBytes bytes() const { return bytes_; }
    void reset();

  private:
    MutableBytes bytes_;
    std::move_only_function<void()> release_;
};

class BlockNode {
  public:
    explicit BlockNode(std::string driver) : driver_(std::move(driver)) {}
    BlockNode(const BlockNode&) = delete;
    BlockNode& operator=(const BlockNode&) = delete;
    virtual ~BlockNode() = default;

    /// Performs the request. The awaited task fills in its results.
    /// Errors: not_supported, read_only, out_of_range, misaligned from the contract check, and
    /// what the node finds. Thread: owner reactor. The task must be awaited.
    [[nodiscard]] Task<Result<void>> submit(Request& request);

    [[nodiscard]] const NodeInfo& info() const { return info_; }
    [[nodiscard]] const std::string& driver() const { return driver_; }
    [[nodiscard]] const std::string& name() const { return name_; }
    void set_name(std::string name) { name_ = std::move(name); }
    /// How many nodes lie on the longest way from here down to a leaf: 0 for a leaf.
    [[nodiscard]] int depth() const { return depth_; }
    void set_depth(int depth) { depth_ = depth; }
    /// What it serves, for people: a file name, or the child's.
    [[nodiscard]] virtual std::string describe() const = 0;

    /// Maps a range of the node's bytes into memory, shared with the medium.
    /// Errors: not_supported where the medium has no such thing.
    [[nodiscard]] virtual Result<NodeMapping> map(ByteRange range);

    /// Where an append to a zone would go now, as a guess for what comes ahead of requests. Nothing
    /// is checked but that it can be answered.
    /// @param offset  bytes, below info().size
    /// @return bytes; `offset` where nobody knows
    [[nodiscard]] virtual std::uint64_t append_place(std::uint64_t offset) const { return offset; }

    /// Ends the node's life in good order: everything durable, marked clean, children closed. No
    /// request may be in flight or come later. Called once before destruction.
    [[nodiscard]] virtual Task<Outcome<void>> close();

  protected:
    [[nodiscard]] virtual Task<Result<void>> do_submit(Request& request) = 0;
    /// Sets what the node is, once, while it is opened.
    void set_info(NodeInfo info) { info_ = std::move(info); }

  private:
    [[nodiscard]] Result<void> check_contract(const Request& request) const;

    std::string driver_;
    std::string name_;
    int depth_ = 0;
    NodeInfo info_;
};

/// A node with the same bytes at the same addresses as its child.
class PassthroughFilter : public BlockNode {
  public:
    PassthroughFilter(std::string driver, std::unique_ptr<BlockNode> child);
    [[nodiscard]] std::string describe() const override { return child_->describe(); }
    [[nodiscard]] Result<NodeMapping> map(ByteRange range) override { return child_->map(range); }
    [[nodiscard]] std::uint64_t append_place(std::uint64_t offset) const override {
        return child_->append_place(offset);
    }
    [[nodiscard]] Task<Outcome<void>> close() override { return child_->close(); }

  protected:
    [[nodiscard]] Task<Result<void>> do_submit(Request& request) override {
        return child_->submit(request);
    }
    [[nodiscard]] BlockNode& child() { return *child_; }

  private:
    std::unique_ptr<BlockNode> child_;
};

/// A node whose bytes or addresses differ from its child's.
class TranslatingNode : public BlockNode {
  public:
    TranslatingNode(std::string driver, std::unique_ptr<BlockNode> child)
        : BlockNode(std::move(driver)), child_(std::move(child)) {}
    [[nodiscard]] std::string describe() const override { return child_->describe(); }

  protected:
    [[nodiscard]] BlockNode& child() { return *child_; }
    [[nodiscard]] const BlockNode& child() const { return *child_; }

  private:
    std::unique_ptr<BlockNode> child_;
};

}  // namespace zbdkit
