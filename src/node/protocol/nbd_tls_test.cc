// SPDX-License-Identifier: Apache-2.0
// TLS to a real server, and that a server or a client which is not the right one is refused.
#include "node/protocol/nbd_tls.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/node/certificates.h"
#include "tests/support/node/nbd_fixture.h"

namespace zbdkit {
namespace {

using test::contains;
using test::kOk;
using test::Nbd;

/// A user's folder for as long as this lives.
struct TemporaryHome {
    explicit TemporaryHome(const std::filesystem::path& folder) {
        const char* const present = std::getenv("HOME");
        if (present != nullptr) before = present;
        ::setenv("HOME", folder.c_str(), 1);
    }
    TemporaryHome(const TemporaryHome&) = delete;
    TemporaryHome& operator=(const TemporaryHome&) = delete;
    ~TemporaryHome() {
        if (before) {
            ::setenv("HOME", before->c_str(), 1);
        } else {
            ::unsetenv("HOME");
        }
    }
    std::optional<std::string> before;
};

// --- Options ------------------------------------------------------------------------------------

TEST(NbdTls, options_for_tls_without_tls_are_refused) {
    const NbdServer keys{.uri = "nbd://host/", .tls_psk_file = "/keys"};
    EXPECT_EQ(check_tls_options(keys).error().message,
              "driver 'nbd': option 'tls-psk-file' is for TLS, and 'nbd://host/' has none: "
              "expected nbds instead of nbd");
    const NbdServer folder{.uri = "nbd://host/", .tls_certificates = "/folder"};
    EXPECT_TRUE(contains(check_tls_options(folder).error().message, "'tls-certificates'"));
    const NbdServer user{.uri = "nbd+unix:///?socket=x", .tls_username = "alice"};
    EXPECT_TRUE(contains(check_tls_options(user).error().message, "'tls-username'"));
}

TEST(NbdTls, keys_want_a_user_of_the_address_or_of_the_options) {
    const NbdServer nobody{.uri = "nbds://host/a@b", .tls_psk_file = "/keys"};
    EXPECT_EQ(check_tls_options(nobody).error().message,
              "driver 'nbd': option 'tls-psk-file' has keys of users, and 'nbds://host/a@b' names "
              "none: expected option 'tls-username'");
    const NbdServer of_uri{.uri = "nbds://alice@host/", .tls_psk_file = "/keys"};
    EXPECT_TRUE(check_tls_options(of_uri).has_value());
    const NbdServer of_option{
        .uri = "nbds://host/", .tls_username = "alice", .tls_psk_file = "/keys"};
    EXPECT_TRUE(check_tls_options(of_option).has_value());
}

// libnbd would take any certificate there.
TEST(NbdTls, certificates_on_a_socket_without_a_host_are_refused) {
    const NbdServer server{.uri = "nbds+unix:///?socket=x", .tls_certificates = "/folder"};
    EXPECT_EQ(check_tls_options(server).error().message,
              "driver 'nbd': 'nbds+unix:///?socket=x' has no host whose certificate could be "
              "checked: expected option 'tls-psk-file', or nbds://HOST");
}

// --- Certificates -------------------------------------------------------------------------------

class NbdCertificates : public Nbd {
  protected:
    void SetUp() override {
        Nbd::SetUp();
        if (IsSkipped()) return;
        if (!test::Authority::is_available()) {
            GTEST_SKIP() << "there is no openssl on this host to make certificates with";
        }
        authority_.emplace(server_.folder() / "ca");
    }
    [[nodiscard]] std::filesystem::path place(const std::string& name) const {
        return server_.folder() / name;
    }
    /// A server whose certificate is for that name.
    void start_server(const std::string& name = "IP:127.0.0.1", int days = 2) {
        authority_->certify_server(place("server"), name, days);
        start_tls({"--tls-certificates=" + place("server").string()});
    }
    void start_tls(std::vector<std::string> more) {
        more.insert(more.end(), {"--tls=require", "memory", "1M"});
        server_.start_on("127.0.0.1", more);
    }
    [[nodiscard]] std::string address(const std::string& scheme = "nbds") const {
        return scheme + "://127.0.0.1:" + std::to_string(server_.port()) + "/";
    }
    [[nodiscard]] std::string options(const std::filesystem::path& trusted) const {
        return "uri=" + address() + ",tls-certificates=" + trusted.string();
    }
    [[nodiscard]] std::string no_connection() const {
        return "cannot connect to NBD server '" + address() + "': ";
    }
    std::optional<test::Authority> authority_;
};

TEST_F(NbdCertificates, server_that_the_authority_vouches_for_is_read_and_written) {
    start_server();
    auto node = try_open(options(authority_->folder()));
    ASSERT_TRUE(node.has_value()) << node.error().message;
    node_ = std::move(*node);
    EXPECT_EQ(write({0, kMiB}, 0x5a), kOk);
    EXPECT_EQ(flush(), kOk);
    EXPECT_EQ(count({0, kMiB}, 0x5a), kMiB);
}

TEST_F(NbdCertificates, server_of_another_authority_is_refused) {
    start_server();
    const test::Authority other(place("other"));
    const std::string message = refusal_of(options(other.folder()));
    EXPECT_TRUE(contains(message, no_connection())) << message;
    EXPECT_TRUE(contains(message, "certificate verification")) << message;
    EXPECT_TRUE(contains(message,
                         ": expected a certificate for the host of the address that is "
                         "valid now, and that ca-cert.pem vouches for"))
        << message;
}

TEST_F(NbdCertificates, certificate_of_another_host_is_refused) {
    start_server("DNS:elsewhere.example");
    const std::string message = refusal_of(options(authority_->folder()));
    EXPECT_TRUE(contains(message, no_connection())) << message;
    EXPECT_TRUE(contains(message, "certificate verification")) << message;
}

TEST_F(NbdCertificates, expired_certificate_is_refused) {
    start_server("IP:127.0.0.1", -1);
    const std::string message = refusal_of(options(authority_->folder()));
    EXPECT_TRUE(contains(message, no_connection())) << message;
    EXPECT_TRUE(contains(message, "certificate verification")) << message;
}

// libnbd falls back on the host's authorities there, and checks nothing.
TEST_F(NbdCertificates, folder_without_an_authority_is_refused) {
    start_server();
    std::filesystem::create_directory(place("empty"));
    EXPECT_EQ(refusal_of(options(place("empty"))),
              no_connection() + "option 'tls-certificates': '" + place("empty").string() +
                  "/ca-cert.pem' cannot be read: expected the certificates of who vouches for "
                  "the server");
}

TEST_F(NbdCertificates, authority_that_is_no_certificate_is_refused) {
    start_server();
    std::filesystem::create_directory(place("odd"));
    std::ofstream(place("odd") / "ca-cert.pem") << "no certificate\n";
    const std::string message = refusal_of(options(place("odd")));
    EXPECT_TRUE(contains(message, no_connection())) << message;
}

TEST_F(NbdCertificates, without_a_folder_that_of_the_user_counts) {
    start_server();
    const TemporaryHome home(place("home"));
    const std::string message = refusal_of("uri=" + address());
    EXPECT_EQ(message, no_connection() +
                           "there is nothing to check the server with: expected option "
                           "'tls-certificates', a folder with ca-cert.pem, or 'tls-psk-file'");
    std::filesystem::create_directories(place("home") / ".pki/libnbd");
    std::filesystem::copy_file(authority_->folder() / "ca-cert.pem",
                               place("home") / ".pki/libnbd/ca-cert.pem");
    EXPECT_EQ(refusal_of("uri=" + address() + ",connections=1"), "");
}

TEST_F(NbdCertificates, server_that_wants_to_know_the_client_gets_its_certificate) {
    authority_->certify_server(place("server"), "IP:127.0.0.1");
    authority_->certify_client(place("client"));
    start_tls({"--tls-verify-peer", "--tls-certificates=" + place("server").string()});
    const std::string message = refusal_of(options(authority_->folder()));
    EXPECT_TRUE(contains(message,
                         ": expected a server with certificates, that accepts "
                         "client-cert.pem if it asks for one"))
        << message;
    auto node = try_open(options(place("client")));
    ASSERT_TRUE(node.has_value()) << node.error().message;
    node_ = std::move(*node);
    EXPECT_EQ(write({0, 4096}, 0x5a), kOk);
}

TEST_F(NbdCertificates, server_with_tls_is_not_spoken_to_without) {
    start_server();
    const std::string uri = "uri=" + address("nbd");
    const std::string message = refusal_of(uri);
    EXPECT_TRUE(contains(message, "server requires TLS")) << message;
    EXPECT_TRUE(contains(message, ": expected nbds instead of nbd")) << message;
    const std::string of_export = refusal_of(uri + ",export=x");
    EXPECT_TRUE(contains(of_export, "the server refuses the export, or requires TLS")) << of_export;
}

TEST_F(NbdCertificates, server_without_tls_is_not_spoken_to_with_it) {
    server_.start_on("127.0.0.1", {"memory", "1M"});
    const std::string message = refusal_of(options(authority_->folder()));
    EXPECT_TRUE(contains(message, "server refused TLS")) << message;
    EXPECT_TRUE(contains(message, ": expected a server with TLS")) << message;
    const std::string of_export = refusal_of(options(authority_->folder()) + ",export=x");
    EXPECT_TRUE(contains(of_export, "the server refused TLS")) << of_export;
}

TEST_F(NbdCertificates, server_that_dies_comes_back_with_tls_or_not_at_all) {
    const std::string image = (server_.folder() / "x.img").string();
    make_image(kMiB);
    authority_->certify_server(place("server"), "IP:127.0.0.1");
    const std::string tls = "--tls-certificates=" + place("server").string();
    server_.start_on("127.0.0.1", {"--tls=require", tls, "file", image});
    auto node = try_open(options(authority_->folder()) + ",reconnect-delay=60");
    ASSERT_TRUE(node.has_value()) << node.error().message;
    node_ = std::move(*node);
    ASSERT_EQ(write({0, 4096}, 0x5a), kOk);
    ASSERT_EQ(flush(), kOk);
    server_.kill();
    server_.start_again({"--tls=require", tls, "file", image});
    EXPECT_EQ(count({0, 4096}, 0x5a), 4096U);
}

// --- Keys ---------------------------------------------------------------------------------------

class NbdKeys : public Nbd {
  protected:
    void SetUp() override {
        Nbd::SetUp();
        if (IsSkipped()) return;
        add_key("keys", "alice:000102030405060708090a0b0c0d0e0f");
    }
    void add_key(const std::string& file, const std::string& line) const {
        std::ofstream(server_.folder() / file) << line << "\n";
    }
    [[nodiscard]] std::string path(const std::string& file) const {
        return (server_.folder() / file).string();
    }
    void start_server() {
        server_.start({"--tls=require", "--tls-psk=" + path("keys"), "memory", "1M"});
    }
    [[nodiscard]] std::string options(const std::string& user, const std::string& file) const {
        return "uri=" + server_.uri("nbds") + ",tls-username=" + user +
               ",tls-psk-file=" + path(file);
    }
    [[nodiscard]] std::string no_connection() const {
        return "cannot connect to NBD server '" + server_.uri("nbds") + "': ";
    }
};

TEST_F(NbdKeys, shared_key_opens_the_server_on_a_socket) {
    start_server();
    auto node = try_open(options("alice", "keys"));
    ASSERT_TRUE(node.has_value()) << node.error().message;
    node_ = std::move(*node);
    EXPECT_EQ(write({0, kMiB}, 0x5a), kOk);
    EXPECT_EQ(count({0, kMiB}, 0x5a), kMiB);
}

TEST_F(NbdKeys, shared_key_of_the_user_in_the_address_opens_the_server_on_a_port) {
    server_.start_on("127.0.0.1", {"--tls=require", "--tls-psk=" + path("keys"), "memory", "1M"});
    auto node = try_open("uri=nbds://alice@127.0.0.1:" + std::to_string(server_.port()) +
                         "/,tls-psk-file=" + path("keys"));
    ASSERT_TRUE(node.has_value()) << node.error().message;
    node_ = std::move(*node);
    EXPECT_EQ(write({0, 4096}, 0x5a), kOk);
    EXPECT_EQ(count({0, 4096}, 0x5a), 4096U);
}

TEST_F(NbdKeys, wrong_key_is_refused) {
    start_server();
    add_key("wrong", "alice:ffffffffffffffffffffffffffffffff");
    const std::string message = refusal_of(options("alice", "wrong"));
    EXPECT_TRUE(contains(message, no_connection())) << message;
    EXPECT_TRUE(contains(message, ": expected a server that has the key of '" + path("wrong") +
                                      "' for the same user"))
        << message;
}

TEST_F(NbdKeys, user_that_the_server_does_not_know_is_refused) {
    start_server();
    add_key("bob", "bob:000102030405060708090a0b0c0d0e0f");
    const std::string message = refusal_of(options("bob", "bob"));
    EXPECT_TRUE(contains(message, no_connection())) << message;
    EXPECT_TRUE(contains(message, "for the same user")) << message;
}

TEST_F(NbdKeys, user_without_a_key_in_the_file_is_refused) {
    start_server();
    const std::string message = refusal_of(options("bob", "keys"));
    EXPECT_TRUE(contains(message, "username bob was not found")) << message;
}

TEST_F(NbdKeys, file_of_keys_that_is_not_there_is_refused) {
    start_server();
    const std::string message = refusal_of(options("alice", "none"));
    EXPECT_TRUE(contains(message, path("none"))) << message;
    EXPECT_TRUE(contains(message, "No such file or directory")) << message;
}

TEST_F(NbdKeys, server_that_stops_answering_within_tls_is_given_up) {
    start_server();
    server_.freeze();
    EXPECT_EQ(refusal_of(options("alice", "keys") + ",connect-timeout=1"),
              no_connection() + "no answer within 1 s");
}

}  // namespace
}  // namespace zbdkit
