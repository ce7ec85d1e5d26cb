// SPDX-License-Identifier: Apache-2.0
#include "app/cli.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "app/bench.h"
#include "app/check.h"
#include "app/create.h"
#include "app/drivers.h"
#include "app/exit_status.h"
#include "app/info.h"
#include "app/io.h"
#include "app/messages.h"
#include "app/report.h"
#include "app/serve.h"
#include "app/ublk.h"
#include "app/version.h"
#include "base/text.h"

namespace zbdkit::app {
namespace {

constexpr std::string_view kOverview =
    "Examples:\n"
    "  zbdkit create disk.zbd 8G\n"
    "  zbdkit report disk.zbd\n"
    "  zbdkit serve disk.zbd --vhost-user disk.sock\n"
    "\n"
    "`zbdkit COMMAND --help` tells more. Exit status: 0 done, 1 failed, 2 wrong command line\n"
    "(of check: 2 damaged, 3 repaired).";

constexpr std::string_view kImageOptsHelp =
    "node options instead of FILE: driver=zoned,file.driver=file,... or JSON";

/// A command with the arguments that CLI11 fills in.
struct Command {
    CLI::App* app = nullptr;
    std::function<int()> run;
};

class CommandLine {
  public:
    CommandLine();
    [[nodiscard]] int run(int argc, char** argv);

  private:
    template <class Arguments>
    Arguments& add(const char* name, const char* description, int (*run)(const Arguments&)) {
        return add_below(app_, name, description, run);
    }
    /// A command of a command.
    template <class Arguments>
    Arguments& add_below(CLI::App& parent, const char* name, const char* description,
                         int (*run)(const Arguments&));
    [[nodiscard]] CLI::App& latest() { return *commands_.back().app; }
    void add_disk(DiskArgument& disk);
    /// An option that may be given again and takes one value each time.
    void add_repeated(const char* name, std::vector<std::string>& values, const char* help);
    void add_trace(std::vector<std::string>& patterns);

    void add_create();
    void add_info();
    void add_report();
    void add_check();
    void add_io();
    void add_drivers();
    void add_serve();
    void add_serving_options(ServeArguments& arguments);
    void add_ublk();
    void add_bench();

    [[nodiscard]] std::string unknown_word(const CLI::App& app, const std::string& word) const;
    /// Says what is wrong with the command line. @return the exit status
    [[nodiscard]] int refuse(std::string message) const;

    CLI::App app_;
    bool version_ = false;
    std::vector<Command> commands_;
};

CommandLine::CommandLine() : app_("zbdkit makes, looks at and serves zoned disks.", "zbdkit") {
    constexpr std::size_t kColumn = 34;
    app_.get_formatter()->column_width(kColumn);
    app_.get_formatter()->label("SUBCOMMAND", "COMMAND");
    app_.footer(std::string(kOverview));
    app_.allow_extras();
    app_.add_flag("--version", version_, "What this build is and what it can do");
    add_create();
    add_info();
    add_report();
    add_check();
    add_io();
    add_serve();
    add_ublk();
    add_bench();
    add_drivers();
}

template <class Arguments>
Arguments& CommandLine::add_below(CLI::App& parent, const char* name, const char* description,
                                  int (*run)(const Arguments&)) {
    auto arguments = std::make_shared<Arguments>();  // owned by this closure alone
    Command command;
    command.app = parent.add_subcommand(name, description);
    command.app->allow_extras()->group("Commands");
    command.run = [arguments, run] { return run(*arguments); };
    commands_.push_back(std::move(command));
    return *arguments;
}

void CommandLine::add_disk(DiskArgument& disk) {
    latest().add_option("FILE", disk.filename, "the image or block device")->type_name("");
    latest()
        .add_option("--image-opts", disk.image_opts, std::string(kImageOptsHelp))
        ->type_name("OPTIONS");
}

void CommandLine::add_repeated(const char* name, std::vector<std::string>& values,
                               const char* help) {
    CLI::Option* option = latest().add_option(name, values, help);
    option->type_name("OPTIONS")->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void CommandLine::add_trace(std::vector<std::string>& patterns) {
    constexpr const char* kHelp = "log these trace points, zone_* for example; help lists them";
    CLI::Option* option = latest().add_option("-T,--trace", patterns, kHelp);
    option->type_name("[enable=]PATTERN")->expected(1);
    option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void CommandLine::add_create() {
    CreateArguments& arguments = add("create", "Make a new zoned image", run_create);
    latest()
        .add_option("FILE", arguments.filename,
                    "the new image, a block device, or an address: nbd://..., rbd:POOL/IMAGE")
        ->type_name("");
    latest()
        .add_option("--image-opts", arguments.image_opts,
                    "node options instead of FILE: driver=zoned,file.driver=...")
        ->type_name("OPTIONS");
    latest().add_option("SIZE", arguments.size, "of the disk: 8G, 512M, 1.5T")->type_name("");
    add_repeated("-o", arguments.options, "name=value,..., see below; may be repeated");
    latest().add_flag("--force", arguments.force,
                      "overwrite a file that exists, a block device, or data at an address");
    latest().add_flag("--any-guest", arguments.any_guest,
                      "allow zones that a Linux guest would refuse");
    latest().footer(create_options_help() +
                    "\nExample: zbdkit create disk.zbd 8G -o zone.size=64M,"
                    "zone.conventional_zones=4,zone.max_open_zones=14");
}

void CommandLine::add_info() {
    InfoArguments& arguments = add("info", "Say what a disk is and how it stands", run_info);
    add_disk(arguments.disk);
    latest().add_flag("--json", arguments.json, "for programs; sizes in bytes");
    latest().footer("Works on an image in use as well.\nExample: zbdkit info disk.zbd");
}

void CommandLine::add_report() {
    ReportArguments& arguments = add("report", "List the zones of a disk", run_report);
    add_disk(arguments.disk);
    latest()
        .add_option("-f,--format", arguments.format,
                    "table (default), blkzone, qemu-io, zbd, csv or json")
        ->type_name("FORMAT");
    latest()
        .add_option("--offset", arguments.offset, "start with the zone that holds this byte")
        ->type_name("SIZE");
    latest().add_option("--count", arguments.count, "at most so many zones")->type_name("N");
    latest().footer(
        "Works on images, also in use, and on zoned block devices of the host.\n"
        "blkzone, qemu-io and zbd are to the byte what those tools print.\n"
        "Example: zbdkit report disk.zbd --format blkzone");
}

void CommandLine::add_check() {
    CheckArguments& arguments = add("check", "Look for damage in an image, and mend it", run_check);
    add_disk(arguments.disk);
    latest().add_flag("--repair", arguments.repair, "mend what has one safe answer");
    latest().add_flag("--force", arguments.force, "with --repair: also what has none (see below)");
    latest().add_flag("--json", arguments.json, "for programs");
    latest().footer(
        "Changes nothing without --repair, which mends what has one safe answer. --force, for "
        "what\n"
        "has none, makes zones full: what was written to them can be read, and what was not reads\n"
        "as whatever the storage has there. What a truncated file lost reads as zeroes.\n"
        "Exit status: 0 no damage, 3 damaged and repaired, 2 damaged, 1 could not be checked.\n"
        "Example: zbdkit check disk.zbd --repair");
}

/// For the list of commands only: its options are qemu-io's, which run_io() reads by itself.
void CommandLine::add_io() {
    app_.add_subcommand("io", std::string(kIoSummary))->allow_extras()->group("Commands");
}

/// What serving a disk in the short form takes, whatever the export.
void CommandLine::add_serving_options(ServeArguments& arguments) {
    CLI::App& app = latest();
    app.add_flag("--read-only", arguments.read_only, "no writes");
    app.add_flag("--direct", arguments.direct, "bypass the host's page cache (O_DIRECT)");
    app.add_flag("--force-takeover", arguments.force_takeover,
                 "take a Ceph image from whoever has its lock, and cut that client off");
    add_repeated("--object", arguments.objects,
                 "throttle-group,id=ID,x-iops-total=100 or iothread,id=ID; repeatable");
    app.add_option("--pidfile", arguments.pidfile, "write the process id here")->type_name("PATH");
    app.add_option("--log-level", arguments.log_level,
                   "trace, debug, info (default), warning, error or off")
        ->type_name("LEVEL");
    add_trace(arguments.trace);
}

void CommandLine::add_serve() {
    ServeArguments& arguments =
        add("serve", "Serve disks to virtual machines and to this one", run_serve);
    add_disk(arguments.disk);
    CLI::App& app = latest();
    app.add_option("--vhost-user", arguments.socket_path, "serve FILE on this Unix socket")
        ->type_name("SOCKET");
    app.add_flag("--ublk", arguments.ublk, "serve FILE as a disk of this machine, /dev/ublkbN");
    app.add_option("--ublk-id", arguments.ublk_device,
                   "which N (default the first that is free); goes on with that disk if its "
                   "server died")
        ->type_name("N");
    app.add_option("--num-queues", arguments.queue_count, "request queues (default 1)")
        ->type_name("N");
    app.add_option("--queue-size", arguments.queue_size,
                   "requests a queue holds (default 128, --ublk 64)")
        ->type_name("N");
    app.add_option("--max-segments", arguments.max_segments,
                   "data segments of a request (default queue size - 2)")
        ->type_name("N");
    app.add_option("--poll-max-us", arguments.poll_max_us,
                   "poll an empty ring for up to so long before sleeping (default 50)")
        ->type_name("N");
    app.add_option("--serial", arguments.serial, "serial number (default the file's name)")
        ->type_name("TEXT");
    add_repeated("--blockdev", arguments.blockdevs, "a node: driver=...,node-name=...; repeatable");
    add_repeated("--export", arguments.exports,
                 "type=vhost-user-blk,id=E,node-name=N,addr.type=unix,addr.path=P,writable=on,"
                 "num-queues=4,iothread=ID or type=ublk,id=E,node-name=N,writable=on; repeatable");
    add_serving_options(arguments);
    app.footer(
        "Runs until SIGINT or SIGTERM, then finishes what is in flight and marks the image clean.\n"
        "A second signal ends it at once. A disk of this machine that is mounted keeps it "
        "running.\n"
        "Examples:\n"
        "  zbdkit serve disk.zbd --vhost-user disk.sock --num-queues 2\n"
        "  zbdkit serve disk.zbd --ublk\n"
        "  zbdkit serve --blockdev driver=file,node-name=f,filename=a.zbd \\\n"
        "      --blockdev driver=zoned,node-name=a,file=f \\\n"
        "      --export type=vhost-user-blk,id=ea,node-name=a,addr.type=unix,addr.path=a.sock,"
        "writable=on");
}

void CommandLine::add_ublk() {
    CLI::App* parent =
        app_.add_subcommand("ublk", "List, stop and take over disks of this machine");
    parent->allow_extras()->require_subcommand(0, 1)->group("Commands");
    parent->get_formatter()->label("SUBCOMMAND", "COMMAND");
    parent->footer("A disk is made by zbdkit serve FILE --ublk.");

    UblkListArguments& list =
        add_below(*parent, "list", "Say which there are and who serves them", run_ublk_list);
    latest().add_flag("--json", list.json, "for programs; sizes in bytes");
    latest().footer("Example: zbdkit ublk list");

    UblkStopArguments& stop = add_below(*parent, "stop", "Take a disk away", run_ublk_stop);
    latest().add_option("N", stop.device, "of /dev/ublkbN")->type_name("")->required();
    latest().add_flag("--force", stop.force, "also if it is mounted or otherwise in use");
    latest().footer(
        "The daemon that serves it writes what is to be written, closes the image and ends, unless "
        "it\nserves other disks.\nExample: zbdkit ublk stop 0");

    UblkRecoverArguments& recover = add_below(
        *parent, "recover", "Go on with a disk whose server was killed", run_ublk_recover);
    latest().add_option("N", recover.device, "of /dev/ublkbN")->type_name("")->required();
    add_disk(recover.serve.disk);
    add_serving_options(recover.serve);
    latest().footer(
        "Requests that were in flight are finished, each once. Runs as zbdkit serve does.\n"
        "Example: zbdkit ublk recover 0 disk.zbd");

    Command command;
    command.app = parent;
    command.run = [parent] {
        fmt::print(stderr, "{}", parent->help());
        return kUsage;
    };
    commands_.push_back(std::move(command));
}

void CommandLine::add_bench() {
    BenchArguments& arguments = add("bench", "Load a vhost-user-blk server and measure", run_bench);
    CLI::App& app = latest();
    app.add_option("SOCKET", arguments.socket_path, "where the server listens")->type_name("");
    app.add_option("--op", arguments.operation,
                   "read, write, randread (default), randwrite, append or mixed")
        ->type_name("OP");
    app.add_option("--block-size", arguments.block_size, "of each request (default 4K)")
        ->type_name("SIZE");
    app.add_option("--depth", arguments.depth, "requests in flight in each queue (default 32)")
        ->type_name("N");
    app.add_option("--queues", arguments.queue_count, "all served by one thread (default 1)")
        ->type_name("N");
    app.add_option("--queue-size", arguments.queue_size,
                   "descriptors, 3 for each request (default 128, or what the depth needs)")
        ->type_name("N");
    app.add_flag("--packed", arguments.packed, "packed rings");
    app.add_option("--zones", arguments.zones,
                   "zones in use (default 8, or what the disk's limits allow)")
        ->type_name("N");
    app.add_option("--zone-first", arguments.zone_first, "the first of them (default 0)")
        ->type_name("N");
    app.add_option("--range", arguments.range,
                   "bytes in use of a disk without zones (default all, up to 1G)")
        ->type_name("SIZE");
    app.add_option("--read-percent", arguments.read_percent, "of mixed (default 70)")
        ->type_name("N");
    app.add_option("--seconds", arguments.seconds, "how long to measure (default 5)")
        ->type_name("TIME");
    app.add_option("--warm-up", arguments.warm_up, "load before that (default 0.5)")
        ->type_name("TIME");
    app.add_option("--timeout", arguments.timeout,
                   "give up if the server does nothing for so long (default 10)")
        ->type_name("TIME");
    app.add_option("--wait", arguments.wait, "poll (default) or event: sleep until a call")
        ->type_name("HOW");
    app.add_flag("--verify", arguments.verify, "stamp what is written and check what is read");
    app.add_option("--seed", arguments.seed, "of what is random (default 1)")->type_name("N");
    app.add_flag("--json", arguments.json, "for programs");
    app.footer(
        "Overwrites the part of the disk that it uses.\n"
        "Example: zbdkit bench disk.sock --op append --depth 8 --zones 4");
}

void CommandLine::add_drivers() {
    DriversArguments& arguments =
        add("drivers", "List drivers and objects, and their options", run_drivers);
    latest().add_option("NAME", arguments.name, "the options of this one")->type_name("");
    latest().add_flag("--markdown", arguments.markdown, "all of them, as a page of the manual");
    latest().footer("Example: zbdkit drivers throttle");
}

std::string CommandLine::unknown_word(const CLI::App& app, const std::string& word) const {
    std::vector<std::string> names;
    const bool is_option = word.starts_with('-');
    if (is_option) {
        for (const CLI::Option* option : app.get_options()) {
            for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
            for (const std::string& name : option->get_snames()) names.push_back("-" + name);
        }
    } else {
        for (const CLI::App* command : app.get_subcommands({}))
            names.push_back(command->get_name());
    }
    const std::vector<std::string_view> candidates(names.begin(), names.end());
    const std::string bare = word.substr(0, word.find('='));
    const std::string hint = did_you_mean(bare, candidates);
    if (is_option) return fmt::format("unknown option '{}'{}", bare, hint);
    if (!names.empty()) return fmt::format("unknown command '{}'{}", word, hint);
    return fmt::format("one argument too many: '{}'", word);
}

int CommandLine::refuse(std::string message) const {
    const std::vector<CLI::App*> chosen = app_.get_subcommands();
    const std::string command = chosen.empty() ? std::string() : chosen.front()->get_name();
    const int status = report_usage(command, {std::move(message), Errc::not_supported});
    // For check 2 means "damaged", and a wrong command line must not look like that.
    return command == "check" ? kFailure : status;
}

int CommandLine::run(int argc, char** argv) {
    try {
        app_.parse(argc, argv);
    } catch (const CLI::CallForHelp& help) {
        return app_.exit(help);
    } catch (const CLI::ConversionError& error) {
        // "Could not convert: --num-queues = many"
        const std::string text = error.what();
        const std::size_t colon = text.find(": ");
        const std::string what = colon == std::string::npos ? text : text.substr(colon + 2);
        return refuse(fmt::format("'{}' is no whole number", what));
    } catch (const CLI::ParseError& error) {
        return refuse(error.what());
    }
    const std::vector<std::string> leftovers = app_.remaining();
    if (!leftovers.empty()) return refuse(unknown_word(app_, leftovers.front()));
    for (const Command& command : commands_) {
        if (!command.app->parsed()) continue;
        const std::vector<std::string> rest = command.app->remaining();
        return rest.empty() ? command.run() : refuse(unknown_word(*command.app, rest.front()));
    }
    if (version_) {
        fmt::print("{}", version_text());
        return kOk;
    }
    fmt::print(stderr, "{}", app_.help());
    return kUsage;
}

/// Runs what the words name, before CLI11 if it is `io`: also under the name qemu-io.
int run_words(int argc, char** argv) {
    const std::string_view program = argc > 0 ? argv[0] : "";
    if (program.substr(program.rfind('/') + 1) == "qemu-io") return run_io("qemu-io", argc, argv);
    const bool is_io = argc > 1 && std::string_view(argv[1]) == "io";
    if (is_io) return run_io("zbdkit: io", argc - 1, argv + 1);
    CommandLine command_line;
    return command_line.run(argc, argv);
}

}  // namespace

int run_command_line(int argc, char** argv) {
    int status = kFailure;
    try {
        status = run_words(argc, argv);
    } catch (const std::exception& error) {  // CLI11, JSON or output that cannot be written
        return report_failure("", {error.what(), Errc::io});
    }
    if (std::fflush(stdout) == 0) return status;
    return report_failure(
        "", {fmt::format("cannot write to stdout: {}", std::strerror(errno)), Errc::io});
}

}  // namespace zbdkit::app
