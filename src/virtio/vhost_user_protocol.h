// SPDX-License-Identifier: Apache-2.0
// Numbers of the vhost-user protocol that both of its ends use: requests, the header of a message,
// feature bits. Pure. What is in a message: export/vhost_user/wire.h. [vhost-user]
#pragma once

#include <cstddef>
#include <cstdint>

namespace zbdkit::vhost_user {

/// What a front end asks. Only the requests that a block back end acts on have a name here.
enum class RequestCode : std::uint32_t {
    get_features = 1,
    set_features = 2,
    set_owner = 3,
    reset_owner = 4,
    set_mem_table = 5,
    set_log_base = 6,
    set_log_fd = 7,
    set_vring_num = 8,
    set_vring_addr = 9,
    set_vring_base = 10,
    get_vring_base = 11,
    set_vring_kick = 12,
    set_vring_call = 13,
    set_vring_err = 14,
    get_protocol_features = 15,
    set_protocol_features = 16,
    get_queue_num = 17,
    set_vring_enable = 18,
    set_backend_req_fd = 21,
    get_config = 24,
    set_config = 25,
    get_inflight_fd = 31,
    set_inflight_fd = 32,
    reset_device = 34,
    get_max_mem_slots = 36,
    add_mem_reg = 37,
    rem_mem_reg = 38,
};
/// What the back end may tell the front end on the socket of SET_BACKEND_REQ_FD.
inline constexpr std::uint32_t kBackendConfigChange = 2;

/// The protocol's name of a request, or "request". For logs.
[[nodiscard]] const char* request_name(std::uint32_t request);

struct Header {
    std::uint32_t request = 0;
    std::uint32_t flags = 0;
    std::uint32_t size = 0;

    static constexpr std::uint32_t kVersion = 0x1;
    static constexpr std::uint32_t kVersionMask = 0x3;
    static constexpr std::uint32_t kReply = 0x4;
    static constexpr std::uint32_t kNeedReply = 0x8;

    [[nodiscard]] bool needs_reply() const { return (flags & kNeedReply) != 0; }
};
static_assert(sizeof(Header) == 12 && offsetof(Header, size) == 8);

/// The most that a payload may have. The largest that peers send is a page (rust-vmm).
inline constexpr std::uint32_t kMaxPayload = 4096;
/// The most descriptors that a message may carry (rust-vmm's bound; QEMU sends 8 at most).
inline constexpr std::size_t kMaxMessageFds = 32;
inline constexpr std::size_t kMaxTableRegions = kMaxMessageFds;
/// Where the configuration space ends for GET_CONFIG and SET_CONFIG; rust-vmm's bound.
inline constexpr std::uint32_t kConfigSpaceEnd = 4096;

/// Protocol feature bits. [vhost-user, "Protocol features"]
namespace protocol_feature {
inline constexpr std::uint64_t kMultiQueue = std::uint64_t{1} << 0;
inline constexpr std::uint64_t kLogShmfd = std::uint64_t{1} << 1;
inline constexpr std::uint64_t kReplyAck = std::uint64_t{1} << 3;
inline constexpr std::uint64_t kBackendReq = std::uint64_t{1} << 5;
inline constexpr std::uint64_t kConfig = std::uint64_t{1} << 9;
inline constexpr std::uint64_t kInflightShmfd = std::uint64_t{1} << 12;
inline constexpr std::uint64_t kResetDevice = std::uint64_t{1} << 13;
inline constexpr std::uint64_t kConfigureMemSlots = std::uint64_t{1} << 15;
}  // namespace protocol_feature

/// Feature bits that belong to the transport and not to the device.
namespace feature {
inline constexpr std::uint64_t kLogAll = std::uint64_t{1} << 26;
inline constexpr std::uint64_t kProtocolFeatures = std::uint64_t{1} << 30;
}  // namespace feature

}  // namespace zbdkit::vhost_user
