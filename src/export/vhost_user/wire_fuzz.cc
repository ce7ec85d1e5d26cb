// SPDX-License-Identifier: Apache-2.0
// Fuzzes the message parser: byte 0 chooses the number of descriptors, then come a header and its
// payload as the socket would hand them over. What is accepted must keep the promises of wire.h.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <variant>

#include "base/assert.h"
#include "export/vhost_user/wire.h"

using namespace zbdkit;
using namespace zbdkit::vhost_user;

namespace {

void check_shape(InflightShape shape) {
    ZBDKIT_ASSERT(shape.queue_count >= 1 && shape.queue_size >= 1 && shape.queue_size <= 32768);
}

void check(const Message& message, std::size_t fd_count) {
    if (const auto* table = std::get_if<SetMemTable>(&message)) {
        ZBDKIT_ASSERT(table->regions.size() == fd_count);
        ZBDKIT_ASSERT(fd_count >= 1 && fd_count <= kMaxTableRegions);
    }
    if (const auto* config = std::get_if<GetConfig>(&message)) {
        ZBDKIT_ASSERT(config->size >= 1 && config->offset + config->size <= kConfigSpaceEnd);
    }
    if (const auto* fd = std::get_if<SetVringFd>(&message)) {
        ZBDKIT_ASSERT(!fd->has_fd || fd_count == 1);
        ZBDKIT_ASSERT(fd->index < 256);
    }
    if (const auto* log = std::get_if<SetLogBase>(&message)) {
        ZBDKIT_ASSERT(log->range.is_sane() && log->range.length > 0 && fd_count == 1);
    }
    if (const auto* size = std::get_if<SetVringNum>(&message)) {
        ZBDKIT_ASSERT(size->size >= 1 && size->size <= 32768);
    }
    if (const auto* question = std::get_if<GetInflightFd>(&message)) {
        check_shape(question->shape);
        const std::size_t size = sizeof(Header) + (question->is_padded ? 24 : 20);
        ZBDKIT_ASSERT(encode_inflight_reply(*question, 4096).size() == size);
    }
    if (const auto* region = std::get_if<SetInflightFd>(&message)) {
        check_shape(region->shape);
        ZBDKIT_ASSERT(region->range.is_sane() && region->range.length > 0 && fd_count == 1);
    }
    if (std::holds_alternative<AddMemReg>(message)) ZBDKIT_ASSERT(fd_count == 1);
}

/// Headers of noise rarely pass; most inputs are made one that does, so that payloads are reached.
Header usable_header(Header header, std::size_t payload_size) {
    header.request %= 48;
    header.flags = Header::kVersion | (header.flags & Header::kNeedReply);
    header.size = static_cast<std::uint32_t>(payload_size);
    return header;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const ConstBytes input = std::as_bytes(std::span(data, size));
    if (input.size() < 1 + sizeof(Header)) return 0;
    const auto choice = std::to_integer<std::size_t>(input[0]);
    const ConstBytes head = input.subspan(1, sizeof(Header));
    const ConstBytes rest = input.subspan(1 + sizeof(Header));
    const ConstBytes payload = rest.first(std::min<std::size_t>(rest.size(), kMaxPayload));
    const std::size_t fd_count = choice % 4 == 3 ? choice % (kMaxMessageFds + 1) : choice % 4;

    if (const auto header = parse_header(head)) ZBDKIT_ASSERT(header->size <= kMaxPayload);
    Header header;
    std::memcpy(&header, head.data(), sizeof header);
    const auto message = parse_message(usable_header(header, payload.size()), payload, fd_count);
    if (message) {
        check(*message, fd_count);
    } else {
        ZBDKIT_ASSERT(!message.error().text.empty());
    }
    return 0;
}
