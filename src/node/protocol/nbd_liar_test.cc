// SPDX-License-Identifier: Apache-2.0
// Servers that break the protocol, lie about what they have, or never come to the point: opening
// ends in time with a sentence, requests end with an error, and nothing worse happens.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <limits>
#include <string>
#include <thread>

#include "base/buffer.h"
#include "tests/support/node/nbd_fixture.h"
#include "tests/support/node/scripted_nbd.h"

namespace zbdkit {
namespace {

using test::contains;
using test::kOk;
using test::NbdAsked;
using test::NbdClaims;
using test::NbdPeer;
using test::ScriptedNbd;

class NbdLiar : public test::Nbd {
  protected:
    void SetUp() override {}  // there is no nbdkit here

    std::string open(const ScriptedNbd& server, const std::string& more = "") {
        Outcome<std::unique_ptr<BlockNode>> node = try_open("uri=" + server.uri() + more);
        if (!node) return node.error().message;
        node_ = std::move(*node);
        return "";
    }
    static std::string no_connection(const ScriptedNbd& server) {
        return "cannot connect to NBD server '" + server.uri() + "': ";
    }
    test::Answer read(ByteRange range) {
        AlignedBuffer buffer(range.length);
        const iovec segment = segment_of(buffer.bytes());
        return answer_of(read_request(range, IoSegments(&segment, 1)));
    }
};

// --- Connecting ---------------------------------------------------------------------------------

TEST_F(NbdLiar, greeting_that_is_none_is_refused) {
    const ScriptedNbd server([](NbdPeer& peer) {
        peer.send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        peer.wait_for_end();
    });
    const std::string message = open(server);
    EXPECT_TRUE(contains(message, no_connection(server))) << message;
    EXPECT_TRUE(contains(message, "did not send expected NBD magic")) << message;
}

TEST_F(NbdLiar, server_that_hangs_up_at_once_is_refused) {
    const ScriptedNbd server([](NbdPeer& /*peer*/) {});
    const std::string message = open(server);
    EXPECT_TRUE(contains(message, no_connection(server))) << message;
}

TEST_F(NbdLiar, server_that_hangs_up_within_its_greeting_is_refused) {
    const ScriptedNbd server([](NbdPeer& peer) { peer.send("NBDMAGICIHAV"); });
    const std::string message = open(server);
    EXPECT_TRUE(contains(message, no_connection(server))) << message;
}

TEST_F(NbdLiar, server_that_hangs_up_instead_of_an_answer_is_refused) {
    const ScriptedNbd server([](NbdPeer& peer) { peer.greet(); });
    const std::string message = open(server);
    EXPECT_TRUE(contains(message, no_connection(server))) << message;
}

TEST_F(NbdLiar, server_that_accepts_and_says_nothing_is_given_up) {
    const ScriptedNbd server([](NbdPeer& peer) { peer.wait_for_end(); });
    EXPECT_EQ(open(server, ",connect-timeout=1"), no_connection(server) + "no answer within 1 s");
}

TEST_F(NbdLiar, server_that_says_nothing_after_its_greeting_is_given_up) {
    const ScriptedNbd server([](NbdPeer& peer) {
        peer.greet();
        peer.wait_for_end();
    });
    EXPECT_EQ(open(server, ",connect-timeout=1"), no_connection(server) + "no answer within 1 s");
}

// Each byte alone comes in time: the limit is that of the whole.
TEST_F(NbdLiar, answer_that_trickles_is_given_up) {
    const ScriptedNbd server([](NbdPeer& peer) {
        peer.greet();
        static_cast<void>(peer.receive(16));
        peer.reply_to_option(8, 1, "");
        peer.send(test::big_endian(0x0003e889045565a9, 8) + test::big_endian(7, 4) +
                  test::big_endian(3, 4) + test::big_endian(4096, 4));
        while (!peer.is_gone()) {
            peer.send("x");
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
        }
    });
    EXPECT_EQ(open(server, ",connect-timeout=1"), no_connection(server) + "no answer within 1 s");
}

// Never a pause, so that the reactor is not alone with one connection either.
TEST_F(NbdLiar, answers_without_end_are_given_up) {
    const ScriptedNbd server([](NbdPeer& peer) {
        peer.greet();
        const std::string info = test::big_endian(0x7777, 2) + std::string(16, 'x');
        while (!peer.is_gone()) peer.reply_to_option(8, 3, info);
    });
    const std::string message = open(server, ",connect-timeout=1");
    EXPECT_TRUE(contains(message, no_connection(server))) << message;
}

TEST_F(NbdLiar, information_without_end_is_given_up) {
    const ScriptedNbd server([](NbdPeer& peer) {
        peer.greet();
        static_cast<void>(peer.receive(16));
        peer.reply_to_option(8, 1, "");
        const std::string info = test::big_endian(0x7777, 2) + std::string(16, 'x');
        while (!peer.is_gone()) peer.reply_to_option(7, 3, info);
    });
    EXPECT_EQ(open(server, ",connect-timeout=1"), no_connection(server) + "no answer within 1 s");
}

// --- What it says of the export -----------------------------------------------------------------

TEST_F(NbdLiar, size_that_no_offset_reaches_is_refused) {
    const ScriptedNbd server([](NbdPeer& peer) {
        peer.serve({.size = std::numeric_limits<std::uint64_t>::max()});
        peer.wait_for_end();
    });
    EXPECT_NE(open(server), "");
}

TEST_F(NbdLiar, empty_export_is_refused) {
    const ScriptedNbd server([](NbdPeer& peer) {
        peer.serve({.size = 0});
        peer.wait_for_end();
    });
    const std::string message = open(server);
    EXPECT_TRUE(contains(message, "the export of 0 bytes has no block of 512 bytes")) << message;
}

TEST_F(NbdLiar, block_sizes_beyond_what_the_protocol_allows_are_not_believed) {
    const ScriptedNbd server([](NbdPeer& peer) {
        peer.serve({.smallest = 131072, .preferred = 131072});
        peer.wait_for_end();
    });
    ASSERT_EQ(open(server), "");
    EXPECT_EQ(node_->info().block_size, 512U);
}

TEST_F(NbdLiar, block_size_that_is_no_power_of_two_is_not_believed) {
    const ScriptedNbd server([](NbdPeer& peer) {
        peer.serve({.smallest = 1000, .preferred = 3, .largest = 1});
        peer.wait_for_end();
    });
    ASSERT_EQ(open(server), "");
    EXPECT_EQ(node_->info().block_size, 512U);
    EXPECT_EQ(node_->info().physical_block_size, 4096U);
}

// --- Requests -----------------------------------------------------------------------------------

TEST_F(NbdLiar, size_that_is_too_large_fails_what_the_server_does_not_have) {
    const ScriptedNbd server([](NbdPeer& peer) {
        peer.serve({.size = 2097152});
        const NbdAsked inside = peer.next_request();
        peer.data_chunk(inside, inside.offset, inside.length);
        peer.error_chunk(peer.next_request().cookie, 22, "beyond the end");
        peer.simple_reply(peer.next_request().cookie, 28);
        peer.wait_for_end();
    });
    ASSERT_EQ(open(server), "");
    EXPECT_EQ(read({0, 4096}), kOk);
    EXPECT_EQ(read({1048576, 4096}), Errc::io);
    EXPECT_EQ(write({1048576, 4096}, 1), Errc::no_space);
}

TEST_F(NbdLiar, answer_to_what_nobody_asked_fails_the_request) {
    const ScriptedNbd server([](NbdPeer& peer) {
        peer.serve({});
        const NbdAsked asked = peer.next_request();
        peer.data_chunk({.cookie = asked.cookie + 77, .length = asked.length}, 0, asked.length);
        peer.wait_for_end();
    });
    ASSERT_EQ(open(server), "");
    EXPECT_EQ(read({0, 4096}), Errc::io);
}

TEST_F(NbdLiar, more_data_than_was_asked_for_fails_the_read) {
    const ScriptedNbd server([](NbdPeer& peer) {
        peer.serve({});
        const NbdAsked asked = peer.next_request();
        peer.data_chunk(asked, asked.offset, asked.length + std::size_t{4096});
        peer.wait_for_end();
    });
    ASSERT_EQ(open(server), "");
    EXPECT_EQ(read({0, 4096}), Errc::io);
}

TEST_F(NbdLiar, data_of_another_place_fails_the_read) {
    const ScriptedNbd server([](NbdPeer& peer) {
        peer.serve({});
        const NbdAsked asked = peer.next_request();
        peer.data_chunk(asked, asked.offset + 2048, asked.length);
        peer.wait_for_end();
    });
    ASSERT_EQ(open(server), "");
    EXPECT_EQ(read({4096, 4096}), Errc::io);
}

// What is missing must not be taken for data: it would be whatever the memory had in it. libnbd
// does not look.
TEST_F(NbdLiar, less_data_than_was_asked_for_fails_the_read) {
    const ScriptedNbd server([](NbdPeer& peer) {
        peer.serve({});
        const NbdAsked asked = peer.next_request();
        peer.data_chunk(asked, asked.offset, 512);
        peer.wait_for_end();
    });
    ASSERT_EQ(open(server), "");
    EXPECT_EQ(read({0, 4096}), Errc::io);
}

TEST_F(NbdLiar, no_data_at_all_fails_the_read) {
    const ScriptedNbd server([](NbdPeer& peer) {
        peer.serve({});
        peer.chunk(peer.next_request().cookie, 0, "");
        peer.wait_for_end();
    });
    ASSERT_EQ(open(server), "");
    EXPECT_EQ(read({0, 4096}), Errc::io);
}

TEST_F(NbdLiar, more_pieces_than_the_read_has_bytes_fail_it) {
    const ScriptedNbd server([](NbdPeer& peer) {
        peer.serve({});
        const NbdAsked asked = peer.next_request();
        peer.data_piece(asked, asked.offset, asked.length);
        peer.data_chunk(asked, asked.offset, 512);
        peer.wait_for_end();
    });
    ASSERT_EQ(open(server), "");
    EXPECT_EQ(read({0, 4096}), Errc::io);
}

TEST_F(NbdLiar, pieces_without_end_are_given_up) {
    const ScriptedNbd server([](NbdPeer& peer) {
        peer.serve({});
        const NbdAsked asked = peer.next_request();
        while (!peer.is_gone()) peer.data_piece(asked, asked.offset, 512);
    });
    ASSERT_EQ(open(server, ",request-timeout=1"), "");
    EXPECT_EQ(read({0, 4096}), Errc::io);
}

TEST_F(NbdLiar, read_in_pieces_of_data_and_holes_in_any_order_is_whole) {
    const ScriptedNbd server([](NbdPeer& peer) {
        peer.serve({});
        const NbdAsked asked = peer.next_request();
        peer.data_piece(asked, 2048, 2048);
        peer.data_piece(asked, 0, 512);
        peer.chunk(asked.cookie, 2, test::big_endian(512, 8) + test::big_endian(1536, 4));
        peer.wait_for_end();
    });
    ASSERT_EQ(open(server), "");
    EXPECT_EQ(count({0, 4096}, 'x'), 2560U);
}

TEST_F(NbdLiar, answer_cut_off_in_the_middle_fails_the_read) {
    const ScriptedNbd server([](NbdPeer& peer) {
        peer.serve({});
        const NbdAsked asked = peer.next_request();
        peer.send(test::big_endian(0x668e33ef, 4) + test::big_endian(1, 2) +
                  test::big_endian(1, 2) + test::big_endian(asked.cookie, 8) +
                  test::big_endian(8 + 4096, 4) + test::big_endian(0, 8) + std::string(100, 'x'));
    });
    ASSERT_EQ(open(server), "");
    EXPECT_EQ(read({0, 4096}), Errc::io);
}

TEST_F(NbdLiar, answer_that_is_garbage_fails_the_request_and_all_others) {
    const ScriptedNbd server([](NbdPeer& peer) {
        peer.serve({});
        static_cast<void>(peer.next_request());
        peer.send(std::string(64, '\xff'));
        peer.wait_for_end();
    });
    ASSERT_EQ(open(server), "");
    EXPECT_EQ(write({0, 4096}, 1), Errc::io);
    EXPECT_EQ(read({0, 4096}), Errc::io);
}

TEST_F(NbdLiar, errors_that_nobody_knows_are_errors) {
    const ScriptedNbd server([](NbdPeer& peer) {
        peer.serve({});
        peer.simple_reply(peer.next_request().cookie, 0x7fffffff);
        peer.simple_reply(peer.next_request().cookie, 0xffffffff);
        peer.error_chunk(peer.next_request().cookie, 4711, std::string(4000, 'x'));
        peer.error_chunk(peer.next_request().cookie, 75, "overflow");
        peer.wait_for_end();
    });
    ASSERT_EQ(open(server), "");
    EXPECT_EQ(write({0, 4096}, 1), Errc::io);
    EXPECT_EQ(write({0, 4096}, 1), Errc::io);
    EXPECT_EQ(read({0, 4096}), Errc::io);
    EXPECT_EQ(read({0, 4096}), Errc::io);
}

TEST_F(NbdLiar, error_without_an_error_fails_the_read) {
    const ScriptedNbd server([](NbdPeer& peer) {
        peer.serve({});
        peer.error_chunk(peer.next_request().cookie, 0, "none");
        peer.wait_for_end();
    });
    ASSERT_EQ(open(server), "");
    EXPECT_EQ(read({0, 4096}), Errc::io);
}

TEST_F(NbdLiar, request_that_ends_every_connection_fails_in_the_end) {
    const ScriptedNbd server([](NbdPeer& peer) {
        peer.serve({});
        static_cast<void>(peer.next_request());
        peer.send(std::string(64, '\xff'));
        peer.wait_for_end();
    });
    ASSERT_EQ(open(server, ",reconnect-delay=60"), "");
    EXPECT_EQ(write({0, 4096}, 1), Errc::io);
}

}  // namespace
}  // namespace zbdkit
