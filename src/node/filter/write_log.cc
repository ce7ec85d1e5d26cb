// SPDX-License-Identifier: Apache-2.0
#include "node/filter/write_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/intrusive/list.hpp>
#include <optional>
#include <string>
#include <utility>

#include "base/buffer.h"
#include "base/log.h"
#include "base/text.h"
#include "io/sync.h"
#include "node/filter/option_list.h"
#include "node/filter/write_log_format.h"

namespace zbdkit {
namespace {

using write_log::Header;
using write_log::Super;

constexpr std::uint64_t kDefaultInterval = 4096;
constexpr std::uint64_t kMaxInterval = std::uint64_t{1} << 32;

constexpr std::array<std::string_view, 2> kFileAndLog = {"file", "log"};

constexpr std::array kOptions = {
    OptionInfo{"log-sector-size", "SIZE",
               "sector size of a new log, 512 to 64K; requests are multiples of it (default 512)"},
    OptionInfo{"log-append", "on|off", "go on behind what an existing log has (default off)"},
    OptionInfo{"log-super-update-interval", "COUNT",
               "entries after which the log's count is brought up to date, as each flush does "
               "(default 4096)"},
};

/// Where a log ends: what a new entry begins with.
struct LogEnd {
    std::uint64_t entries = 0;
    std::uint64_t sector = 1;  ///< behind the super
};

struct LogSettings {
    std::uint64_t sector_size = write_log::kMinSectorSize;  ///< bytes
    std::uint64_t super_interval = kDefaultInterval;        ///< entries
    LogEnd end;
};

std::string log_name(const BlockNode& log) { return fmt::format("log '{}'", log.describe()); }

/// Writes the super and makes the log durable.
Task<Result<void>> write_super(BlockNode& log, Super super) {
    AlignedBuffer sector(super.sector_size);
    write_log::encode_super(super, sector.bytes().first(write_log::kSuperSize));
    const iovec segment = segment_of(sector.bytes());
    Request write = write_request({0, super.sector_size}, IoSegments(&segment, 1));
    co_await ok(log.submit(write));
    Request flush = flush_request();
    co_return co_await log.submit(flush);
}

/// An entry on its way to the log.
struct EntryWrite : boost::intrusive::list_base_hook<> {
    explicit EntryWrite(const LogEnd& end) : place(end) {}
    LogEnd place;
};

class WriteLogNode final : public PassthroughFilter {
  public:
    WriteLogNode(std::unique_ptr<BlockNode> child, std::unique_ptr<BlockNode> log,
                 const LogSettings& settings);

    [[nodiscard]] Task<Outcome<void>> close() override;
    /// What is written to mapped memory would pass the log by.
    [[nodiscard]] Result<NodeMapping> map(ByteRange /*range*/) override {
        return fail(Errc::not_supported, "writes to mapped memory cannot be logged");
    }

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        return op_modifies(request.op) || request.op == Op::flush ? logged(request)
                                                                  : child().submit(request);
    }

  private:
    [[nodiscard]] Task<Result<void>> logged(Request& request);
    [[nodiscard]] Header header_of(const Request& request) const;
    [[nodiscard]] Task<Result<void>> add_entry(const Request& request);
    [[nodiscard]] Task<Result<void>> write_entry(const Request& request, const Header& header,
                                                 std::uint64_t sector);
    [[nodiscard]] Task<Result<void>> update_super(std::uint64_t entries);
    [[nodiscard]] Result<void> settle(EntryWrite& entry, const Result<void>& written);
    /// The entries at the start of the log that are all on it.
    [[nodiscard]] std::uint64_t landed_entries() const {
        return writing_.empty() ? end_.entries : writing_.front().place.entries;
    }

    std::unique_ptr<BlockNode> log_;
    std::uint64_t sector_size_;
    std::uint64_t super_interval_;
    AlignedBuffer zeroes_;  ///< a sector
    LogEnd end_;
    boost::intrusive::list<EntryWrite> writing_;  ///< in the order of the log
    WaitQueue landed_;                            ///< woken when one has landed, or the log broke
    std::uint64_t super_entries_;                 ///< what the super on the log says
    AsyncMutex super_mutex_;
    std::optional<Error> broken_;  ///< an entry is missing: nothing can be logged behind it
};

WriteLogNode::WriteLogNode(std::unique_ptr<BlockNode> child, std::unique_ptr<BlockNode> log,
                           const LogSettings& settings)
    : PassthroughFilter("write_log", std::move(child)),
      log_(std::move(log)),
      sector_size_(settings.sector_size),
      super_interval_(settings.super_interval),
      zeroes_(settings.sector_size),
      end_(settings.end),
      super_entries_(settings.end.entries) {
    NodeInfo own = info();
    own.takes_lent_data = false;  // it goes to the log as well
    const auto sector_size = static_cast<std::uint32_t>(settings.sector_size);
    own.block_size = std::max(own.block_size, sector_size);
    own.physical_block_size = std::max(own.physical_block_size, sector_size);
    if (!log_->info().ops.has(Op::write_zeroes)) own.ops.remove(Op::write_zeroes);
    set_info(std::move(own));
}

/// Both children are closed, whatever happens to the other.
Task<Outcome<void>> WriteLogNode::close() {
    Outcome<void> closed = co_await child().close();
    Result<void> updated;
    if (!broken_) updated = co_await update_super(end_.entries);
    Outcome<void> log_closed = co_await log_->close();
    if (!closed) co_return closed;
    if (!updated) {
        co_return failure(fmt::format("cannot finish {}", log_name(*log_)), updated.error());
    }
    co_return log_closed;
}

// --- Logging ------------------------------------------------------------------------------------

Task<Result<void>> WriteLogNode::logged(Request& request) {
    if (broken_) co_return std::unexpected(*broken_);
    co_await ok(child().submit(request));
    co_return co_await add_entry(request);
}

Header WriteLogNode::header_of(const Request& request) const {
    const std::uint64_t offset =
        request.op == Op::append ? request.append_offset : request.range.offset;
    Header header = {.sector = offset / sector_size_,
                     .sectors = request.range.length / sector_size_,
                     .flags = request.fua ? write_log::kFua : std::uint64_t{0}};
    if (request.op == Op::flush) header.flags = write_log::kFlush;
    if (request.op == Op::discard) header.flags = write_log::kDiscard;
    if (op_is_zoned(request.op) && request.op != Op::append) header = {.flags = write_log::kMark};
    return header;
}

/// Takes the next place in the log, in the turn in which the request completed, and fills it.
Task<Result<void>> WriteLogNode::add_entry(const Request& request) {
    if (broken_) co_return std::unexpected(*broken_);
    const Header header = header_of(request);
    EntryWrite entry(end_);
    end_.entries += 1;
    end_.sector += 1 + header.data_sectors();
    writing_.push_back(entry);
    const Result<void> written = co_await write_entry(request, header, entry.place.sector);
    co_await ok(settle(entry, written));
    if ((header.flags & (write_log::kFlush | write_log::kFua)) != 0) {
        co_return co_await update_super(entry.place.entries + 1);
    }
    const std::uint64_t landed = landed_entries();
    if (landed >= super_entries_ + super_interval_) co_return co_await update_super(landed);
    co_return Result<void>{};
}

Result<void> WriteLogNode::settle(EntryWrite& entry, const Result<void>& written) {
    writing_.erase(writing_.iterator_to(entry));
    if (!written && !broken_) {
        broken_ = written.error();
        spdlog::error("{} lacks entry {}, so later writes of '{}' fail: {}", log_name(*log_),
                      entry.place.entries, describe(), zbdkit::describe(written.error()));
    }
    landed_.wake_all();
    // What landed behind a hole is not in the log.
    if (broken_) return std::unexpected(*broken_);
    return {};
}

Task<Result<void>> WriteLogNode::write_entry(const Request& request, const Header& header,
                                             std::uint64_t sector) {
    const std::uint64_t offset = sector * sector_size_;
    const std::uint64_t length = (1 + header.data_sectors()) * sector_size_;
    if (offset > log_->info().size || length > log_->info().size - offset) {
        co_return fail(Errc::no_space, "the write log is full");
    }
    const bool is_mark = (header.flags & write_log::kMark) != 0;
    const std::string text =
        is_mark ? write_log::mark_text(request.op, request.range.offset) : std::string();
    std::array<std::byte, write_log::kHeaderSize> bytes{};
    write_log::encode_header(header, text, bytes);
    IoVector segments;
    segments.push_back(segment_of(MutableBytes(bytes)));
    segments.push_back(segment_of(zeroes_.bytes().subspan(bytes.size())));
    segments.insert(segments.end(), request.segments.begin(), request.segments.end());
    Request entry = write_request({offset, total_length(segments)}, segments);
    co_await ok(log_->submit(entry));
    if (request.op != Op::write_zeroes) co_return Result<void>{};
    Request zeroes =
        range_request(Op::write_zeroes, {offset + sector_size_, length - sector_size_});
    co_return co_await log_->submit(zeroes);
}

/// Makes the log count `entries` at least, durably. Waits for them to land.
Task<Result<void>> WriteLogNode::update_super(std::uint64_t entries) {
    while (!broken_ && landed_entries() < entries) co_await landed_.wait();
    const AsyncMutex::Guard guard = co_await super_mutex_.lock();
    if (broken_) co_return std::unexpected(*broken_);
    if (super_entries_ >= entries) co_return Result<void>{};
    const std::uint64_t landed = landed_entries();
    co_await ok(write_super(*log_, {.entries = landed, .sector_size = sector_size_}));
    super_entries_ = landed;
    co_return Result<void>{};
}

// --- Opening ------------------------------------------------------------------------------------

/// @param place  bytes
Task<Result<void>> read_log(BlockNode& log, std::uint64_t place, MutableBytes bytes) {
    const iovec segment = segment_of(bytes);
    Request read = read_request({place, bytes.size()}, IoSegments(&segment, 1));
    co_return co_await log.submit(read);
}

Task<Outcome<Super>> read_super(BlockNode& log) {
    AlignedBuffer sector(std::max<std::uint64_t>(write_log::kMinSectorSize, log.info().block_size));
    const Result<void> read = co_await read_log(log, 0, sector.bytes());
    if (!read) co_return failure(fmt::format("cannot read {}", log_name(log)), read.error());
    const Result<Super> super =
        write_log::decode_super(ConstBytes(sector.bytes()).first(write_log::kSuperSize));
    if (!super) co_return failure(fmt::format("cannot append to {}", log_name(log)), super.error());
    co_return *super;
}

/// Walks along the entries that the super counts.
Task<Outcome<LogEnd>> find_end(BlockNode& log, Super super) {
    const std::uint64_t log_sectors = log.info().size / super.sector_size;
    AlignedBuffer sector(super.sector_size);
    LogEnd end;
    while (end.entries < super.entries && end.sector < log_sectors) {
        const Result<void> read =
            co_await read_log(log, end.sector * super.sector_size, sector.bytes());
        Result<Header> header = read ? write_log::decode_header(sector.bytes(), super.sector_size)
                                     : std::unexpected(read.error());
        if (!header) {
            co_return failure(
                fmt::format("cannot append to {}: entry {}", log_name(log), end.entries),
                header.error());
        }
        end.entries += 1;
        end.sector += 1;
        if (header->data_sectors() > log_sectors - end.sector) break;
        end.sector += header->data_sectors();
    }
    if (end.entries == super.entries) co_return end;
    co_return failure(fmt::format("cannot append to {}: entry {} of {} lies beyond its end",
                                  log_name(log), end.entries, super.entries),
                      Errc::corrupt);
}

/// What the two children must be for each other.
Outcome<void> check_children(const BlockNode& child, const BlockNode& log,
                             std::uint64_t sector_size) {
    if (log.info().zones.is_zoned()) {
        return failure(fmt::format("{} is zoned: expected storage whose first sector can be "
                                   "written again",
                                   log_name(log)),
                       Errc::not_supported);
    }
    if (log.info().read_only) {
        return failure(fmt::format("{} is read-only: expected one to write to", log_name(log)),
                       Errc::read_only);
    }
    if (log.info().block_size > sector_size) {
        return failure(fmt::format("{} has blocks of {}: expected log-sector-size of at least that",
                                   log_name(log), log.info().block_size),
                       Errc::not_supported);
    }
    // Appends land on multiples of the block size, and the log can say nothing finer than sectors.
    if (child.info().zones.is_zoned() && child.info().block_size % sector_size != 0) {
        return failure(fmt::format("log-sector-size {}: expected at most {}, the block size of "
                                   "zoned '{}'",
                                   sector_size, child.info().block_size, child.describe()),
                       Errc::not_supported);
    }
    if (child.info().size % sector_size != 0) {
        return failure(fmt::format("log-sector-size {}: '{}' of {} bytes is no multiple of it",
                                   sector_size, child.describe(), child.info().size),
                       Errc::not_supported);
    }
    return {};
}

Task<Outcome<LogSettings>> parse_settings(const OptionValues& options, BlockNode& log) {
    LogSettings settings;
    const bool append = co_await ok(options.flag("log-append", false));
    settings.super_interval =
        co_await ok(options.number("log-super-update-interval", kDefaultInterval, kMaxInterval));
    if (settings.super_interval == 0) {
        co_return bad_option(options, "log-super-update-interval", "expected at least 1");
    }
    settings.sector_size = co_await ok(options.size("log-sector-size", settings.sector_size));
    if (!write_log::is_sector_size(settings.sector_size)) {
        co_return bad_option(
            options, "log-sector-size",
            fmt::format("expected a power of two from 512 to 64K, not {}", settings.sector_size));
    }
    if (!append) co_return settings;
    const Super super = co_await ok(read_super(log));
    if (options.has("log-sector-size") && super.sector_size != settings.sector_size) {
        co_return bad_option(options, "log-sector-size",
                             fmt::format("{} has sectors of {}", log_name(log), super.sector_size));
    }
    settings.sector_size = super.sector_size;
    settings.end = co_await ok(find_end(log, super));
    co_return settings;
}

Task<Outcome<std::unique_ptr<BlockNode>>> open_write_log(OpenContext& /*context*/,
                                                         const OptionValues& options,
                                                         ChildNodes& children) {
    BlockNode& log = *children.back();
    const LogSettings settings = co_await ok(parse_settings(options, log));
    co_await ok(check_children(*children.front(), log, settings.sector_size));
    const Super super = {.entries = settings.end.entries, .sector_size = settings.sector_size};
    const Result<void> written = co_await write_super(log, super);
    if (!written) {
        co_return failure(fmt::format("cannot write to {}", log_name(log)), written.error());
    }
    std::unique_ptr<BlockNode> node = std::make_unique<WriteLogNode>(
        std::move(children.front()), std::move(children.back()), settings);
    co_return node;
}

}  // namespace

const DriverInfo kWriteLogDriver = {
    "write_log", DriverKind::filter, "logs all writes, to be replayed",
    kOptions,    kFileAndLog,        open_write_log};
const DriverInfo kBlklogwritesDriver = {
    "blklogwrites", DriverKind::filter, "QEMU's name of write_log",
    kOptions,       kFileAndLog,        open_write_log};

}  // namespace zbdkit
