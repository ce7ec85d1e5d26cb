// SPDX-License-Identifier: Apache-2.0
#include "node/filter/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/text.h"
#include "node/filter/option_list.h"

namespace zbdkit {
namespace {

constexpr std::uint64_t kDefaultLimit = 100;
constexpr std::uint64_t kMaxLimit = 1'000'000;
constexpr std::uint64_t kSecondNs = 1'000'000'000;

constexpr std::array kOptions = {
    OptionInfo{"ops", "OP[:OP...]",
               "operations to log: read, write, append, write_zeroes, discard, flush, "
               "report_zones, zone_open, zone_close, zone_finish, zone_reset, zone_reset_all "
               "(default all)"},
    OptionInfo{"ops.*", "OP", "the same as a list"},
    OptionInfo{"limit", "COUNT", "messages a second, up to 1000000; 0 for none (default 100)"},
};

class TraceNode final : public PassthroughFilter {
  public:
    TraceNode(Reactor& reactor, std::unique_ptr<BlockNode> child, OpSet ops, std::uint64_t limit)
        : PassthroughFilter("trace", std::move(child)),
          reactor_(reactor),
          ops_(ops),
          limiter_(static_cast<std::uint32_t>(limit),
                   kSecondNs / std::max<std::uint64_t>(limit, 1)) {}

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        return ops_.has(request.op) ? traced(request) : child().submit(request);
    }

  private:
    [[nodiscard]] Task<Result<void>> traced(Request& request);
    void log_start(std::uint64_t number, const Request& request, std::uint64_t now_ns);
    void log_end(std::uint64_t number, const Request& request, const Result<void>& result,
                 std::uint64_t begin_ns);
    [[nodiscard]] std::string held_back();

    Reactor& reactor_;
    OpSet ops_;
    LogLimiter limiter_;
    std::uint64_t requests_ = 0;
};

/// The operation and its bytes: "write 4096+8192 fua", "zone_open 1048576", "flush".
std::string request_text(const Request& request) {
    std::string text = op_name(request.op);
    if (request.op == Op::flush || request.op == Op::zone_reset_all) return text;
    text += fmt::format(" {}", request.range.offset);
    if (request.range.length != 0) text += fmt::format("+{}", request.range.length);
    if (request.fua) text += " fua";
    return text;
}

/// What a successful request brought back: "", " at 4096" or ", 7 zones".
std::string answer_text(const Request& request) {
    if (request.op == Op::append) return fmt::format(" at {}", request.append_offset);
    if (request.op == Op::report_zones) return fmt::format(", {} zones", request.zones_reported);
    return "";
}

Task<Result<void>> TraceNode::traced(Request& request) {
    const std::uint64_t number = ++requests_;
    const std::uint64_t begin_ns = reactor_.now_ns();
    log_start(number, request, begin_ns);
    const Result<void> result = co_await child().submit(request);
    log_end(number, request, result, begin_ns);
    co_return result;
}

void TraceNode::log_start(std::uint64_t number, const Request& request, std::uint64_t now_ns) {
    if (!limiter_.allow(now_ns)) return;
    spdlog::info("'{}': #{} {}{}", describe(), number, request_text(request), held_back());
}

void TraceNode::log_end(std::uint64_t number, const Request& request, const Result<void>& result,
                        std::uint64_t begin_ns) {
    const std::uint64_t now_ns = reactor_.now_ns();
    if (!limiter_.allow(now_ns)) return;
    const std::string took = format_duration(now_ns - begin_ns);
    const std::string outcome =
        result ? fmt::format("done{} in {}", answer_text(request), took)
               : fmt::format("failed in {}: {}", took, zbdkit::describe(result.error()));
    spdlog::info("'{}': #{} {}: {}{}", describe(), number, request_text(request), outcome,
                 held_back());
}

std::string TraceNode::held_back() {
    const std::uint64_t count = limiter_.take_suppressed();
    return count == 0 ? "" : fmt::format(" ({} messages before this one were held back)", count);
}

Outcome<OpSet> traced_ops(const OptionValues& options) {
    std::vector<std::string_view> names;
    OpSet all;
    for (std::size_t i = 0; i < kOpCount; ++i) {
        names.emplace_back(op_name(static_cast<Op>(i)));
        all.add(static_cast<Op>(i));
    }
    const std::vector<std::string> words = word_list(options, "ops");
    if (words.empty()) return all;
    OpSet chosen;
    for (const std::string& word : words) {
        const std::optional<Op> op = find_op(word);
        if (!op) {
            return bad_option(options, "ops",
                              fmt::format("unknown operation '{}'{}: known are {}", word,
                                          did_you_mean(word, names), fmt::join(names, ", ")));
        }
        chosen.add(*op);
    }
    return chosen;
}

Task<Outcome<std::unique_ptr<BlockNode>>> open_trace(OpenContext& context,
                                                     const OptionValues& options,
                                                     ChildNodes& children) {
    const OpSet ops = co_await ok(traced_ops(options));
    const std::uint64_t limit = co_await ok(options.number("limit", kDefaultLimit, kMaxLimit));
    std::unique_ptr<BlockNode> node = std::make_unique<TraceNode>(
        context.reactor, std::move(children.front()), limit == 0 ? OpSet{} : ops, limit);
    co_return node;
}

}  // namespace

const DriverInfo kTraceDriver = {"trace",  DriverKind::filter, "logs each request",
                                 kOptions, kOneChild,          open_trace};

}  // namespace zbdkit
