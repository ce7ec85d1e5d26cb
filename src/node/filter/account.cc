// SPDX-License-Identifier: Apache-2.0
#include "node/filter/account.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "base/log.h"
#include "base/text.h"
#include "base/unique_fd.h"
#include "io/file_io.h"

namespace zbdkit {
namespace {

constexpr std::array kOptions = {
    OptionInfo{"output", "PATH",
               "file that gets the counts as JSON when the node is closed (default: the log gets "
               "one line an operation)"},
};

class AccountNode final : public PassthroughFilter {
  public:
    AccountNode(Reactor& reactor, std::unique_ptr<BlockNode> child, std::string output,
                UniqueFd file)
        : PassthroughFilter("account", std::move(child)),
          reactor_(reactor),
          output_(std::move(output)),
          file_(std::move(file)) {}

    [[nodiscard]] const Accounts& accounts() const { return accounts_; }
    [[nodiscard]] Task<Outcome<void>> close() override;

  protected:
    Task<Result<void>> do_submit(Request& request) override;

  private:
    [[nodiscard]] Task<Outcome<void>> write_output();
    void log_summary() const;

    Reactor& reactor_;
    std::string output_;
    UniqueFd file_;  ///< of `output_`, if there is one
    Accounts accounts_{};
};

Task<Result<void>> AccountNode::do_submit(Request& request) {
    const std::uint64_t begin_ns = reactor_.now_ns();
    const Result<void> result = co_await child().submit(request);
    const std::uint64_t bytes = result ? request.range.length : 0;
    accounts_[static_cast<std::size_t>(request.op)].add(result.has_value(), bytes,
                                                        reactor_.now_ns() - begin_ns);
    co_return result;
}

Task<Outcome<void>> AccountNode::close() {
    Outcome<void> closed = co_await child().close();
    Outcome<void> written;
    if (file_) {
        written = co_await write_output();
    } else {
        log_summary();
    }
    co_return closed ? std::move(written) : std::move(closed);
}

Task<Outcome<void>> AccountNode::write_output() {
    const std::string text = accounts_json(accounts_);
    const iovec segment = segment_of(std::as_bytes(std::span(text)));
    const Result<void> written =
        co_await write_exactly(reactor_, file_.get(), 0, IoSegments(&segment, 1));
    if (!written) {
        co_return failure(fmt::format("cannot write the counts to '{}'", output_), written.error());
    }
    // What an earlier run left behind the end.
    if (::ftruncate(file_.get(), static_cast<off_t>(text.size())) != 0) {
        co_return failure(fmt::format("cannot shorten '{}' to {} bytes: {}", output_, text.size(),
                                      std::strerror(errno)));
    }
    co_return Outcome<void>{};
}

void AccountNode::log_summary() const {
    for (std::size_t i = 0; i < kOpCount; ++i) {
        const OpAccount& account = accounts_[i];
        if (account.requests == 0) continue;
        spdlog::info(
            "'{}': {}: {} requests, {} failed, {}; mean {}, 99% below {}, longest {}", describe(),
            op_name(static_cast<Op>(i)), account.requests, account.failures,
            format_size(account.bytes), format_duration(account.latency_sum_ns / account.requests),
            format_duration(account.latency_below_ns(99)), format_duration(account.latency_max_ns));
    }
}

Task<Outcome<std::unique_ptr<BlockNode>>> open_account(OpenContext& context,
                                                       const OptionValues& options,
                                                       ChildNodes& children) {
    std::string output = options.text("output");
    UniqueFd file;
    if (options.has("output")) {
        file = UniqueFd(::open(output.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
        if (!file) {
            co_return failure(fmt::format("{}: option 'output': cannot open '{}' for writing: {}",
                                          options.subject(), output, std::strerror(errno)));
        }
    }
    std::unique_ptr<BlockNode> node = std::make_unique<AccountNode>(
        context.reactor, std::move(children.front()), std::move(output), std::move(file));
    co_return node;
}

std::string buckets_json(const OpAccount& account) {
    std::string text;
    for (std::size_t i = 0; i < OpAccount::kBuckets; ++i) {
        if (account.latencies[i] == 0) continue;
        text += fmt::format("{}{{\"from_ns\": {}, \"requests\": {}}}", text.empty() ? "" : ", ",
                            i == 0 ? 0 : std::uint64_t{1} << i, account.latencies[i]);
    }
    return text;
}

}  // namespace

void OpAccount::add(bool succeeded, std::uint64_t bytes_done, std::uint64_t latency_ns) {
    ++requests;
    if (!succeeded) ++failures;
    bytes += bytes_done;
    latency_sum_ns += latency_ns;
    latency_max_ns = std::max(latency_max_ns, latency_ns);
    const auto bucket = static_cast<std::size_t>(std::bit_width(latency_ns | 1) - 1);
    ++latencies[std::min(bucket, kBuckets - 1)];
}

std::uint64_t OpAccount::latency_below_ns(unsigned percent) const {
    std::uint64_t counted = 0;
    for (std::size_t i = 0; i < kBuckets; ++i) {
        counted += latencies[i];
        if (counted != 0 && counted * 100 >= requests * percent) return std::uint64_t{2} << i;
    }
    return 0;
}

std::string accounts_json(const Accounts& accounts) {
    std::string text = "{\n";
    for (std::size_t i = 0; i < kOpCount; ++i) {
        const OpAccount& account = accounts[i];
        text += fmt::format(
            "  \"{}\": {{\"requests\": {}, \"failures\": {}, \"bytes\": {}, "
            "\"latency\": {{\"sum_ns\": {}, \"max_ns\": {}, \"buckets\": [{}]}}}}{}\n",
            op_name(static_cast<Op>(i)), account.requests, account.failures, account.bytes,
            account.latency_sum_ns, account.latency_max_ns, buckets_json(account),
            i + 1 < kOpCount ? "," : "");
    }
    return text + "}\n";
}

const Accounts* accounts_of(const BlockNode& node) {
    const auto* account = dynamic_cast<const AccountNode*>(&node);
    return account == nullptr ? nullptr : &account->accounts();
}

const DriverInfo kAccountDriver = {"account", DriverKind::filter, "counts requests and latencies",
                                   kOptions,  kOneChild,          open_account};

}  // namespace zbdkit
