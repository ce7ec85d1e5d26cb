// SPDX-License-Identifier: Apache-2.0
#include "app/io.h"

#include <fmt/format.h>
#include <getopt.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <optional>
#include <utility>
#include <vector>

#include "app/exit_status.h"
#include "app/io_lines.h"
#include "app/io_output.h"
#include "app/io_shell.h"
#include "app/trace_option.h"
#include "app/version.h"
#include "base/log.h"
#include "graph/graph.h"
#include "graph/objects.h"

namespace zbdkit::app {
namespace {

constexpr std::string_view kUsage =
    "Usage: zbdkit io [OPTION]... [-c COMMAND]... [FILE]\n"
    "Performs single requests on a disk, in place of qemu-io: the same options, commands, lines.\n"
    "\n"
    "  -c, --cmd COMMAND     run a command; may be repeated (else they are read from stdin)\n"
    "      --image-opts      FILE is node options: driver=zoned,file.driver=file,... or JSON\n"
    "  -f, --format FMT      driver of FILE (default: zoned for an image, host_device for a zoned\n"
    "                        block device, else raw)\n"
    "  -r, --read-only       no writes\n"
    "  -n, --nocache         without the host's page cache, as -t none\n"
    "  -t, --cache MODE      none, directsync, writeback, writethrough or unsafe\n"
    "  -d, --discard MODE    unmap (default) or ignore\n"
    "  -m, --misalign        data in memory that O_DIRECT does not accept\n"
    "  -i, --aio MODE        threads, native or io_uring: accepted, all is io_uring\n"
    "  -k, --native-aio      accepted, as -i\n"
    "  -U, --force-share     also if it is in use (with -r)\n"
    "      --object OBJECT   make an object, such as throttle-group,id=g0,x-iops-total=100\n"
    "  -T, --trace PATTERN   log these trace points; help lists them\n"
    "  -s, --snapshot        refused: there are no snapshots\n"
    "  -C, --copy-on-read    refused: there is nothing to copy from\n"
    "  -h, --help            this text\n"
    "  -V, --version         what this build is\n"
    "\n"
    "'zbdkit io -c help' lists the commands. Exit status: 0 if all succeeded, else 1.\n"
    "Examples:\n"
    "  zbdkit io disk.zbd -c 'zrp 0 4' -c 'zap -p 0 4k'\n"
    "  zbdkit io --image-opts -n driver=host_device,filename=/dev/nullb0 -c 'zo 0 256M'\n";

/// What the command line asks for.
struct Wish {
    IoOpening opening{.options = OptionValues("node options")};
    std::string format;
    std::string file;  ///< a file name, or node options
    bool file_is_options = false;
    std::vector<std::string> commands;
    std::vector<std::string> objects;
    std::vector<std::string> traces;
    bool misaligns = false;
    std::optional<int> status;  ///< set if the command is over already

    Outcome<void> take_option(int letter);
    /// What is to be opened, from --image-opts, -f and FILE together.
    Outcome<void> complete();
};

// getopt_long's numbers for options without a letter.
enum LongOption : int { kImageOpts = 256, kObject };

constexpr const char* kLetters = "hVc:d:f:rsnCmki:t:T:U";

constexpr std::array kLongOptions = {
    option{"help", no_argument, nullptr, 'h'},
    option{"version", no_argument, nullptr, 'V'},
    option{"cmd", required_argument, nullptr, 'c'},
    option{"format", required_argument, nullptr, 'f'},
    option{"read-only", no_argument, nullptr, 'r'},
    option{"snapshot", no_argument, nullptr, 's'},
    option{"nocache", no_argument, nullptr, 'n'},
    option{"copy-on-read", no_argument, nullptr, 'C'},
    option{"misalign", no_argument, nullptr, 'm'},
    option{"native-aio", no_argument, nullptr, 'k'},
    option{"aio", required_argument, nullptr, 'i'},
    option{"discard", required_argument, nullptr, 'd'},
    option{"cache", required_argument, nullptr, 't'},
    option{"trace", required_argument, nullptr, 'T'},
    option{"force-share", no_argument, nullptr, 'U'},
    option{"object", required_argument, nullptr, kObject},
    option{"image-opts", no_argument, nullptr, kImageOpts},
    option{nullptr, 0, nullptr, 0},
};

Outcome<void> Wish::take_option(int letter) {
    switch (letter) {
        case 'c': commands.emplace_back(::optarg); return {};
        case 'f': format = ::optarg; return {};
        case 'r': opening.read_only = true; return {};
        case 'n': opening.cache = IoCache::none; return {};
        case 'm': misaligns = true; return {};
        case 'k': return {};
        case 'i': return check_io_aio_mode(::optarg);
        case 'U': opening.force_share = true; return {};
        case 'T': traces.emplace_back(::optarg); return {};
        case 's': return failure(std::string(kNoSnapshot), Errc::not_supported);
        case 'C': return failure(std::string(kNoCopyOnRead), Errc::not_supported);
        case kImageOpts: file_is_options = true; return {};
        case kObject: objects.emplace_back(::optarg); return {};
        case 't': {
            const Outcome<IoCache> cache = parse_io_cache(::optarg);
            if (!cache) return std::unexpected(cache.error());
            opening.cache = *cache;
            return {};
        }
        case 'd': {
            const Outcome<bool> discards = parse_io_discard(::optarg);
            if (!discards) return std::unexpected(discards.error());
            opening.discards = *discards;
            return {};
        }
        case 'h':
            say("{}", kUsage);
            status = kOk;
            return {};
        case 'V':
            say("{}", version_text());
            status = kOk;
            return {};
        default:
            say("{}", kUsage);
            status = kFailure;
            return {};
    }
}

Outcome<void> Wish::complete() {
    if (file_is_options && !format.empty()) {
        return failure("--image-opts and -f are mutually exclusive", Errc::not_supported);
    }
    if (file_is_options && !file.empty()) {
        Outcome<OptionValues> options = parse_node_options(file);
        if (!options) return std::unexpected(std::move(options.error()));
        opening.options = std::move(*options);
        return {};
    }
    opening.filename = file;
    if (!format.empty()) opening.options.replace("driver", format);
    return {};
}

Outcome<Wish> parse(const std::string& program, int argc, char** argv) {
    Wish wish;
    std::string name = program;
    std::vector<char*> words(argv, argv + argc + 1);
    words[0] = name.data();  // getopt complains under this name
    ::optind = 0;
    while (!wish.status) {
        const int letter =
            ::getopt_long(argc, words.data(), kLetters, kLongOptions.data(), nullptr);
        if (letter == -1) break;
        const Outcome<void> taken = wish.take_option(letter);
        if (!taken) return std::unexpected(taken.error());
    }
    if (wish.status) return wish;
    if (argc - ::optind > 1) {
        say("{}", kUsage);
        wish.status = kFailure;
        return wish;
    }
    if (::optind < argc) wish.file = words[static_cast<std::size_t>(::optind)];
    const Outcome<void> completed = wish.complete();
    if (!completed) return std::unexpected(completed.error());
    return wish;
}

Outcome<void> make_objects(OpenContext& context, const std::vector<std::string>& texts) {
    for (const std::string& text : texts) {
        const Outcome<ObjectPlan> plan = parse_object(text);
        if (!plan) return std::unexpected(plan.error());
        if (Outcome<void> made = make_object(context, *plan); !made) return made;
    }
    return {};
}

/// @return whether all lines succeeded
bool run_lines(IoShell& shell, LineSource& lines) {
    bool succeeded = true;
    while (!shell.is_ended()) {
        const std::optional<std::string> line = lines.next();
        if (!line) break;
        if (!shell.run_line(*line)) succeeded = false;
    }
    return succeeded;
}

bool run_commands(IoShell& shell, const std::vector<std::string>& commands) {
    bool succeeded = true;
    for (const std::string& command : commands) {
        if (shell.is_ended()) break;
        if (!shell.run_line(command)) succeeded = false;
    }
    return succeeded;
}

bool run_session(IoShell& shell, const std::vector<std::string>& commands) {
    if (!commands.empty()) return run_commands(shell, commands);
    std::unique_ptr<LineSource> lines = make_edited_lines(shell.reactor());
    if (!lines) lines = make_plain_lines(shell.reactor(), STDIN_FILENO);
    return run_lines(shell, *lines);
}

int fail_with(const std::string& program, const Failure& failure) {
    complain("{}: {}", program, failure.message);
    return kFailure;
}

}  // namespace

int run_io(const std::string& program, int argc, char** argv) {
    const Outcome<Wish> wish = parse(program, argc, argv);
    if (!wish) return fail_with(program, wish.error());
    if (wish->status) return *wish->status;
    const std::optional<int> ended = apply_trace_options("io", wish->traces);
    if (ended) return *ended == kOk ? kOk : kFailure;
    init_log(spdlog::level::warn);
    std::signal(SIGPIPE, SIG_IGN);  // a reader that has left is no reason to leave an image in use
    const Outcome<std::unique_ptr<Workshop>> workshop = Workshop::make();
    if (!workshop) return fail_with(program, workshop.error());
    const Outcome<void> made = make_objects((*workshop)->context(), wish->objects);
    if (!made) return fail_with(program, made.error());
    IoShell shell(**workshop, program);
    shell.set_misaligns(wish->misaligns);
    if (!wish->file.empty() && !shell.open_disk(wish->opening)) return kFailure;
    const bool succeeded = run_session(shell, wish->commands);
    const bool closed = shell.close_disk();
    return succeeded && closed ? kOk : kFailure;
}

}  // namespace zbdkit::app
