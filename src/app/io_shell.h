// SPDX-License-Identifier: Apache-2.0
// The shell of `zbdkit io`: the disk it has open, the requests that run beside its commands, and
// the execution of a line. One to a process, on the main thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "app/io_disk.h"
#include "app/io_words.h"
#include "app/workshop.h"
#include "io/next_turn.h"
#include "io/scope.h"
#include "io/task.h"

namespace zbdkit::app {

class IoShell;

/// A command as the shell knows it.
struct IoCommand {
    static constexpr int kAnyNumber = -1;

    std::string_view name;
    std::string_view alias;      ///< "" if there is none
    int least_words = 0;         ///< behind the name, options included
    int most_words = 0;          ///< or kAnyNumber
    std::string_view arguments;  ///< for the usage line; "" if there are none
    std::string_view summary;
    std::string_view details;  ///< lines that `help COMMAND` adds, each ended; may be ""
    bool needs_disk = true;
    bool modifies = false;  ///< refused at once if the disk is read-only
    /// @param self  for the usage line
    /// @return whether it succeeded; a failure has been said
    bool (*run)(IoShell& shell, const IoCommand& self, CommandWords& words) = nullptr;
};

/// "read [-q] off len -- reads ...", without an end of line.
/// @param name  as the person wrote it, or the command's own
[[nodiscard]] std::string usage_line(const IoCommand& command, std::string_view name);

/// Wrong options or operands. @return the failure that prints the usage line
[[nodiscard]] std::unexpected<Failure> misuse(const IoCommand& command);

/// Why -s and -C are refused, of the program and of its command "open".
inline constexpr std::string_view kNoSnapshot =
    "snapshot mode is not supported (-s): what is written goes to the disk; expected a copy of it";
inline constexpr std::string_view kNoCopyOnRead =
    "copy-on-read is not supported (-C): no disk here has another one to copy from";

class IoShell {
  public:
    /// @param program  for complaints: "zbdkit: io"
    IoShell(Workshop& workshop, std::string program)
        : workshop_(workshop), program_(std::move(program)) {}
    IoShell(const IoShell&) = delete;
    IoShell& operator=(const IoShell&) = delete;
    /// close_disk() must have been called, if a disk is open.
    ~IoShell();

    /// Runs one line. An empty one succeeds. @return whether the command succeeded
    bool run_line(std::string_view line);

    /// Opens a disk; none may be open. What is wrong goes to stderr.
    bool open_disk(const IoOpening& opening);
    /// Waits for the requests under way and closes the disk, if one is open.
    bool close_disk();
    [[nodiscard]] bool has_disk() const { return disk_ != nullptr; }
    [[nodiscard]] IoDisk& disk() { return *disk_; }

    /// Runs a coroutine to its end; what runs beside goes on meanwhile.
    template <class T>
    T run(Task<T> task) {
        return workshop_.run(std::move(task));
    }
    /// Starts a request that later commands do not wait for. Nothing of it is said before the next
    /// command: what it finds out at once, too, comes later, as it does in qemu-io.
    void start(Task<void> request) { requests_.spawn(begin_later(std::move(request))); }
    /// Waits for all that was started.
    void finish_requests();
    [[nodiscard]] Reactor& reactor() { return workshop_.reactor(); }
    [[nodiscard]] std::uint64_t now_ns() { return workshop_.reactor().now_ns(); }

    [[nodiscard]] const std::string& program() const { return program_; }
    /// Memory for data is put at odd addresses (-m).
    [[nodiscard]] bool misaligns() const { return misaligns_; }
    void set_misaligns(bool misaligns) { misaligns_ = misaligns; }

    /// No further lines are wanted.
    [[nodiscard]] bool is_ended() const { return is_ended_; }
    void end() { is_ended_ = true; }

  private:
    static Task<void> begin_later(Task<void> request) {
        co_await NextTurn();
        co_await std::move(request);
    }
    [[nodiscard]] bool may_run(const IoCommand& command, const CommandWords& words) const;

    Workshop& workshop_;
    std::string program_;
    std::unique_ptr<IoDisk> disk_;
    TaskScope requests_;
    bool misaligns_ = false;
    bool is_ended_ = false;
};

/// Refuses an option for something that no disk here has: first as qemu-io does, then the reason.
/// @return false
bool refuse_feature(const IoShell& shell, std::string_view command, std::string_view reason);
inline constexpr std::string_view kNoVmState = "disks here have no VM state (-b)";
inline constexpr std::string_view kNoCompression = "no format here compresses (-c)";

/// All commands, by name.
[[nodiscard]] const std::vector<const IoCommand*>& io_commands();
/// @return null if no command has this name or alias
[[nodiscard]] const IoCommand* find_io_command(std::string_view word);

/// The commands by what they are about; io_commands() joins them.
[[nodiscard]] std::span<const IoCommand> io_read_commands();   // read, readv
[[nodiscard]] std::span<const IoCommand> io_write_commands();  // write, discard, flush, ...
[[nodiscard]] std::span<const IoCommand> io_fact_commands();   // length, info, ...
[[nodiscard]] std::span<const IoCommand> io_async_commands();  // aio_read, ...
[[nodiscard]] std::span<const IoCommand> io_zone_commands();   // zone_report, ...
[[nodiscard]] std::span<const IoCommand> io_tool_commands();   // open, help, sleep, ...

}  // namespace zbdkit::app
