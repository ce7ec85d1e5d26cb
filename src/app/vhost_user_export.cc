// SPDX-License-Identifier: Apache-2.0
#include "app/vhost_user_export.h"

#include <fmt/format.h>

#include <utility>

#include "app/messages.h"
#include "export/vhost_user/server.h"

namespace zbdkit::app {
namespace {

class VhostUserExport final : public DiskExport {
  public:
    VhostUserExport(BlockBackend& backend, ExportPlan plan,
                    std::unique_ptr<vhost_user::Server> server)
        : backend_(backend), plan_(std::move(plan)), server_(std::move(server)) {}

    /// It listens since it was made.
    [[nodiscard]] Task<Outcome<void>> start() override { co_return Outcome<void>(); }
    [[nodiscard]] Task<Outcome<void>> run() override {
        co_await server_->run();
        co_return Outcome<void>();
    }
    void stop() override { server_->stop(); }
    /// A virtual machine sees its disk go, as it does when the daemon is to end.
    [[nodiscard]] Task<Outcome<void>> check_unused() override { co_return Outcome<void>(); }

    [[nodiscard]] std::string serving() const override {
        const NodeInfo& info = backend_.info();
        return fmt::format("serving {}: {}{} on {}\nQEMU >= 10.2: qemu-system-x86_64 {}\n",
                           backend_.root().describe(), describe_disk(info.zones, info.size),
                           plan_.device.writable ? "" : ", read-only", plan_.socket_path,
                           qemu_arguments(plan_));
    }
    [[nodiscard]] std::string warning() const override {
        return append_warning(plan_, backend_.info().zones.max_append_bytes);
    }
    [[nodiscard]] std::string served() const override {
        return fmt::format("on {}", count_text(server_->counters().connections, "connection"));
    }
    [[nodiscard]] std::uint64_t refused() const override { return server_->device().refused(); }

  private:
    BlockBackend& backend_;
    ExportPlan plan_;
    std::unique_ptr<vhost_user::Server> server_;
};

}  // namespace

Outcome<std::unique_ptr<DiskExport>> make_vhost_user_export(Reactor& reactor, BlockBackend& backend,
                                                            const ExportPlan& plan) {
    const vhost_user::ServerOptions options = {.socket_path = plan.socket_path,
                                               .device = plan.device,
                                               .poll_bound_ns = plan.poll_bound_ns};
    Outcome<std::unique_ptr<vhost_user::Server>> server =
        vhost_user::Server::listen(reactor, backend, options);
    if (!server) return std::unexpected(std::move(server.error()));
    return std::unique_ptr<DiskExport>(
        std::make_unique<VhostUserExport>(backend, plan, std::move(*server)));
}

}  // namespace zbdkit::app
