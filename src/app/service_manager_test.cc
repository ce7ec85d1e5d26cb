// SPDX-License-Identifier: Apache-2.0
#include "app/service_manager.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <string_view>

namespace zbdkit::app {
namespace {

std::string unique_name() { return "zbdkit-app-test-" + std::to_string(::getpid()); }

TEST(ServiceManager, readiness_goes_to_an_abstract_socket) {
    const std::string name = "@" + unique_name();
    const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    std::ranges::copy(name, address.sun_path);
    address.sun_path[0] = '\0';
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    ASSERT_EQ(
        ::bind(fd.get(), static_cast<const sockaddr*>(static_cast<const void*>(&address)), length),
        0);
    ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
    notify_service_manager("READY=1");
    ::unsetenv("NOTIFY_SOCKET");
    std::array<char, 64> text{};
    const ssize_t got = ::recv(fd.get(), text.data(), text.size(), MSG_DONTWAIT);
    ASSERT_EQ(got, 7);
    EXPECT_EQ(std::string_view(text.data(), 7), "READY=1");
}

TEST(PidFile, lives_as_long_as_its_owner_and_keeps_others_out) {
    const std::string path = std::filesystem::temp_directory_path() / (unique_name() + ".pid");
    {
        const Outcome<PidFile> file = PidFile::write(path);
        ASSERT_TRUE(file) << file.error().message;
        EXPECT_TRUE(std::filesystem::exists(path));
        EXPECT_FALSE(PidFile::write(path));
        EXPECT_TRUE(std::filesystem::exists(path));
    }
    EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace zbdkit::app
