// SPDX-License-Identifier: Apache-2.0
// Messages of the vhost-user protocol: bytes to typed messages and typed replies to bytes. Pure:
// no sockets, no state of a connection. [vhost-user, "Message Specification"]
//
//   message = header payload            native byte order; descriptors ride beside the bytes
//   header  = u32 request  u32 flags  u32 size         size: bytes of the payload
//   flags   = bits 0-1 version, always 1; bit 2 reply; bit 3 the sender wants an answer
//
//   payload = u64                                                      features, vring fds, acks
//           | memory_table:  u32 count  u32 padding  region * count    + one fd each
//           | memory_slot:   u64 padding  region                       40 bytes; add: + 1 fd
//           | vring_state:   u32 index  u32 number
//           | vring_addr:    u32 index  u32 flags  u64 descriptors  u64 used  u64 available
//                            u64 log
//           | log:           u64 size  u64 offset                      + 1 fd
//           | config:        u32 offset  u32 size  u32 flags  u8 * size
//           | inflight:      u64 size  u64 offset  u16 queues  u16 entries  (u32 padding)
//                                                                      + 1 fd, not for GET
//   region  = u64 guest_address  u64 size  u64 user_address  u64 fd_offset
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/units.h"
#include "virtio/guest_memory.h"
#include "virtio/vhost_user_protocol.h"
#include "virtio/virt_queue.h"

namespace zbdkit::vhost_user {

// The messages, each with what the front end said in it. The descriptors stay beside them.
struct GetFeatures {};
struct SetFeatures {
    std::uint64_t features;
};
struct SetOwner {};
struct ResetOwner {};
struct SetMemTable {
    std::vector<MemoryRegion::Place> regions;
};
struct SetLogBase {
    ByteRange range;  ///< within the descriptor
};
struct SetLogFd {};
struct SetVringNum {
    std::uint32_t index;
    std::uint32_t size;
};
struct SetVringAddr {
    std::uint32_t index;
    RingAddresses addresses;
};
struct SetVringBase {
    std::uint32_t index;
    RingBase base;
};
struct GetVringBase {
    std::uint32_t index;
};
enum class VringFdKind : std::uint8_t { kick, call, error };
struct SetVringFd {
    VringFdKind kind;
    std::uint32_t index;
    bool has_fd;
};
struct GetProtocolFeatures {};
struct SetProtocolFeatures {
    std::uint64_t features;
};
struct GetQueueNum {};
struct SetVringEnable {
    std::uint32_t index;
    bool enable;
};
struct SetBackendReqFd {};
struct GetConfig {
    std::uint32_t offset;
    std::uint32_t size;   ///< bytes
    std::uint32_t flags;  ///< repeated in the reply
};
struct SetConfig {
    std::uint32_t offset;
    std::vector<std::byte> bytes;
};
/// How many entries an inflight region has, as the front end says it.
struct InflightShape {
    std::uint16_t queue_count;
    std::uint16_t queue_size;  ///< entries for each queue, 1 to 32768

    bool operator==(const InflightShape&) const = default;
};
struct GetInflightFd {
    InflightShape shape;
    bool is_padded;  ///< 24 bytes and not the 20 of the specification; so must the reply be
};
struct SetInflightFd {
    ByteRange range;  ///< within the descriptor
    InflightShape shape;
};
struct ResetDevice {};
struct GetMaxMemSlots {};
struct AddMemReg {
    MemoryRegion::Place region;
};
struct RemMemReg {
    MemoryRegion::Place region;
};
/// A request that a block back end does not know.
struct Unknown {
    std::uint32_t request;
};

using Message =
    std::variant<GetFeatures, SetFeatures, SetOwner, ResetOwner, SetMemTable, SetLogBase, SetLogFd,
                 SetVringNum, SetVringAddr, SetVringBase, GetVringBase, SetVringFd,
                 GetProtocolFeatures, SetProtocolFeatures, GetQueueNum, SetVringEnable,
                 SetBackendReqFd, GetConfig, SetConfig, GetInflightFd, SetInflightFd, ResetDevice,
                 GetMaxMemSlots, AddMemReg, RemMemReg, Unknown>;

/// Why a message is no message of the protocol: a sentence for the log.
struct Refusal {
    std::string text;
};

/// @param bytes  sizeof(Header) bytes
/// @return the header, or a refusal: another version, a reply, or a size beyond kMaxPayload. The
///         stream is lost then: nobody knows where the next message starts.
[[nodiscard]] std::expected<Header, Refusal> parse_header(ConstBytes bytes);

/// @param payload   header.size bytes
/// @param fd_count  descriptors that came with the message; surplus ones are no error, the caller
///                  closes them
/// @return the message, or a refusal: a size or a number of descriptors that this request cannot
///         have, values outside what the protocol allows
[[nodiscard]] std::expected<Message, Refusal> parse_message(const Header& header,
                                                            ConstBytes payload,
                                                            std::size_t fd_count);

/// A whole reply to `request`, header included: flags are exactly version 1 and reply.
[[nodiscard]] std::vector<std::byte> encode_reply(RequestCode request, ConstBytes payload);
[[nodiscard]] std::vector<std::byte> encode_number_reply(std::uint32_t request,
                                                         std::uint64_t number);
[[nodiscard]] std::vector<std::byte> encode_vring_base_reply(std::uint32_t index, RingBase base);
[[nodiscard]] std::vector<std::byte> encode_config_reply(const GetConfig& asked, ConstBytes bytes);
/// @param size  bytes of the region, which starts at offset 0 of the descriptor that goes along
[[nodiscard]] std::vector<std::byte> encode_inflight_reply(const GetInflightFd& asked,
                                                           std::uint64_t size);
/// CONFIG_CHANGE, which goes out on the back end's own socket.
[[nodiscard]] std::vector<std::byte> encode_config_change();

}  // namespace zbdkit::vhost_user
