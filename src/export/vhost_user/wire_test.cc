// SPDX-License-Identifier: Apache-2.0
#include "export/vhost_user/wire.h"

#include <gtest/gtest.h>

#include <array>
#include <utility>

#include "tests/support/export/front_end.h"

namespace zbdkit::vhost_user {
namespace {

using test::Payload;
namespace request = test::request;

Header header_of(std::uint32_t code, ConstBytes payload) {
    return {.request = code, .flags = 1, .size = static_cast<std::uint32_t>(payload.size())};
}

std::expected<Message, Refusal> parse(std::uint32_t code, ConstBytes payload, std::size_t fds = 0) {
    return parse_message(header_of(code, payload), payload, fds);
}

/// The text of a refusal, or "accepted".
std::string refusal(std::uint32_t code, ConstBytes payload, std::size_t fds = 0) {
    const auto message = parse(code, payload, fds);
    return message ? "accepted" : message.error().text;
}

template <class T>
T accepted(std::uint32_t code, ConstBytes payload, std::size_t fds = 0) {
    const auto message = parse(code, payload, fds);
    EXPECT_TRUE(message.has_value()) << (message ? "" : message.error().text);
    EXPECT_TRUE(message && std::holds_alternative<T>(*message));
    return message && std::holds_alternative<T>(*message) ? std::get<T>(*message) : T{};
}

Payload u64(std::uint64_t value) { return Payload().u64(value); }
Payload state(std::uint32_t index, std::uint32_t number) {
    return Payload().u32(index).u32(number);
}

TEST(WireHeader, version_1_request_is_read) {
    const auto header = parse_header(Payload().u32(5).u32(9).u32(104));

    ASSERT_TRUE(header.has_value());
    EXPECT_EQ(header->request, 5U);
    EXPECT_EQ(header->size, 104U);
    EXPECT_TRUE(header->needs_reply());
}

TEST(WireHeader, without_need_reply_wants_no_answer) {
    EXPECT_FALSE(parse_header(Payload().u32(5).u32(1).u32(0))->needs_reply());
}

TEST(WireHeader, other_version_is_refused) {
    EXPECT_FALSE(parse_header(Payload().u32(1).u32(0).u32(0)).has_value());
    EXPECT_FALSE(parse_header(Payload().u32(1).u32(2).u32(0)).has_value());
    EXPECT_FALSE(parse_header(Payload().u32(1).u32(3).u32(0)).has_value());
}

TEST(WireHeader, reply_is_refused) {
    EXPECT_FALSE(parse_header(Payload().u32(1).u32(5).u32(0)).has_value());
}

TEST(WireHeader, size_is_at_most_4096) {
    EXPECT_TRUE(parse_header(Payload().u32(1).u32(1).u32(4096)).has_value());
    EXPECT_FALSE(parse_header(Payload().u32(1).u32(1).u32(4097)).has_value());
    EXPECT_FALSE(parse_header(Payload().u32(1).u32(1).u32(0xffffffff)).has_value());
}

TEST(Wire, messages_without_payload_are_told_apart) {
    accepted<GetFeatures>(request::kGetFeatures, {});
    accepted<SetOwner>(request::kSetOwner, {});
    accepted<ResetOwner>(request::kResetOwner, {});
    accepted<GetProtocolFeatures>(request::kGetProtocolFeatures, {});
    accepted<GetQueueNum>(request::kGetQueueNum, {});
    accepted<ResetDevice>(request::kResetDevice, {});
    accepted<GetMaxMemSlots>(request::kGetMaxMemSlots, {});
}

TEST(Wire, payload_where_none_belongs_is_refused) {
    EXPECT_EQ(refusal(request::kSetOwner, u64(0)), "SET_OWNER: payload of 8 bytes, expected 0");
}

TEST(Wire, surplus_descriptors_are_left_to_the_caller) {
    accepted<GetFeatures>(request::kGetFeatures, {}, 3);
    accepted<SetVringNum>(request::kSetVringNum, state(0, 64), 1);
}

TEST(Wire, features_are_read) {
    EXPECT_EQ(accepted<SetFeatures>(request::kSetFeatures, u64(0x140020000)).features,
              0x140020000U);
    EXPECT_EQ(accepted<SetProtocolFeatures>(request::kSetProtocolFeatures, u64(0xa22b)).features,
              0xa22bU);
}

TEST(Wire, features_of_another_size_are_refused) {
    EXPECT_NE(refusal(request::kSetFeatures, {}), "accepted");
    EXPECT_NE(refusal(request::kSetFeatures, Payload().u32(1)), "accepted");
    EXPECT_NE(refusal(request::kSetFeatures, Payload().u64(1).u32(1)), "accepted");
}

TEST(Wire, memory_table_holds_what_it_counts) {
    const Payload table = Payload()
                              .u32(3)
                              .u32(0)
                              .region({0, 0x7000, 0xc0000, 0})
                              .region({0xe0000, 0xe7000, 0x10000, 0xe0000})
                              .region({0x100000, 0x107000, 0x700000, 0x100000});

    const auto message = accepted<SetMemTable>(request::kSetMemTable, table, 3);

    ASSERT_EQ(ConstBytes(table).size(), 104U);
    ASSERT_EQ(message.regions.size(), 3U);
    EXPECT_EQ(message.regions[1].guest_address, 0xe0000U);
    EXPECT_EQ(message.regions[1].user_address, 0xe7000U);
    EXPECT_EQ(message.regions[1].size, 0x10000U);
    EXPECT_EQ(message.regions[1].fd_offset, 0xe0000U);
}

TEST(Wire, memory_table_needs_a_descriptor_for_each_region) {
    const Payload table = Payload().u32(1).u32(0).region({0, 0, 4096, 0});

    EXPECT_EQ(refusal(request::kSetMemTable, table, 0),
              "SET_MEM_TABLE: 0 file descriptors, expected 1");
    EXPECT_EQ(refusal(request::kSetMemTable, table, 2),
              "SET_MEM_TABLE: 2 file descriptors, expected 1");
}

TEST(Wire, memory_table_of_another_size_than_it_counts_is_refused) {
    const Payload padded = Payload().u32(1).u32(0).region({0, 0, 4096, 0}).region({0, 0, 4096, 0});

    EXPECT_EQ(refusal(request::kSetMemTable, padded, 1),
              "SET_MEM_TABLE: payload of 72 bytes, expected 40");
    EXPECT_NE(refusal(request::kSetMemTable, Payload().u32(1), 1), "accepted");
    EXPECT_NE(refusal(request::kSetMemTable, Payload().u32(2).u32(0), 2), "accepted");
}

TEST(Wire, memory_table_has_1_to_32_regions) {
    Payload largest;
    largest.u32(32).u32(0);
    for (int i = 0; i < 32; ++i) largest.region({0, 0, 4096, 0});

    EXPECT_EQ(accepted<SetMemTable>(request::kSetMemTable, largest, 32).regions.size(), 32U);
    EXPECT_NE(refusal(request::kSetMemTable, Payload().u32(0).u32(0)), "accepted");
    EXPECT_NE(refusal(request::kSetMemTable, Payload().u32(33).u32(0), 33), "accepted");
    EXPECT_NE(refusal(request::kSetMemTable, Payload().u32(0xffffffff).u32(0), 1), "accepted");
}

TEST(Wire, memory_slot_has_40_bytes) {
    const Payload slot = Payload().u64(0).region({0x1000, 0x2000, 0x3000, 0x4000});

    EXPECT_EQ(accepted<AddMemReg>(request::kAddMemReg, slot, 1).region.size, 0x3000U);
    EXPECT_EQ(accepted<RemMemReg>(request::kRemMemReg, slot, 0).region.user_address, 0x2000U);
    EXPECT_EQ(accepted<RemMemReg>(request::kRemMemReg, slot, 1).region.guest_address, 0x1000U);
    EXPECT_NE(refusal(request::kAddMemReg, slot, 0), "accepted");
    EXPECT_NE(refusal(request::kAddMemReg, slot, 2), "accepted");
    EXPECT_NE(refusal(request::kAddMemReg, Payload().region({0, 0, 1, 0}), 1), "accepted");
}

TEST(Wire, log_base_is_a_range_of_one_descriptor) {
    const auto message =
        accepted<SetLogBase>(request::kSetLogBase, Payload().u64(0x8000).u64(0x1000), 1);

    EXPECT_EQ(message.range.offset, 0x1000U);
    EXPECT_EQ(message.range.length, 0x8000U);
    EXPECT_NE(refusal(request::kSetLogBase, Payload().u64(1).u64(0), 0), "accepted");
    EXPECT_NE(refusal(request::kSetLogBase, u64(0), 0), "accepted");
    EXPECT_NE(refusal(request::kSetLogBase, Payload().u64(0).u64(0), 1), "accepted");
    EXPECT_NE(refusal(request::kSetLogBase, Payload().u64(2).u64(~std::uint64_t{0}), 1),
              "accepted");
}

TEST(Wire, descriptor_messages_need_exactly_one) {
    accepted<SetLogFd>(request::kSetLogFd, {}, 1);
    accepted<SetBackendReqFd>(request::kSetBackendReqFd, {}, 1);
    EXPECT_NE(refusal(request::kSetBackendReqFd, {}, 0), "accepted");
    EXPECT_NE(refusal(request::kSetBackendReqFd, {}, 2), "accepted");
    EXPECT_NE(refusal(request::kSetLogFd, Payload().u32(1), 1), "accepted");
}

TEST(Wire, ring_size_is_1_to_32768) {
    EXPECT_EQ(accepted<SetVringNum>(request::kSetVringNum, state(1, 32768)).size, 32768U);
    EXPECT_EQ(accepted<SetVringNum>(request::kSetVringNum, state(1, 1)).index, 1U);
    EXPECT_NE(refusal(request::kSetVringNum, state(0, 0)), "accepted");
    EXPECT_NE(refusal(request::kSetVringNum, state(0, 32769)), "accepted");
}

TEST(Wire, ring_addresses_come_as_descriptors_used_available) {
    const Payload payload = Payload().u32(3).u32(1).u64(0x1000).u64(0x2004).u64(0x3002).u64(0x4000);

    const auto message = accepted<SetVringAddr>(request::kSetVringAddr, payload);

    EXPECT_EQ(message.index, 3U);
    EXPECT_EQ(message.addresses.descriptors, 0x1000U);
    EXPECT_EQ(message.addresses.device, 0x2004U);
    EXPECT_EQ(message.addresses.driver, 0x3002U);
    EXPECT_EQ(message.addresses.log_guest_address, 0x4000U);
    EXPECT_TRUE(message.addresses.log_used);
    EXPECT_FALSE(message.addresses.guest_addresses);
}

TEST(Wire, unaligned_ring_addresses_are_refused) {
    const auto at = [](std::uint64_t descriptors, std::uint64_t used, std::uint64_t available) {
        return Payload().u32(0).u32(0).u64(descriptors).u64(used).u64(available).u64(0);
    };
    EXPECT_EQ(refusal(request::kSetVringAddr, at(16, 4, 2)), "accepted");
    EXPECT_NE(refusal(request::kSetVringAddr, at(8, 4, 2)), "accepted");
    EXPECT_NE(refusal(request::kSetVringAddr, at(16, 2, 2)), "accepted");
    EXPECT_NE(refusal(request::kSetVringAddr, at(16, 4, 1)), "accepted");
}

TEST(Wire, ring_base_and_enable_are_read) {
    EXPECT_EQ(accepted<SetVringBase>(request::kSetVringBase, state(1, 0x80018001)).base,
              0x80018001U);
    EXPECT_EQ(accepted<GetVringBase>(request::kGetVringBase, state(7, 0)).index, 7U);
    EXPECT_TRUE(accepted<SetVringEnable>(request::kSetVringEnable, state(0, 1)).enable);
    EXPECT_FALSE(accepted<SetVringEnable>(request::kSetVringEnable, state(0, 0)).enable);
    EXPECT_NE(refusal(request::kSetVringEnable, state(0, 2)), "accepted");
}

TEST(Wire, ring_descriptors_come_with_one_or_with_the_bit_for_none) {
    const auto with = accepted<SetVringFd>(request::kSetVringCall, u64(0x03), 1);
    const auto without = accepted<SetVringFd>(request::kSetVringKick, u64(0x105), 0);

    EXPECT_EQ(with.kind, VringFdKind::call);
    EXPECT_EQ(with.index, 3U);
    EXPECT_TRUE(with.has_fd);
    EXPECT_EQ(without.kind, VringFdKind::kick);
    EXPECT_EQ(without.index, 5U);
    EXPECT_FALSE(without.has_fd);
    EXPECT_EQ(accepted<SetVringFd>(request::kSetVringErr, u64(0), 1).kind, VringFdKind::error);
    EXPECT_NE(refusal(request::kSetVringCall, u64(0), 0), "accepted");
    EXPECT_NE(refusal(request::kSetVringCall, u64(0), 2), "accepted");
}

TEST(Wire, config_is_read_with_or_without_room_for_its_bytes) {
    const std::array<std::byte, 57> room{};
    const auto with_room = accepted<GetConfig>(
        request::kGetConfig, Payload().u32(0).u32(57).u32(1).add(ConstBytes(room)));
    const auto bare = accepted<GetConfig>(request::kGetConfig, Payload().u32(92).u32(4).u32(0));

    EXPECT_EQ(with_room.size, 57U);
    EXPECT_EQ(with_room.flags, 1U);
    EXPECT_EQ(bare.offset, 92U);
}

TEST(Wire, config_beyond_its_bound_or_with_other_bytes_is_refused) {
    EXPECT_EQ(refusal(request::kGetConfig, Payload().u32(4095).u32(1).u32(0)), "accepted");
    EXPECT_NE(refusal(request::kGetConfig, Payload().u32(4096).u32(1).u32(0)), "accepted");
    EXPECT_NE(refusal(request::kGetConfig, Payload().u32(0xffffffff).u32(2).u32(0)), "accepted");
    EXPECT_NE(refusal(request::kGetConfig, Payload().u32(0).u32(0).u32(0)), "accepted");
    EXPECT_NE(refusal(request::kGetConfig, Payload().u32(0).u32(8).u32(0).u32(0)), "accepted");
    EXPECT_NE(refusal(request::kGetConfig, Payload().u32(0).u32(8)), "accepted");
    EXPECT_NE(refusal(request::kSetConfig, Payload().u32(0).u32(8).u32(0)), "accepted");
}

TEST(Wire, config_bytes_are_taken_over) {
    const std::array<std::byte, 1> off{std::byte{0}};
    const auto message = accepted<SetConfig>(request::kSetConfig,
                                             Payload().u32(32).u32(1).u32(0).add(ConstBytes(off)));

    EXPECT_EQ(message.offset, 32U);
    EXPECT_EQ(message.bytes.size(), 1U);
}

TEST(Wire, request_of_other_devices_is_unknown_and_no_refusal) {
    EXPECT_EQ(accepted<Unknown>(20, u64(1500)).request, 20U);
    EXPECT_EQ(accepted<Unknown>(0xffffffff, {}, 1).request, 0xffffffffU);
    EXPECT_EQ(accepted<Unknown>(39, u64(0)).request, 39U);
}

TEST(Wire, every_request_has_the_name_of_the_protocol) {
    EXPECT_STREQ(request_name(request::kSetMemTable), "SET_MEM_TABLE");
    EXPECT_STREQ(request_name(request::kRemMemReg), "REM_MEM_REG");
    EXPECT_STREQ(request_name(1000), "request");
}

TEST(Wire, replies_have_flags_5_and_their_size) {
    const std::vector<std::byte> reply = encode_number_reply(17, 4);
    const Payload expected = Payload().u32(17).u32(5).u32(8).u64(4);
    EXPECT_TRUE(std::ranges::equal(reply, ConstBytes(expected)));

    const std::vector<std::byte> base = encode_vring_base_reply(1, 0x1234);
    const Payload expected_base = Payload().u32(11).u32(5).u32(8).u32(1).u32(0x1234);
    EXPECT_TRUE(std::ranges::equal(base, ConstBytes(expected_base)));
}

TEST(Wire, config_reply_repeats_the_question) {
    const std::array<std::byte, 2> bytes{std::byte{7}, std::byte{8}};

    const std::vector<std::byte> reply =
        encode_config_reply({.offset = 34, .size = 2, .flags = 1}, bytes);

    const Payload expected =
        Payload().u32(24).u32(5).u32(14).u32(34).u32(2).u32(1).add(ConstBytes(bytes));
    EXPECT_TRUE(std::ranges::equal(reply, ConstBytes(expected)));
}

TEST(Wire, config_change_is_a_bare_request) {
    const Payload expected = Payload().u32(2).u32(1).u32(0);
    EXPECT_TRUE(std::ranges::equal(encode_config_change(), ConstBytes(expected)));
}

}  // namespace
}  // namespace zbdkit::vhost_user
