// SPDX-License-Identifier: Apache-2.0
// A filter: watches or changes what passes; bytes and addresses stay as they are. This one lets
// only so many requests through.
#include "base/log.h"
#include "tests/examples/drivers.h"

namespace zbdkit::examples {
namespace {

constexpr std::array kOptions = {
    OptionInfo{"most", "N", "how many requests may pass"},
};

// PassthroughFilter forwards everything: zones, mappings, close. Override only what you came for.
class CountFilter final : public PassthroughFilter {
  public:
    CountFilter(std::unique_ptr<BlockNode> child, std::uint64_t most)
        : PassthroughFilter("count", std::move(child)), left_(most) {}

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        if (left_ == 0) co_return fail(Errc::io, "the filter has let through all it may");
        --left_;
        const Result<void> result = co_await child().submit(request);
        if (!result) spdlog::debug("{}: {}", op_name(request.op), zbdkit::describe(result.error()));
        co_return result;
    }

  private:
    std::uint64_t left_;
};

Task<Outcome<std::unique_ptr<BlockNode>>> open_count(OpenContext& /*context*/,
                                                     const OptionValues& options,
                                                     ChildNodes& children) {
    constexpr std::uint64_t kMost = 1'000'000;
    co_await ok(options.required_text("most"));
    const std::uint64_t most = co_await ok(options.number("most", 0, kMost));
    co_return std::make_unique<CountFilter>(std::move(children.front()), most);
}

}  // namespace

const DriverInfo kCountDriver = {"count",  DriverKind::filter, "lets so many requests through",
                                 kOptions, kOneChild,          open_count};

}  // namespace zbdkit::examples
