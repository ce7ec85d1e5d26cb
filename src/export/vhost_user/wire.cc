// SPDX-License-Identifier: Apache-2.0
#include "export/vhost_user/wire.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <utility>

namespace zbdkit::vhost_user {
namespace {

using Parsed = std::expected<Message, Refusal>;

struct WireRegion {
    std::uint64_t guest_address;
    std::uint64_t size;
    std::uint64_t user_address;
    std::uint64_t fd_offset;
};
static_assert(sizeof(WireRegion) == 32 && offsetof(WireRegion, user_address) == 16);

struct WireTableHead {
    std::uint32_t count;
    std::uint32_t padding;
};
static_assert(sizeof(WireTableHead) == 8);

struct WireSlot {
    std::uint64_t padding;
    WireRegion region;
};
static_assert(sizeof(WireSlot) == 40);

struct WireState {
    std::uint32_t index;
    std::uint32_t number;
};
static_assert(sizeof(WireState) == 8);

struct WireAddress {
    std::uint32_t index;
    std::uint32_t flags;
    std::uint64_t descriptors;
    std::uint64_t used;
    std::uint64_t available;
    std::uint64_t log;
};
static_assert(sizeof(WireAddress) == 40 && offsetof(WireAddress, available) == 24);

struct WireLog {
    std::uint64_t size;
    std::uint64_t offset;
};
static_assert(sizeof(WireLog) == 16);

struct WireConfig {
    std::uint32_t offset;
    std::uint32_t size;
    std::uint32_t flags;
};
static_assert(sizeof(WireConfig) == 12);

struct WireInflight {
    std::uint64_t size;
    std::uint64_t offset;
    std::uint16_t queue_count;
    std::uint16_t queue_size;
    std::uint32_t padding;
};
static_assert(sizeof(WireInflight) == 24 && offsetof(WireInflight, queue_size) == 18);
/// As specified. QEMU and rust-vmm send, and want, the struct with its padding.
constexpr std::size_t kWireInflightSize = offsetof(WireInflight, padding);

constexpr std::uint32_t kAddressFlagLog = 0x1;  // VHOST_VRING_F_LOG
constexpr std::uint64_t kVringFdIndexMask = 0xff;
constexpr std::uint64_t kVringFdNone = 0x100;
constexpr std::uint32_t kMaxRingSize = 32768;

std::unexpected<Refusal> refuse(std::string text) {
    return std::unexpected(Refusal{std::move(text)});
}

std::unexpected<Refusal> refuse_size(const Header& header, std::size_t expected) {
    return refuse(fmt::format("{}: payload of {} bytes, expected {}", request_name(header.request),
                              header.size, expected));
}

std::unexpected<Refusal> refuse_fds(const Header& header, std::size_t count, std::size_t expected) {
    return refuse(fmt::format("{}: {} file descriptors, expected {}", request_name(header.request),
                              count, expected));
}

/// A message whose payload is one T and that needs `fds_needed` descriptors.
/// @param make  Parsed(const T&)
template <class T, class Make>
Parsed fixed(const Header& header, ConstBytes payload, std::size_t fd_count, std::size_t fds_needed,
             Make make) {
    if (payload.size() != sizeof(T)) return refuse_size(header, sizeof(T));
    // Surplus descriptors are harmless where none is taken, and ambiguous where one is.
    if (fds_needed != 0 && fd_count != fds_needed) {
        return refuse_fds(header, fd_count, fds_needed);
    }
    T value;
    std::memcpy(&value, payload.data(), sizeof value);
    return make(value);
}

/// A message without payload.
Parsed empty(const Header& header, ConstBytes payload, Message message) {
    if (!payload.empty()) return refuse_size(header, 0);
    return message;
}

MemoryRegion::Place place_of(const WireRegion& region) {
    return {.guest_address = region.guest_address,
            .user_address = region.user_address,
            .size = region.size,
            .fd_offset = region.fd_offset};
}

/// The table holds only the regions that it counts; nobody pads it. [vhost-user, "Memory regions"]
Parsed parse_table(const Header& header, ConstBytes payload, std::size_t fd_count) {
    WireTableHead head{};
    if (payload.size() < sizeof head) return refuse_size(header, sizeof head);
    std::memcpy(&head, payload.data(), sizeof head);
    if (head.count == 0 || head.count > kMaxTableRegions) {
        return refuse(fmt::format("SET_MEM_TABLE: {} regions, expected 1 to {}", head.count,
                                  kMaxTableRegions));
    }
    const std::size_t expected = sizeof head + head.count * sizeof(WireRegion);
    if (payload.size() != expected) return refuse_size(header, expected);
    if (fd_count != head.count) return refuse_fds(header, fd_count, head.count);
    SetMemTable table;
    table.regions.reserve(head.count);
    for (std::size_t i = 0; i < head.count; ++i) {
        WireRegion region;
        std::memcpy(&region, payload.data() + sizeof head + i * sizeof region, sizeof region);
        table.regions.push_back(place_of(region));
    }
    return Message(std::move(table));
}

Parsed parse_vring_fd(const Header& header, ConstBytes payload, std::size_t fd_count,
                      VringFdKind kind) {
    const auto make = [&](std::uint64_t value) -> Parsed {
        const bool has_fd = (value & kVringFdNone) == 0;
        if (has_fd && fd_count != 1) return refuse_fds(header, fd_count, 1);
        return SetVringFd{.kind = kind,
                          .index = static_cast<std::uint32_t>(value & kVringFdIndexMask),
                          .has_fd = has_fd};
    };
    return fixed<std::uint64_t>(header, payload, fd_count, 0, make);
}

Parsed parse_vring_num(const WireState& state) {
    if (state.number == 0 || state.number > kMaxRingSize) {
        return refuse(
            fmt::format("SET_VRING_NUM: size {}, expected 1 to {}", state.number, kMaxRingSize));
    }
    return SetVringNum{state.index, state.number};
}

Parsed parse_vring_enable(const WireState& state) {
    if (state.number > 1) {
        return refuse(fmt::format("SET_VRING_ENABLE: {}, expected 0 or 1", state.number));
    }
    return SetVringEnable{state.index, state.number == 1};
}

/// The alignments that split and packed rings have in common; the rest is checked with the ring.
Parsed parse_vring_addr(const WireAddress& wire) {
    if (!is_aligned(wire.descriptors, 16) || !is_aligned(wire.used, 4) ||
        !is_aligned(wire.available, 2)) {
        return refuse(
            fmt::format("SET_VRING_ADDR: descriptors at {:#x}, used at {:#x}, available "
                        "at {:#x}, expected multiples of 16, 4 and 2",
                        wire.descriptors, wire.used, wire.available));
    }
    return SetVringAddr{.index = wire.index,
                        .addresses = {.descriptors = wire.descriptors,
                                      .driver = wire.available,
                                      .device = wire.used,
                                      .log_guest_address = wire.log,
                                      .log_used = (wire.flags & kAddressFlagLog) != 0}};
}

Parsed parse_log_base(const WireLog& log) {
    const ByteRange range{log.offset, log.size};
    if (log.size == 0 || !range.is_sane()) {
        return refuse(fmt::format("SET_LOG_BASE: {} bytes at offset {}", log.size, log.offset));
    }
    return SetLogBase{range};
}

/// A front end reads by sending room for the bytes (QEMU, rust-vmm) or the head alone.
Parsed parse_config(const Header& header, ConstBytes payload) {
    WireConfig head{};
    if (payload.size() < sizeof head) return refuse_size(header, sizeof head);
    std::memcpy(&head, payload.data(), sizeof head);
    const ConstBytes bytes = payload.subspan(sizeof head);
    if (head.size == 0 || head.size > kMaxPayload - sizeof head ||
        head.offset > kConfigSpaceEnd - head.size) {
        return refuse(fmt::format("{}: {} bytes at offset {} of the configuration space",
                                  request_name(header.request), head.size, head.offset));
    }
    const bool is_read = header.request == std::to_underlying(RequestCode::get_config);
    if (bytes.size() != head.size && !(is_read && bytes.empty())) {
        return refuse_size(header, sizeof head + head.size);
    }
    if (is_read) return GetConfig{head.offset, head.size, head.flags};
    return SetConfig{head.offset, {bytes.begin(), bytes.end()}};
}

Parsed parse_slot(const Header& header, ConstBytes payload, std::size_t fd_count) {
    const bool is_add = header.request == std::to_underlying(RequestCode::add_mem_reg);
    const auto make = [is_add](const WireSlot& slot) -> Parsed {
        if (is_add) return AddMemReg{place_of(slot.region)};
        return RemMemReg{place_of(slot.region)};
    };
    return fixed<WireSlot>(header, payload, fd_count, is_add ? 1 : 0, make);
}

Parsed parse_inflight(const Header& header, ConstBytes payload, std::size_t fd_count) {
    if (payload.size() != sizeof(WireInflight) && payload.size() != kWireInflightSize) {
        return refuse_size(header, sizeof(WireInflight));
    }
    WireInflight wire{};
    std::memcpy(&wire, payload.data(), payload.size());
    const InflightShape shape{wire.queue_count, wire.queue_size};
    if (shape.queue_count == 0 || shape.queue_size == 0 || shape.queue_size > kMaxRingSize) {
        return refuse(fmt::format("{}: {} queues of {}, expected 1 to {} in each",
                                  request_name(header.request), shape.queue_count, shape.queue_size,
                                  kMaxRingSize));
    }
    if (header.request == std::to_underlying(RequestCode::get_inflight_fd)) {
        return GetInflightFd{shape, payload.size() == sizeof(WireInflight)};
    }
    if (fd_count != 1) return refuse_fds(header, fd_count, 1);
    const ByteRange range{wire.offset, wire.size};
    if (range.length == 0 || !range.is_sane()) {
        return refuse(
            fmt::format("SET_INFLIGHT_FD: {} bytes at offset {}", wire.size, wire.offset));
    }
    return SetInflightFd{range, shape};
}

/// A descriptor and nothing else. Some front ends send a number along; it means nothing.
Parsed parse_fd_only(const Header& header, ConstBytes payload, std::size_t fd_count,
                     Message message) {
    if (!payload.empty() && payload.size() != sizeof(std::uint64_t)) return refuse_size(header, 0);
    if (fd_count != 1) return refuse_fds(header, fd_count, 1);
    return message;
}

}  // namespace

std::expected<Header, Refusal> parse_header(ConstBytes bytes) {
    Header header;
    std::memcpy(&header, bytes.data(), sizeof header);
    if ((header.flags & Header::kVersionMask) != Header::kVersion ||
        (header.flags & Header::kReply) != 0) {
        return refuse(fmt::format("{} {}: flags {:#x}, expected version 1 and no reply",
                                  request_name(header.request), header.request, header.flags));
    }
    if (header.size > kMaxPayload) {
        return refuse(fmt::format("{} {}: payload of {} bytes, expected at most {}",
                                  request_name(header.request), header.request, header.size,
                                  kMaxPayload));
    }
    return header;
}

std::expected<Message, Refusal> parse_message(const Header& header, ConstBytes payload,
                                              std::size_t fd_count) {
    switch (RequestCode{header.request}) {
        case RequestCode::get_features: return empty(header, payload, GetFeatures{});
        case RequestCode::set_owner: return empty(header, payload, SetOwner{});
        case RequestCode::reset_owner: return empty(header, payload, ResetOwner{});
        case RequestCode::get_protocol_features:
            return empty(header, payload, GetProtocolFeatures{});
        case RequestCode::get_queue_num: return empty(header, payload, GetQueueNum{});
        case RequestCode::reset_device: return empty(header, payload, ResetDevice{});
        case RequestCode::get_max_mem_slots: return empty(header, payload, GetMaxMemSlots{});
        case RequestCode::set_log_fd: return parse_fd_only(header, payload, fd_count, SetLogFd{});
        case RequestCode::set_backend_req_fd:
            return parse_fd_only(header, payload, fd_count, SetBackendReqFd{});
        case RequestCode::set_features:
            return fixed<std::uint64_t>(header, payload, fd_count, 0,
                                        [](std::uint64_t v) -> Parsed { return SetFeatures{v}; });
        case RequestCode::set_protocol_features:
            return fixed<std::uint64_t>(
                header, payload, fd_count, 0,
                [](std::uint64_t v) -> Parsed { return SetProtocolFeatures{v}; });
        case RequestCode::set_mem_table: return parse_table(header, payload, fd_count);
        case RequestCode::set_log_base:
            return fixed<WireLog>(header, payload, fd_count, 1, parse_log_base);
        case RequestCode::set_vring_num:
            return fixed<WireState>(header, payload, fd_count, 0, parse_vring_num);
        case RequestCode::set_vring_addr:
            return fixed<WireAddress>(header, payload, fd_count, 0, parse_vring_addr);
        case RequestCode::set_vring_base:
            return fixed<WireState>(header, payload, fd_count, 0,
                                    [](const WireState& state) -> Parsed {
                                        return SetVringBase{state.index, state.number};
                                    });
        case RequestCode::get_vring_base:
            return fixed<WireState>(
                header, payload, fd_count, 0,
                [](const WireState& state) -> Parsed { return GetVringBase{state.index}; });
        case RequestCode::set_vring_kick:
            return parse_vring_fd(header, payload, fd_count, VringFdKind::kick);
        case RequestCode::set_vring_call:
            return parse_vring_fd(header, payload, fd_count, VringFdKind::call);
        case RequestCode::set_vring_err:
            return parse_vring_fd(header, payload, fd_count, VringFdKind::error);
        case RequestCode::set_vring_enable:
            return fixed<WireState>(header, payload, fd_count, 0, parse_vring_enable);
        case RequestCode::get_config:
        case RequestCode::set_config: return parse_config(header, payload);
        case RequestCode::get_inflight_fd:
        case RequestCode::set_inflight_fd: return parse_inflight(header, payload, fd_count);
        case RequestCode::add_mem_reg:
        case RequestCode::rem_mem_reg: return parse_slot(header, payload, fd_count);
    }
    return Unknown{header.request};
}

namespace {

std::vector<std::byte> encode(const Header& header, ConstBytes first, ConstBytes second = {}) {
    const ConstBytes head = bytes_of(header);
    std::vector<std::byte> message(head.begin(), head.end());
    message.insert(message.end(), first.begin(), first.end());
    message.insert(message.end(), second.begin(), second.end());
    return message;
}

/// QEMU takes a reply only if its flags are exactly these. [QEMU hw/virtio/vhost-user.c]
Header reply_header(std::uint32_t request, std::size_t size) {
    return {.request = request,
            .flags = Header::kVersion | Header::kReply,
            .size = static_cast<std::uint32_t>(size)};
}

}  // namespace

std::vector<std::byte> encode_reply(RequestCode request, ConstBytes payload) {
    return encode(reply_header(std::to_underlying(request), payload.size()), payload);
}

std::vector<std::byte> encode_number_reply(std::uint32_t request, std::uint64_t number) {
    return encode(reply_header(request, sizeof number), bytes_of(number));
}

std::vector<std::byte> encode_vring_base_reply(std::uint32_t index, RingBase base) {
    return encode_reply(RequestCode::get_vring_base, bytes_of(WireState{index, base}));
}

std::vector<std::byte> encode_config_reply(const GetConfig& asked, ConstBytes bytes) {
    const WireConfig head{.offset = asked.offset,
                          .size = static_cast<std::uint32_t>(bytes.size()),
                          .flags = asked.flags};
    const Header header =
        reply_header(std::to_underlying(RequestCode::get_config), sizeof head + bytes.size());
    return encode(header, bytes_of(head), bytes);
}

std::vector<std::byte> encode_inflight_reply(const GetInflightFd& asked, std::uint64_t size) {
    const WireInflight wire{.size = size,
                            .offset = 0,
                            .queue_count = asked.shape.queue_count,
                            .queue_size = asked.shape.queue_size,
                            .padding = 0};
    const std::size_t length = asked.is_padded ? sizeof wire : kWireInflightSize;
    return encode_reply(RequestCode::get_inflight_fd, bytes_of(wire).first(length));
}

std::vector<std::byte> encode_config_change() {
    return encode({.request = kBackendConfigChange, .flags = Header::kVersion, .size = 0}, {});
}

}  // namespace zbdkit::vhost_user
