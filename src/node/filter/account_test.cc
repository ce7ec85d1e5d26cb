// SPDX-License-Identifier: Apache-2.0
#include "node/filter/account.h"

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/support/node/captured_log.h"
#include "tests/support/node/filter_test.h"

namespace zbdkit {
namespace {

using test::kOk;

class Account : public test::FilterTest {
  protected:
    const OpAccount& of(const BlockNode& node, Op op) {
        return accounts_of(node)->at(static_cast<std::size_t>(op));
    }
};

TEST_F(Account, counts_requests_bytes_and_failures_of_each_operation) {
    const auto node = open(kAccountDriver, "", zoned_disk()).value();
    ASSERT_EQ(append(*node, kZone, 8192), kOk);
    ASSERT_EQ(append(*node, kZone, 4096), kOk);
    ASSERT_EQ(write(*node, kZone, 4096), Errc::zone_unaligned_wp);
    ASSERT_EQ(act(*node, Op::zone_reset, kZone), kOk);
    EXPECT_EQ(of(*node, Op::append).requests, 2U);
    EXPECT_EQ(of(*node, Op::append).bytes, 12288U);
    EXPECT_EQ(of(*node, Op::write).requests, 1U);
    EXPECT_EQ(of(*node, Op::write).failures, 1U);
    EXPECT_EQ(of(*node, Op::write).bytes, 0U);
    EXPECT_EQ(of(*node, Op::zone_reset).requests, 1U);
    EXPECT_EQ(of(*node, Op::read).requests, 0U);
    close(*node);
}

TEST_F(Account, zones_come_through) {
    const auto node = open(kAccountDriver, "", zoned_disk()).value();
    EXPECT_EQ(node->info().zones.zone_size, kZone);
    EXPECT_EQ(report(*node).size(), 8U);
    close(*node);
}

TEST_F(Account, plain_storage_is_counted_too) {
    const auto node = open(kAccountDriver, "", plain_disk()).value();
    ASSERT_EQ(read(*node, 0, 4096), kOk);
    ASSERT_EQ(submit(*node, flush_request()), kOk);
    EXPECT_EQ(of(*node, Op::read).bytes, 4096U);
    EXPECT_EQ(of(*node, Op::flush).requests, 1U);
    close(*node);
}

TEST_F(Account, node_that_counts_nothing_has_no_accounts) {
    const auto node = plain_disk();
    EXPECT_EQ(accounts_of(*node), nullptr);
}

TEST_F(Account, output_file_has_the_counts_as_json_after_close) {
    const std::string path =
        (std::filesystem::temp_directory_path() / ("zbdkit-account-" + std::to_string(::getpid())))
            .string();
    std::ofstream(path) << std::string(100'000, 'x');  // of an earlier run, and longer
    const auto node = open(kAccountDriver, "output=" + path, plain_disk()).value();
    ASSERT_EQ(write(*node, 0, 4096), kOk);
    close(*node);
    std::ifstream file(path);
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    std::filesystem::remove(path);
    EXPECT_EQ(text, accounts_json(*accounts_of(*node)));
    EXPECT_NE(text.find("\"write\": {\"requests\": 1, \"failures\": 0, \"bytes\": 4096,"),
              std::string::npos)
        << text;
}

TEST_F(Account, without_output_the_log_gets_a_line_for_each_operation_seen) {
    const auto node = open(kAccountDriver, "", plain_disk()).value();
    ASSERT_EQ(write(*node, 0, 4096), kOk);
    const test::CapturedLog log;
    close(*node);
    EXPECT_EQ(log.text().find("info: 'memory of 2 MiB': write: 1 requests, 0 failed, 4 KiB; mean"),
              0U)
        << log.text();
    EXPECT_EQ(log.text().find("read:"), std::string::npos);
}

TEST_F(Account, output_that_cannot_be_opened_is_refused) {
    EXPECT_EQ(refusal(kAccountDriver, "output=/nonexistent/counts", plain_disk()),
              "driver 'account': option 'output': cannot open '/nonexistent/counts' for writing: "
              "No such file or directory");
}

TEST(OpAccount, latency_goes_to_the_bucket_of_its_power_of_two) {
    OpAccount account;
    account.add(true, 0, 0);
    account.add(true, 0, 1);
    account.add(true, 0, 1023);
    account.add(false, 0, 1024);
    account.add(true, 0, ~std::uint64_t{0});
    EXPECT_EQ(account.latencies[0], 2U);
    EXPECT_EQ(account.latencies[9], 1U);
    EXPECT_EQ(account.latencies[10], 1U);
    EXPECT_EQ(account.latencies[39], 1U);
    EXPECT_EQ(account.failures, 1U);
}

TEST(OpAccount, percentile_is_the_bound_above_that_share_of_latencies) {
    OpAccount account;
    EXPECT_EQ(account.latency_below_ns(99), 0U);
    for (int i = 0; i < 99; ++i) account.add(true, 0, 1000);
    account.add(true, 0, 1'000'000);
    EXPECT_EQ(account.latency_below_ns(50), 1024U);
    EXPECT_EQ(account.latency_below_ns(99), 1024U);
    EXPECT_EQ(account.latency_below_ns(100), 1'048'576U);
}

}  // namespace
}  // namespace zbdkit
