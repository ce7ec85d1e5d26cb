// SPDX-License-Identifier: Apache-2.0
#include "export/ublk/control.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <liburing.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include "base/unique_fd.h"

namespace zbdkit::ublk {
namespace {

constexpr const char* kControlPath = "/dev/ublk-control";
constexpr unsigned kEntries = 4;
/// How long the kernel may take to notice that a server is gone, or that a number is free.
constexpr auto kPatience = std::chrono::seconds(5);
constexpr auto kStep = std::chrono::milliseconds(10);

std::string_view hint_for(int os_errno) {
    switch (os_errno) {
        case ENOENT:
        case ENXIO:
        case ENODEV:
            return ": expected Linux 6.6 or newer with its module loaded: modprobe ublk_drv";
        case EACCES:
        case EPERM: return ": expected root (CAP_SYS_ADMIN)";
        default: return "";
    }
}

std::unexpected<Failure> failed(std::string_view what, int os_errno) {
    return failure(fmt::format("{}: {}", what, std::strerror(os_errno)),
                   error_from_errno(os_errno, "").code);
}

/// @return whether it came true in time
template <class Condition>
bool wait_until(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline) return false;
        std::this_thread::sleep_for(kStep);
    }
    return true;
}

class UringControl final : public Control {
  public:
    UringControl(UniqueFd fd, const io_uring& ring) : fd_(std::move(fd)), ring_(ring) {}
    ~UringControl() override { ::io_uring_queue_exit(&ring_); }

    [[nodiscard]] Outcome<std::uint64_t> features() override;
    [[nodiscard]] Outcome<DeviceInfo> add(const DeviceInfo& wanted) override;
    [[nodiscard]] Outcome<DeviceInfo> info(std::uint32_t device) override;
    [[nodiscard]] Outcome<void> set_params(std::uint32_t device, const Params& params) override;
    [[nodiscard]] Outcome<Params> params(std::uint32_t device) override;
    [[nodiscard]] Outcome<void> start(std::uint32_t device) override;
    [[nodiscard]] Outcome<void> stop(std::uint32_t device) override;
    [[nodiscard]] Outcome<bool> remove(std::uint32_t device) override;
    [[nodiscard]] Outcome<void> start_recovery(std::uint32_t device) override;
    [[nodiscard]] Outcome<void> end_recovery(std::uint32_t device) override;

  private:
    /// @return 0 or a positive errno
    [[nodiscard]] int send(ControlCode code, const ControlCommand& command);
    template <class T>
    [[nodiscard]] int send_with(ControlCode code, std::uint32_t device, T& object);
    [[nodiscard]] int send_pid(ControlCode code, std::uint32_t device);

    UniqueFd fd_;
    io_uring ring_;
};

int UringControl::send(ControlCode code, const ControlCommand& command) {
    io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
    if (sqe == nullptr) return EBUSY;
    ::io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd_.get(), nullptr, 0, 0);
    sqe->cmd_op = static_cast<std::uint32_t>(code);
    // An entry of this ring has 128 bytes, of which 80 are the command's.
    std::memcpy(sqe->cmd, &command, sizeof command);
    int submitted = ::io_uring_submit(&ring_);
    while (submitted == -EINTR) submitted = ::io_uring_submit(&ring_);
    if (submitted < 0) return -submitted;
    io_uring_cqe* cqe = nullptr;
    int waited = -EINTR;
    while (waited == -EINTR) waited = ::io_uring_wait_cqe(&ring_, &cqe);
    if (waited < 0) return -waited;
    const int result = cqe->res;
    ::io_uring_cqe_seen(&ring_, cqe);
    return result < 0 ? -result : 0;
}

template <class T>
int UringControl::send_with(ControlCode code, std::uint32_t device, T& object) {
    return send(code, {.device = device,
                       .length = sizeof object,
                       .address = std::bit_cast<std::uint64_t>(&object)});
}

int UringControl::send_pid(ControlCode code, std::uint32_t device) {
    return send(code, {.device = device, .data = static_cast<std::uint64_t>(::getpid())});
}

Outcome<std::uint64_t> UringControl::features() {
    std::uint64_t features = 0;
    const int code = send_with(ControlCode::get_features, 0, features);
    if (code == 0) return features;
    return failed("the kernel's ublk cannot say what it has, expected Linux 6.6 or newer", code);
}

Outcome<DeviceInfo> UringControl::add(const DeviceInfo& wanted) {
    DeviceInfo info = wanted;
    const int code = send_with(ControlCode::add_device, wanted.device, info);
    if (code == 0) return info;
    if (code == EEXIST) {
        return failure(fmt::format("ublk device {} exists already", wanted.device),
                       Errc::not_supported);
    }
    if (code == EPERM) {
        return failure("cannot add a ublk device: expected root (CAP_SYS_ADMIN)", Errc::read_only);
    }
    return failed("cannot add a ublk device", code);
}

Outcome<DeviceInfo> UringControl::info(std::uint32_t device) {
    DeviceInfo info;
    const int code = send_with(ControlCode::get_device_info, device, info);
    if (code == 0) return info;
    if (code == ENODEV) {
        return failure(fmt::format("there is no ublk device {}", device), Errc::out_of_range);
    }
    return failed(fmt::format("cannot look at ublk device {}", device), code);
}

Outcome<void> UringControl::set_params(std::uint32_t device, const Params& params) {
    Params copy = params;
    const int code = send_with(ControlCode::set_params, device, copy);
    if (code == 0) return {};
    return failed(fmt::format("the kernel refuses the disk as ublk device {}", device), code);
}

Outcome<Params> UringControl::params(std::uint32_t device) {
    Params params;
    params.length = sizeof params;
    const int code = send_with(ControlCode::get_params, device, params);
    if (code == 0) return params;
    return failed(fmt::format("cannot look at ublk device {}", device), code);
}

Outcome<void> UringControl::start(std::uint32_t device) {
    const int code = send_pid(ControlCode::start_device, device);
    if (code == 0) return {};
    return failed(fmt::format("cannot start ublk device {}", device), code);
}

Outcome<void> UringControl::stop(std::uint32_t device) {
    const int code = send(ControlCode::stop_device, {.device = device});
    if (code == 0 || code == ENODEV) return {};
    return failed(fmt::format("cannot stop ublk device {}", device), code);
}

Outcome<bool> UringControl::remove(std::uint32_t device) {
    int code = send(ControlCode::delete_device_async, {.device = device});
    // Linux 6.6 has only the one that waits, for whoever has the disk open.
    if (code == EOPNOTSUPP) code = send(ControlCode::delete_device, {.device = device});
    if (code == ENODEV) return true;
    if (code != 0) return failed(fmt::format("cannot remove ublk device {}", device), code);
    DeviceInfo info;
    return wait_until([this, device, &info] {
        return send_with(ControlCode::get_device_info, device, info) == ENODEV;
    });
}

Outcome<void> UringControl::start_recovery(std::uint32_t device) {
    int code = EBUSY;
    wait_until([this, device, &code] {
        code = send(ControlCode::start_recovery, {.device = device});
        return code != EBUSY;
    });
    // EINVAL: an earlier server that was to take over came no further than this.
    if (code == 0 || code == EINVAL) return {};
    if (code == EBUSY) {
        return failure(fmt::format("ublk device {} still has a server", device),
                       Errc::not_supported);
    }
    return failed(fmt::format("cannot take over ublk device {}", device), code);
}

Outcome<void> UringControl::end_recovery(std::uint32_t device) {
    const int code = send_pid(ControlCode::end_recovery, device);
    if (code == 0) return {};
    return failed(fmt::format("cannot take over ublk device {}", device), code);
}

}  // namespace

Outcome<std::unique_ptr<Control>> Control::open() {
    UniqueFd fd(::open(kControlPath, O_RDWR | O_CLOEXEC));
    if (!fd) {
        const int code = errno;
        return failure(fmt::format("cannot open '{}': {}{}", kControlPath, std::strerror(code),
                                   hint_for(code)),
                       error_from_errno(code, "").code);
    }
    io_uring ring{};
    const int code = ::io_uring_queue_init(kEntries, &ring, IORING_SETUP_SQE128);
    if (code < 0) return failed("cannot make an io_uring for ublk", -code);
    return std::unique_ptr<Control>(new UringControl(std::move(fd), ring));
}

std::vector<std::uint32_t> device_numbers() {
    constexpr std::string_view kPrefix = "ublkc";
    std::vector<std::uint32_t> numbers;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/sys/class/ublk-char", error)) {
        const std::string name = entry.path().filename().string();
        if (!name.starts_with(kPrefix)) continue;
        std::uint32_t number = 0;
        const char* end = name.data() + name.size();
        const auto [parsed, wrong] = std::from_chars(name.data() + kPrefix.size(), end, number);
        if (wrong == std::errc() && parsed == end) numbers.push_back(number);
    }
    std::ranges::sort(numbers);
    return numbers;
}

std::string disk_path(std::uint32_t device) { return fmt::format("/dev/ublkb{}", device); }
std::string server_path(std::uint32_t device) { return fmt::format("/dev/ublkc{}", device); }
std::string inflight_path(std::uint32_t device) {
    return fmt::format("/run/zbdkit/ublk{}.inflight", device);
}
void remove_inflight(std::uint32_t device) { ::unlink(inflight_path(device).c_str()); }

}  // namespace zbdkit::ublk
