// SPDX-License-Identifier: Apache-2.0
// Certificates for tests of TLS, made by the openssl command: an authority in a folder of its own,
// and what it signs in others, with the file names that nbdkit and libnbd look for.
#pragma once

#include <filesystem>
#include <string>

namespace zbdkit::test {

class Authority {
  public:
    /// Whether the host has the command: without, a test is skipped.
    [[nodiscard]] static bool is_available();

    /// @param folder  is made, and gets ca-cert.pem
    explicit Authority(std::filesystem::path folder);

    /// @param folder  is made, and gets server-cert.pem, server-key.pem and ca-cert.pem
    /// @param name    what it is for: "IP:127.0.0.1", "DNS:host"
    /// @param days    how long it is valid; negative: it has expired
    void certify_server(const std::filesystem::path& folder, const std::string& name, int days = 2);
    /// The same of a client, client-cert.pem and client-key.pem.
    void certify_client(const std::filesystem::path& folder);

    [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }

  private:
    void certify(const std::filesystem::path& folder, const std::string& role,
                 const std::string& name, int days);

    std::filesystem::path folder_;
};

}  // namespace zbdkit::test
