// SPDX-License-Identifier: Apache-2.0
// One connection to an NBD server, through libnbd's event interface. Owned by a node, on the node's
// reactor; it has no thread, and blocks nothing. Coroutines of it run only while somebody awaits
// one of its tasks: so it may be destroyed at any other time, closed or not.
#pragma once

#include <boost/intrusive/list.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/error.h"
#include "base/units.h"
#include "io/alarm.h"
#include "io/blocking_pool.h"
#include "io/file_io.h"
#include "io/reactor.h"
#include "io/scope.h"
#include "io/sync.h"
#include "io/task.h"

struct nbd_handle;

namespace zbdkit {

/// Where a server is, and how to speak to it.
struct NbdServer {
    std::string uri;
    std::optional<std::string> export_name;  ///< instead of the one in the URI
    std::string tls_certificates;            ///< a folder, or ""
    std::string tls_username;                ///< or ""
    std::string tls_psk_file;                ///< or ""
    std::uint64_t connect_timeout_ns = 0;
    std::uint64_t request_timeout_ns = 0;  ///< 0: none

    /// For people: the URI, and the export if it is another one.
    [[nodiscard]] std::string name() const;
    [[nodiscard]] bool has_tls() const { return uri.starts_with("nbds"); }
};

/// What a server says of an export. Sizes are bytes; 0 where it says nothing.
struct NbdExport {
    std::uint64_t size = 0;
    std::uint64_t block_size = 0;
    std::uint64_t preferred_size = 0;
    std::uint64_t largest_transfer = 0;
    bool is_read_only = false;
    bool can_flush = false;
    bool can_fua = false;
    bool can_trim = false;
    bool can_zero = false;
    bool can_multi_conn = false;  ///< a flush on one connection covers the writes of all
    bool operator==(const NbdExport&) const = default;
};

enum class NbdOp : std::uint8_t { read, write, flush, trim, zero };

/// One request of the protocol.
struct NbdCommand {
    NbdOp op = NbdOp::read;
    ByteRange range{};
    std::byte* memory = nullptr;  ///< read, write: range.length bytes
    bool fua = false;             ///< write, trim, zero, where the server can
};

/// What became of a connection.
enum class NbdEnd : std::uint8_t {
    none,       ///< it lives
    broken,     ///< the server ended it, or cannot be reached any more
    timed_out,  ///< a request was not answered in time. The server may still carry it out
};

class NbdConnection {
  public:
    /// What became of a command.
    struct Answer {
        NbdEnd end = NbdEnd::none;  ///< else there is no answer: whether it was done is not known
        int os_errno = 0;           ///< what the server says; 0 is success
    };

    /// Connects and agrees with the server on the export.
    /// @param pool    for the one call that blocks
    /// @param server  outlives the task
    /// Errors: a sentence that names the server, what failed, and the limit in time if that was it.
    [[nodiscard]] static Task<Outcome<std::unique_ptr<NbdConnection>>> open(
        Reactor& reactor, BlockingPool& pool, const NbdServer& server);
    NbdConnection(const NbdConnection&) = delete;
    NbdConnection& operator=(const NbdConnection&) = delete;
    ~NbdConnection();

    /// Sends a command and waits for its answer. Any number may be under way.
    [[nodiscard]] Task<Answer> run(NbdCommand command);

    /// Takes the connection for lost: commands under way end without an answer.
    void give_up(NbdEnd end, std::string reason);
    /// Waits until no command is under way. Only after give_up(), which makes that soon.
    [[nodiscard]] Task<void> drain();
    /// Says good-bye to the server, within a second. No command may be under way.
    [[nodiscard]] Task<void> close();

    [[nodiscard]] const NbdExport& facts() const { return facts_; }
    [[nodiscard]] NbdEnd end() const { return end_; }
    /// Why the connection ended, for people; "" while it lives.
    [[nodiscard]] const std::string& reason() const { return reason_; }

  private:
    /// A command that libnbd has. It tells by two calls: the answer, if there is one, and that it
    /// has let go of the command and its memory, which it does in any case.
    struct Flight : boost::intrusive::list_base_hook<
                        boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
        std::uint64_t due_ns = 0;
        std::uint64_t bytes_missing = 0;  ///< of a read
        bool is_answered = false;
        int os_errno = 0;
        AsyncEvent done;
    };
    struct CloseHandle {
        void operator()(nbd_handle* handle) const;
    };
    using Handle = std::unique_ptr<nbd_handle, CloseHandle>;
    using Condition = bool (NbdConnection::*)() const;

    NbdConnection(Reactor& reactor, std::uint64_t request_timeout_ns)
        : reactor_(reactor), request_timeout_ns_(request_timeout_ns), alarm_(reactor) {}

    [[nodiscard]] Outcome<void> configure(const NbdServer& server);
    [[nodiscard]] Task<Outcome<void>> establish(BlockingPool& pool, const NbdServer& server);
    [[nodiscard]] Task<Outcome<void>> start(BlockingPool& pool, const NbdServer& server);
    [[nodiscard]] Task<Outcome<void>> negotiate(const NbdServer& server, std::uint64_t due_ns);
    [[nodiscard]] Task<Outcome<void>> choose_export(const NbdServer& server, std::uint64_t due_ns);
    [[nodiscard]] Outcome<void> learn_facts();

    [[nodiscard]] bool has_connected() const;
    [[nodiscard]] bool has_chosen() const { return chosen_.has_value() && has_connected(); }
    [[nodiscard]] bool never() const { return false; }
    [[nodiscard]] Task<void> drive(Condition is_done);
    [[nodiscard]] Task<void> drive_until(std::uint64_t due_ns, Condition is_done);
    [[nodiscard]] Task<void> watch_drive(std::uint64_t due_ns);

    [[nodiscard]] std::int64_t issue(const NbdCommand& command, Flight& flight);
    [[nodiscard]] Task<void> pump_in();
    [[nodiscard]] Task<void> pump_out();
    [[nodiscard]] Task<void> watch_requests();
    void keep_pumping();
    void look_at_handle();
    void notify(unsigned direction);
    void stop_waiting();
    [[nodiscard]] bool wants_to_write() const;
    [[nodiscard]] bool is_over() const { return end_ != NbdEnd::none; }

    Reactor& reactor_;
    Handle handle_;  ///< null once the connection is over
    NbdExport facts_;
    std::uint64_t request_timeout_ns_;
    NbdEnd end_ = NbdEnd::none;
    std::string reason_;
    std::string last_error_;     ///< what libnbd said last
    std::optional<int> chosen_;  ///< the server's answer to the choice of an export

    boost::intrusive::list<Flight, boost::intrusive::constant_time_size<false>> flights_;
    std::uint64_t commands_ = 0;  ///< tasks of run()
    WaitQueue settled_;           ///< a pump has ended, or there are commands again
    WaitQueue idle_;              ///< no command is under way

    std::optional<ReadinessWaiter> readable_;
    std::optional<ReadinessWaiter> writable_;
    Alarm alarm_;
    bool is_driven_ = false;  ///< by drive()
    bool pumps_in_ = false;
    bool pumps_out_ = false;
    bool watches_ = false;
    TaskScope scope_;
};

}  // namespace zbdkit
