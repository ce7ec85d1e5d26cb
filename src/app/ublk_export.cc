// SPDX-License-Identifier: Apache-2.0
#include "app/ublk_export.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "app/messages.h"
#include "export/ublk/control.h"
#include "export/ublk/server.h"

namespace zbdkit::app {
namespace {

/// What is served, the same for a later daemon wherever it is started.
std::string image_name(const BlockNode& root) {
    const std::string name = root.describe();
    std::error_code error;
    const std::filesystem::path path = std::filesystem::canonical(name, error);
    return error ? name : path.string();
}

class UblkExport final : public DiskExport {
  public:
    UblkExport(BlockBackend& backend, bool is_writable, std::unique_ptr<ublk::Server> server)
        : backend_(backend), is_writable_(is_writable), server_(std::move(server)) {}

    [[nodiscard]] Task<Outcome<void>> start() override { return server_->start(); }
    [[nodiscard]] Task<Outcome<void>> run() override { return server_->run(); }
    void stop() override { server_->stop(); }
    [[nodiscard]] Task<Outcome<void>> check_unused() override { return server_->check_unused(); }

    [[nodiscard]] std::string serving() const override {
        const NodeInfo& info = backend_.info();
        const std::string path = ublk::disk_path(server_->device());
        return fmt::format("{}\nserving {}: {}{} {} {} ({})\n", path, backend_.root().describe(),
                           describe_disk(info.zones, info.size), is_writable_ ? "" : ", read-only",
                           server_->has_recovered() ? "again as" : "as", path,
                           server_->description());
    }
    [[nodiscard]] std::string warning() const override { return {}; }
    [[nodiscard]] std::string served() const override {
        const std::uint64_t came_back = server_->counters().came_back;
        const std::string path = ublk::disk_path(server_->device());
        if (came_back == 0) return fmt::format("as {}", path);
        return fmt::format("as {}, {} of an earlier server", path, count_text(came_back, "write"));
    }
    [[nodiscard]] std::uint64_t refused() const override { return server_->counters().refused; }

  private:
    BlockBackend& backend_;
    bool is_writable_;
    std::unique_ptr<ublk::Server> server_;
};

}  // namespace

Outcome<std::unique_ptr<DiskExport>> make_ublk_export(Reactor& reactor, BlockBackend& backend,
                                                      const ExportPlan& plan) {
    ublk::ServerOptions options = plan.ublk;
    options.image = image_name(backend.root());
    Outcome<std::unique_ptr<ublk::Server>> server = ublk::Server::make(reactor, backend, options);
    if (!server) {
        return failure(fmt::format("{}: {}", backend.root().describe(), server.error().message),
                       server.error().code);
    }
    return std::unique_ptr<DiskExport>(
        std::make_unique<UblkExport>(backend, plan.device.writable, std::move(*server)));
}

}  // namespace zbdkit::app
