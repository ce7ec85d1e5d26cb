// SPDX-License-Identifier: Apache-2.0
// What the driver refuses without a device. Real ones: tests/guest/test_host_device.py.
#include "node/protocol/host_device.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "io/blocking_pool.h"
#include "tests/support/io/uring_reactor.h"

namespace zbdkit {
namespace {

/// @return why the open fails, or "" if it does not
std::string open_message(const std::string& text) {
    test::UringReactor reactor(16);
    BlockingPool pool(1);
    OpenContext context{reactor, pool};
    ChildNodes none;
    const OptionValues options = OptionValues::parse(text, "", "driver 'host_device'").value();
    const Outcome<std::unique_ptr<BlockNode>> node =
        reactor.run_to_end(kHostDeviceDriver.open(context, options, none));
    return node ? "" : node.error().message;
}

TEST(HostDevice, file_name_is_needed) {
    EXPECT_EQ(open_message("read-only=on"), "driver 'host_device': option 'filename' is missing");
}

TEST(HostDevice, missing_device_is_named) {
    EXPECT_EQ(open_message("filename=/nonexistent/device"),
              "cannot open '/nonexistent/device': No such file or directory");
}

TEST(HostDevice, regular_file_is_refused_and_left_alone) {
    const std::filesystem::path path =
        std::filesystem::temp_directory_path() / "zbdkit-host-device-test";
    std::ofstream(path) << "data";
    EXPECT_EQ(open_message("filename=" + path.string()),
              "'" + path.string() + "' is a regular file: expected a block device, or driver=file");
    EXPECT_EQ(std::filesystem::file_size(path), 4U);
    std::filesystem::remove(path);
}

TEST(HostDevice, character_device_is_refused) {
    EXPECT_EQ(open_message("filename=/dev/null"), "'/dev/null' is no block device");
}

TEST(HostDevice, options_are_checked_before_the_device) {
    EXPECT_NE(open_message("filename=/nonexistent,cache.direct=maybe").find("cache.direct"),
              std::string::npos);
}

}  // namespace
}  // namespace zbdkit
