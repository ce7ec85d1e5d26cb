// SPDX-License-Identifier: Apache-2.0
// The control device of ublk: adds, starts, stops and removes /dev/ublkbN. Every call blocks, some
// until the device's server has answered requests, so none may run on that server's reactor. One
// thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "export/ublk/wire.h"

namespace zbdkit::ublk {

class Control {
  public:
    /// Errors: no ublk_drv, no permission, no io_uring; the message says what to do.
    [[nodiscard]] static Outcome<std::unique_ptr<Control>> open();
    Control(const Control&) = delete;
    Control& operator=(const Control&) = delete;
    virtual ~Control() = default;

    /// Bits of namespace feature that the kernel has. Errors: a kernel that is too old to say.
    [[nodiscard]] virtual Outcome<std::uint64_t> features() = 0;

    /// Adds a device, which then has /dev/ublkcN and no disk yet.
    /// @return the info as the kernel has it: fewer queues than CPUs, the number
    /// Errors: the number is taken; the features do not go together.
    [[nodiscard]] virtual Outcome<DeviceInfo> add(const DeviceInfo& wanted) = 0;
    /// Errors: no such device.
    [[nodiscard]] virtual Outcome<DeviceInfo> info(std::uint32_t device) = 0;
    [[nodiscard]] virtual Outcome<void> set_params(std::uint32_t device, const Params& params) = 0;
    [[nodiscard]] virtual Outcome<Params> params(std::uint32_t device) = 0;

    /// Makes the disk /dev/ublkbN. Waits until all tags are fetched, and for reads and zone reports
    /// that the server answers meanwhile.
    [[nodiscard]] virtual Outcome<void> start(std::uint32_t device) = 0;
    /// Takes the disk away, after what the kernel had to write to it has been written. All fetches
    /// end.
    [[nodiscard]] virtual Outcome<void> stop(std::uint32_t device) = 0;
    /// Removes the device, and waits a while for the number to be free.
    /// @return whether it is; if not, it is when the last who has the disk open closes it
    [[nodiscard]] virtual Outcome<bool> remove(std::uint32_t device) = 0;

    /// Makes a device whose server is gone ready for this process's fetches. Waits a while for the
    /// kernel to notice that it is gone.
    /// Errors: it has a server.
    [[nodiscard]] virtual Outcome<void> start_recovery(std::uint32_t device) = 0;
    /// Lets requests come again. Waits until all tags are fetched.
    [[nodiscard]] virtual Outcome<void> end_recovery(std::uint32_t device) = 0;

  protected:
    Control() = default;
};

/// The numbers of all devices, rising.
[[nodiscard]] std::vector<std::uint32_t> device_numbers();

/// "/dev/ublkb0", the disk; "/dev/ublkc0", for its server.
[[nodiscard]] std::string disk_path(std::uint32_t device);
[[nodiscard]] std::string server_path(std::uint32_t device);
/// Where a device's server notes its requests: /run/zbdkit/ublk0.inflight.
[[nodiscard]] std::string inflight_path(std::uint32_t device);
/// Removes that file, if it is there.
void remove_inflight(std::uint32_t device);

}  // namespace zbdkit::ublk
