// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/nbd_connection.h"

#include <fmt/format.h>
#include <libnbd.h>
#include <poll.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/assert.h"
#include "base/text.h"
#include "io/name_lookup.h"
#include "node/protocol/nbd_tls.h"

namespace zbdkit {
namespace {

constexpr std::uint64_t kGoodByeNs = 1'000'000'000;

/// What libnbd said of the call that failed just now, on this thread, without the call's name.
std::string nbd_error_text() {
    const char* const said = ::nbd_get_error();
    const std::string text = said == nullptr ? "unknown error" : said;
    const std::size_t colon = text.find(": ");
    const bool names_call = text.starts_with("nbd_") && colon != std::string::npos;
    return names_call ? text.substr(colon + 2) : text;
}

bool is_set(int flag) { return flag > 0; }

/// @return bytes; 0 if the server did not say
std::uint64_t size_of(std::int64_t said) { return said > 0 ? static_cast<std::uint64_t>(said) : 0; }

unsigned poll_events(unsigned direction) {
    unsigned events = 0;
    if ((direction & LIBNBD_AIO_DIRECTION_READ) != 0) events |= POLLIN;
    if ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0) events |= POLLOUT;
    return events;
}

}  // namespace

std::string NbdServer::name() const {
    return export_name ? fmt::format("{} (export '{}')", uri, *export_name) : uri;
}

void NbdConnection::CloseHandle::operator()(nbd_handle* handle) const { ::nbd_close(handle); }

NbdConnection::~NbdConnection() { ZBDKIT_ASSERT(commands_ == 0); }

// --- Connecting ---------------------------------------------------------------------------------

Task<Outcome<std::unique_ptr<NbdConnection>>> NbdConnection::open(Reactor& reactor,
                                                                  BlockingPool& pool,
                                                                  const NbdServer& server) {
    std::unique_ptr<NbdConnection> connection(
        new NbdConnection(reactor, server.request_timeout_ns));
    const Outcome<void> established = co_await connection->establish(pool, server);
    if (established) co_return connection;
    const std::string& text = established.error().message;
    co_return failure(fmt::format("cannot connect to NBD server '{}': {}{}", server.name(), text,
                                  tls_advice(server, text)),
                      established.error().code);
}

Task<Outcome<void>> NbdConnection::establish(BlockingPool& pool, const NbdServer& server) {
    const std::uint64_t due_ns = reactor_.now_ns() + server.connect_timeout_ns;
    co_await ok(configure(server));
    co_await ok(start(pool, server));
    const Outcome<void> agreed = co_await negotiate(server, due_ns);
    if (agreed) co_return learn_facts();
    if (end_ != NbdEnd::timed_out) co_return agreed;
    co_return failure(
        fmt::format("no answer within {}", format_duration(server.connect_timeout_ns)));
}

Outcome<void> NbdConnection::configure(const NbdServer& server) {
    handle_.reset(::nbd_create());
    nbd_handle* const handle = handle_.get();
    if (handle == nullptr) return failure(nbd_error_text());
    // Memory that a request reads into is not zeroed first: who gets an error looks at none of it.
    bool is_set_up = ::nbd_set_pread_initialize(handle, false) == 0;
    const auto set = [&is_set_up, handle](auto function, const std::string& value) {
        if (!value.empty()) is_set_up = is_set_up && function(handle, value.c_str()) == 0;
    };
    set(::nbd_set_tls_username, server.tls_username);
    set(::nbd_set_tls_psk_file, server.tls_psk_file);
    // The name in the URI would win; in this mode it can be replaced before it is used.
    if (server.export_name) is_set_up = is_set_up && ::nbd_set_opt_mode(handle, true) == 0;
    if (!is_set_up) return failure(nbd_error_text());
    return {};
}

/// The call looks the server's name up, which nobody can interrupt. The certificates are looked for
/// each time: without them libnbd would take any server.
Task<Outcome<void>> NbdConnection::start(BlockingPool& pool, const NbdServer& server) {
    Outcome<void> started;
    const auto connect = [handle = handle_.get(), &server, &started] {
        limit_name_lookups(server.connect_timeout_ns);
        const Outcome<std::string> folder = trusted_certificates(server);
        if (!folder) {
            started = std::unexpected(folder.error());
            return;
        }
        const bool is_set =
            folder->empty() || ::nbd_set_tls_certificates(handle, folder->c_str()) == 0;
        if (!is_set || ::nbd_aio_connect_uri(handle, server.uri.c_str()) == -1) {
            started = failure(nbd_error_text());
        }
    };
    BlockingPool::Call call = pool.run(reactor_, connect);
    co_await call;
    co_return started;
}

Task<Outcome<void>> NbdConnection::negotiate(const NbdServer& server, std::uint64_t due_ns) {
    co_await drive_until(due_ns, &NbdConnection::has_connected);
    if (is_over()) co_return failure(reason_);
    if (server.export_name) co_return co_await choose_export(server, due_ns);
    co_return Outcome<void>{};
}

Task<Outcome<void>> NbdConnection::choose_export(const NbdServer& server, std::uint64_t due_ns) {
    if (::nbd_aio_is_negotiating(handle_.get()) != 1) {
        co_return failure("the server is too old to be asked for an export");
    }
    nbd_completion_callback told{};
    told.callback = [](void* connection, int* os_errno) {
        static_cast<NbdConnection*>(connection)->chosen_ = *os_errno;
        return 1;
    };
    told.user_data = this;
    if (::nbd_set_export_name(handle_.get(), server.export_name->c_str()) == -1 ||
        ::nbd_aio_opt_go(handle_.get(), told) == -1) {
        co_return failure(nbd_error_text());
    }
    look_at_handle();
    co_await drive_until(due_ns, &NbdConnection::has_chosen);
    if (is_over()) co_return failure(reason_);
    if (*chosen_ == 0) co_return Outcome<void>{};
    const bool may_want_tls = *chosen_ == ENOTSUP && !server.has_tls();
    co_return failure(fmt::format("the server refuses the export{}: {}",
                                  may_want_tls ? ", or requires TLS" : "",
                                  std::strerror(*chosen_)));
}

Outcome<void> NbdConnection::learn_facts() {
    nbd_handle* const handle = handle_.get();
    const std::int64_t size = ::nbd_get_size(handle);
    if (size == -1) return failure(nbd_error_text());
    facts_ = {.size = static_cast<std::uint64_t>(size),
              .block_size = size_of(::nbd_get_block_size(handle, LIBNBD_SIZE_MINIMUM)),
              .preferred_size = size_of(::nbd_get_block_size(handle, LIBNBD_SIZE_PREFERRED)),
              .largest_transfer = size_of(::nbd_get_block_size(handle, LIBNBD_SIZE_MAXIMUM)),
              .is_read_only = is_set(::nbd_is_read_only(handle)),
              .can_flush = is_set(::nbd_can_flush(handle)),
              .can_fua = is_set(::nbd_can_fua(handle)),
              .can_trim = is_set(::nbd_can_trim(handle)),
              .can_zero = is_set(::nbd_can_zero(handle)),
              .can_multi_conn = is_set(::nbd_can_multi_conn(handle))};
    return {};
}

bool NbdConnection::has_connected() const {
    return ::nbd_aio_is_ready(handle_.get()) == 1 || ::nbd_aio_is_negotiating(handle_.get()) == 1;
}

/// Lets libnbd go on until the condition holds or the connection is over. Its socket may be another
/// one from step to step: a server has several addresses.
Task<void> NbdConnection::drive(Condition is_done) {
    while (!is_over() && !(this->*is_done)()) {
        const unsigned direction = ::nbd_aio_get_direction(handle_.get());
        readable_.emplace(reactor_, ::nbd_aio_get_fd(handle_.get()));
        const bool is_ready = co_await readable_->wait(poll_events(direction));
        readable_.reset();
        if (!is_ready || is_over()) continue;
        // With both, what was ready is not known: libnbd finds out by itself which it can do.
        notify(direction & LIBNBD_AIO_DIRECTION_READ);
        notify(direction & LIBNBD_AIO_DIRECTION_WRITE);
        look_at_handle();
    }
}

Task<void> NbdConnection::drive_until(std::uint64_t due_ns, Condition is_done) {
    look_at_handle();
    is_driven_ = true;
    scope_.spawn(watch_drive(due_ns));
    co_await drive(is_done);
    is_driven_ = false;
    alarm_.cut();
    co_await scope_.join();
}

Task<void> NbdConnection::watch_drive(std::uint64_t due_ns) {
    const bool has_passed = co_await alarm_.until(due_ns);
    if (has_passed && is_driven_) give_up(NbdEnd::timed_out, "no answer in time");
}

// --- Commands -----------------------------------------------------------------------------------

std::int64_t NbdConnection::issue(const NbdCommand& command, Flight& flight) {
    nbd_completion_callback told{};
    told.callback = [](void* data, int* os_errno) {
        Flight& answered = *static_cast<Flight*>(data);
        answered.is_answered = true;
        answered.os_errno = *os_errno;
        // libnbd takes a read for good of which the server sent only a part, or nothing.
        if (*os_errno == 0 && answered.bytes_missing != 0) answered.os_errno = EPROTO;
        return 1;  // libnbd need not keep the answer
    };
    told.free = [](void* data) {
        Flight& ended = *static_cast<Flight*>(data);
        ended.unlink();
        ended.done.set();
    };
    told.user_data = &flight;
    nbd_handle* const handle = handle_.get();
    const ByteRange range = command.range;
    const std::uint32_t flags = command.fua ? LIBNBD_CMD_FLAG_FUA : 0;
    nbd_chunk_callback came{};
    came.callback = [](void* data, const void* /*bytes*/, std::size_t count,
                       std::uint64_t /*offset*/, unsigned status, int* /*os_errno*/) {
        if (status != LIBNBD_READ_ERROR) static_cast<Flight*>(data)->bytes_missing -= count;
        return 0;
    };
    came.user_data = &flight;
    switch (command.op) {
        case NbdOp::read:
            flight.bytes_missing = range.length;
            return ::nbd_aio_pread_structured(handle, command.memory, range.length, range.offset,
                                              came, told, 0);
        case NbdOp::write:
            return ::nbd_aio_pwrite(handle, command.memory, range.length, range.offset, told,
                                    flags);
        case NbdOp::flush: return ::nbd_aio_flush(handle, told, 0);
        case NbdOp::trim: return ::nbd_aio_trim(handle, range.length, range.offset, told, flags);
        case NbdOp::zero: return ::nbd_aio_zero(handle, range.length, range.offset, told, flags);
    }
    std::unreachable();
}

Task<NbdConnection::Answer> NbdConnection::run(NbdCommand command) {
    if (is_over()) co_return Answer{.end = end_};
    ++commands_;
    Flight flight;
    flight.due_ns = reactor_.now_ns() + request_timeout_ns_;
    flights_.push_back(flight);
    if (issue(command, flight) == -1) {
        flight.is_answered = true;
        flight.os_errno = ::nbd_get_errno();
        if (flight.os_errno == 0) flight.os_errno = EIO;
        last_error_ = nbd_error_text();
    }
    look_at_handle();
    keep_pumping();
    co_await flight.done.wait();
    // The last command takes the coroutines with it that served all of them.
    while ((flights_.empty() || is_over()) && (pumps_in_ || pumps_out_ || watches_)) {
        co_await settled_.wait();
    }
    if (flight.os_errno == ESHUTDOWN) give_up(NbdEnd::broken, "the server is shutting down");
    const bool is_lost =
        !flight.is_answered || flight.os_errno == ENOTCONN || (flight.os_errno != 0 && is_over());
    if (is_lost) give_up(NbdEnd::broken, "the connection is gone");
    --commands_;
    if (commands_ == 0) idle_.wake_all();
    if (is_lost) co_return Answer{.end = end_};
    co_return Answer{.os_errno = flight.os_errno};
}

void NbdConnection::keep_pumping() {
    if (flights_.empty() || is_over()) return;
    settled_.wake_all();
    if (!std::exchange(pumps_in_, true)) scope_.spawn(pump_in());
    if (request_timeout_ns_ != 0 && !std::exchange(watches_, true)) scope_.spawn(watch_requests());
}

Task<void> NbdConnection::pump_in() {
    while (!flights_.empty() && !is_over()) {
        readable_.emplace(reactor_, ::nbd_aio_get_fd(handle_.get()));
        const bool is_ready = co_await readable_->wait(POLLIN);
        readable_.reset();
        if (!is_ready || is_over()) continue;
        notify(::nbd_aio_get_direction(handle_.get()) & LIBNBD_AIO_DIRECTION_READ);
        look_at_handle();
    }
    pumps_in_ = false;
    settled_.wake_all();
}

Task<void> NbdConnection::pump_out() {
    while (!flights_.empty() && wants_to_write()) {
        writable_.emplace(reactor_, ::nbd_aio_get_fd(handle_.get()));
        const bool is_ready = co_await writable_->wait(POLLOUT);
        writable_.reset();
        if (!is_ready || is_over()) continue;
        notify(::nbd_aio_get_direction(handle_.get()) & LIBNBD_AIO_DIRECTION_WRITE);
        look_at_handle();
    }
    pumps_out_ = false;
    settled_.wake_all();
}

Task<void> NbdConnection::watch_requests() {
    while (!flights_.empty() && !is_over()) {
        const bool has_passed = co_await alarm_.until(flights_.front().due_ns);
        const bool is_late = has_passed && !flights_.empty() && !is_over() &&
                             flights_.front().due_ns <= reactor_.now_ns();
        if (is_late) {
            give_up(NbdEnd::timed_out,
                    fmt::format("no answer within {}", format_duration(request_timeout_ns_)));
        }
    }
    watches_ = false;
    settled_.wake_all();
}

bool NbdConnection::wants_to_write() const {
    return !is_over() && (::nbd_aio_get_direction(handle_.get()) & LIBNBD_AIO_DIRECTION_WRITE) != 0;
}

void NbdConnection::notify(unsigned direction) {
    int result = 0;
    if (direction == LIBNBD_AIO_DIRECTION_READ) result = ::nbd_aio_notify_read(handle_.get());
    if (direction == LIBNBD_AIO_DIRECTION_WRITE &&
        (::nbd_aio_get_direction(handle_.get()) & direction) != 0) {
        result = ::nbd_aio_notify_write(handle_.get());
    }
    if (result == -1) last_error_ = nbd_error_text();
}

/// After each call that lets libnbd go on: sees what has come of it.
void NbdConnection::look_at_handle() {
    if (is_over()) return;
    if (::nbd_aio_is_dead(handle_.get()) == 1 || ::nbd_aio_is_closed(handle_.get()) == 1) {
        // Asked for TLS and told that there is none, libnbd may just say good-bye.
        const bool lacks_tls = ::nbd_get_tls(handle_.get()) == LIBNBD_TLS_REQUIRE &&
                               ::nbd_get_tls_negotiated(handle_.get()) == 0;
        const char* const otherwise = lacks_tls ? "the server refused TLS, or ended the connection"
                                                : "the server ended the connection";
        give_up(NbdEnd::broken, last_error_.empty() ? otherwise : last_error_);
        return;
    }
    if (is_driven_) return;
    if (flights_.empty()) stop_waiting();
    const bool needs_pump = !flights_.empty() && wants_to_write();
    if (needs_pump && !std::exchange(pumps_out_, true)) scope_.spawn(pump_out());
}

void NbdConnection::stop_waiting() {
    if (readable_) readable_->stop();
    if (writable_) writable_->stop();
    alarm_.cut();
}

void NbdConnection::give_up(NbdEnd end, std::string reason) {
    if (is_over()) return;
    end_ = end;
    reason_ = std::move(reason);
    stop_waiting();
    // Commands under way end by this: libnbd lets go of them.
    handle_.reset();
}

Task<void> NbdConnection::drain() {
    while (commands_ > 0) co_await idle_.wait();
}

Task<void> NbdConnection::close() {
    ZBDKIT_ASSERT(commands_ == 0);
    if (is_over()) co_return;
    if (::nbd_aio_disconnect(handle_.get(), 0) == 0) {
        co_await drive_until(reactor_.now_ns() + kGoodByeNs, &NbdConnection::never);
    }
    give_up(NbdEnd::broken, "closed");
}

}  // namespace zbdkit
