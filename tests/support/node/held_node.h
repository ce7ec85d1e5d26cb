// SPDX-License-Identifier: Apache-2.0
// A filter for tests that holds writes (and discards, if asked to) until the test lets them go, in
// any order, and fails those the test chooses. What it did is recorded.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "block/node.h"
#include "io/sync.h"

namespace zbdkit::test {

class HeldNode final : public PassthroughFilter {
  public:
    /// One operation that reached the node.
    struct Seen {
        Op op;
        ByteRange range;
        bool operator==(const Seen&) const = default;
    };
    struct Held {
        ByteRange range;
        AsyncEvent released;
        std::optional<Errc> failure;
    };

    /// @param mappable  whether it passes map() on
    /// @param durable   whether it says that what it completed is durable
    explicit HeldNode(std::unique_ptr<BlockNode> child, bool mappable = true, bool durable = false)
        : PassthroughFilter("held", std::move(child)), mappable_(mappable) {
        NodeInfo own = info();
        own.durable_on_completion = durable;
        set_info(std::move(own));
    }

    [[nodiscard]] Result<NodeMapping> map(ByteRange range) override {
        return mappable_ ? child().map(range) : BlockNode::map(range);
    }

    /// From now on writes at or above `offset` wait for release().
    void hold_from(std::uint64_t offset) { hold_from_ = offset; }
    void hold_nothing() { hold_from_ = ~std::uint64_t{0}; }
    /// From now on discards wait too, wherever they are.
    void hold_discards() { holds_discards_ = true; }
    /// How many writes wait.
    [[nodiscard]] std::size_t held_count() const { return held_.size(); }
    [[nodiscard]] ByteRange held_range(std::size_t index) const { return held_.at(index)->range; }
    /// Lets the write go that is `index`th in order of arrival.
    void release(std::size_t index, std::optional<Errc> failure = std::nullopt) {
        const std::shared_ptr<Held> held = held_.at(index);
        held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(index));
        held->failure = failure;
        held->released.set();
    }
    /// Every later operation of this kind fails so.
    void fail_all(Op op, Errc code) {
        fail_op_ = op;
        fail_code_ = code;
    }
    void fail_nothing() { fail_op_.reset(); }

    [[nodiscard]] const std::vector<Seen>& seen() const { return seen_; }
    void forget() { seen_.clear(); }

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        seen_.push_back({request.op, request.range});
        if (fail_op_ == request.op) co_return fail(fail_code_, "failed by the test");
        const bool is_held_write = request.op == Op::write && request.range.offset >= hold_from_;
        if (is_held_write || (request.op == Op::discard && holds_discards_)) {
            auto held = std::make_shared<Held>();  // shared by the queue and this coroutine
            held->range = request.range;
            held_.push_back(held);
            co_await held->released.wait();
            if (held->failure) co_return fail(*held->failure, "failed by the test");
        }
        co_return co_await child().submit(request);
    }

  private:
    bool mappable_;
    std::uint64_t hold_from_ = ~std::uint64_t{0};
    bool holds_discards_ = false;
    std::deque<std::shared_ptr<Held>> held_;
    std::optional<Op> fail_op_;
    Errc fail_code_ = Errc::io;
    std::vector<Seen> seen_;
};

}  // namespace zbdkit::test
