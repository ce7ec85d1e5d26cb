// SPDX-License-Identifier: Apache-2.0
#include "app/create.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string_view>
#include <utility>

#include "app/create_on_storage.h"
#include "app/exit_status.h"
#include "app/messages.h"
#include "app/workshop.h"
#include "base/text.h"
#include "base/unique_fd.h"
#include "graph/graph.h"
#include "graph/node_options.h"
#include "graph/storage_address.h"
#include "node/format/zoned_create.h"
#include "node/protocol/image_lock.h"

namespace zbdkit::app {
namespace {

constexpr std::string_view kCommand = "create";

/// The file that becomes an image. If making it fails, what was not there before goes again.
class Target {
  public:
    /// Opens the file and keeps others off it.
    [[nodiscard]] static Outcome<Target> open(const CreateArguments& arguments);
    Target(Target&&) = default;
    Target& operator=(Target&&) = delete;
    Target(const Target&) = delete;
    Target& operator=(const Target&) = delete;
    ~Target() {
        if (fd_ && is_new_ && !done_) ::unlink(filename_.c_str());
    }

    /// Makes a regular file as large as the image. The space itself is not taken.
    [[nodiscard]] Outcome<void> resize(std::uint64_t image_size) const;
    void done() { done_ = true; }

  private:
    Target(UniqueFd fd, std::string filename, bool is_new)
        : fd_(std::move(fd)), filename_(std::move(filename)), is_new_(is_new) {}
    [[nodiscard]] static Outcome<UniqueFd> open_existing(const CreateArguments& arguments);

    UniqueFd fd_;
    ImageLock lock_;
    std::string filename_;
    bool is_new_;
    bool done_ = false;
};

Outcome<Target> Target::open(const CreateArguments& arguments) {
    const std::string& filename = arguments.filename;
    UniqueFd fd(::open(filename.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    const bool is_new = static_cast<bool>(fd);
    if (!is_new && errno != EEXIST) {
        return failure(fmt::format("cannot create '{}': {}", filename, std::strerror(errno)));
    }
    if (!is_new) {
        Outcome<UniqueFd> existing = open_existing(arguments);
        if (!existing) return std::unexpected(std::move(existing.error()));
        fd = std::move(*existing);
    }
    Target target(std::move(fd), filename, is_new);
    Outcome<ImageLock> lock = lock_image(target.fd_.get(), filename, LockMode::exclusive);
    if (!lock) return std::unexpected(std::move(lock.error()));
    target.lock_ = std::move(*lock);
    return target;
}

Outcome<UniqueFd> Target::open_existing(const CreateArguments& arguments) {
    const std::string& filename = arguments.filename;
    struct stat status{};
    if (::stat(filename.c_str(), &status) != 0) {
        return failure(fmt::format("cannot create '{}': {}", filename, std::strerror(errno)));
    }
    const bool is_device = S_ISBLK(status.st_mode);
    if (!is_device && !S_ISREG(status.st_mode)) {
        return failure(
            fmt::format("'{}' exists and is neither a file nor a block device", filename));
    }
    if (!arguments.force) {
        return failure(
            is_device
                ? fmt::format("'{}' is a block device: --force overwrites what is on it", filename)
                : fmt::format("'{}' exists: --force overwrites it", filename));
    }
    // O_EXCL on a block device: refuse one that is mounted or otherwise taken.
    const int flags = O_RDWR | O_CLOEXEC | (is_device ? O_EXCL : 0);
    UniqueFd fd(::open(filename.c_str(), flags));
    if (fd) return fd;
    const char* hint = errno == EBUSY ? " (mounted, or part of another device?)" : "";
    return failure(
        fmt::format("cannot open '{}' for writing: {}{}", filename, std::strerror(errno), hint));
}

Outcome<void> Target::resize(std::uint64_t image_size) const {
    struct stat status{};
    if (::fstat(fd_.get(), &status) != 0 || S_ISBLK(status.st_mode)) return {};
    if (::ftruncate(fd_.get(), static_cast<off_t>(image_size)) == 0) return {};
    const int os_errno = errno;
    if (os_errno == EFBIG || os_errno == EINVAL) {
        return failure(fmt::format("'{}': its file system has no files of {}: expected a smaller "
                                   "disk, or another file system",
                                   filename_, format_size(image_size)),
                       Errc::no_space);
    }
    return failure(fmt::format("cannot make '{}' {} large: {}", filename_, format_size(image_size),
                               std::strerror(os_errno)));
}

/// All of -o as one list.
Outcome<OptionValues> merge_options(const std::vector<std::string>& texts) {
    OptionValues merged("option -o");
    for (const std::string& text : texts) {
        const Outcome<OptionValues> part = OptionValues::parse(text, "", "option -o");
        if (!part) return std::unexpected(part.error());
        for (const auto& [key, value] : part->items()) {
            if (Outcome<void> set = merged.set(key, value); !set) {
                return std::unexpected(std::move(set.error()));
            }
        }
    }
    return merged;
}

std::string name_of(const CreateArguments& arguments) {
    return arguments.image_opts.empty() ? arguments.filename
                                        : "--image-opts " + arguments.image_opts;
}

Outcome<zoned::NewImage> plan(const CreateArguments& arguments) {
    if (arguments.filename.empty() && arguments.image_opts.empty()) {
        return failure("which file? expected: zbdkit create FILE SIZE", Errc::not_supported);
    }
    if (arguments.size.empty()) {
        return failure(fmt::format("how large? expected: zbdkit create {} SIZE, for example 8G",
                                   name_of(arguments)),
                       Errc::not_supported);
    }
    const Outcome<std::uint64_t> size = parse_size(arguments.size);
    if (!size) return std::unexpected(size.error());
    const Outcome<OptionValues> options = merge_options(arguments.options);
    if (!options) return std::unexpected(options.error());
    Outcome<zoned::NewImage> image = zoned::plan_image(*size, *options);
    if (!image || arguments.any_guest) return image;
    const std::string objection = zoned::linux_guest_objection(*image);
    if (objection.empty()) return image;
    return failure(fmt::format("a Linux guest would refuse this disk: {} (--any-guest makes it "
                               "all the same)",
                               objection),
                   Errc::not_supported);
}

Task<Outcome<void>> format(OpenContext& context, const std::string& filename,
                           const zoned::NewImage& image) {
    OptionValues options("node options");
    options.replace("driver", "file");
    options.replace("filename", filename);
    options.replace("locking", "off");  // Target holds the lock
    NamedNodes none;
    const std::unique_ptr<BlockNode> node =
        co_await ok(open_node(context, std::move(options), none));
    const Outcome<void> formatted = co_await zoned::format_image(*node, image);
    Outcome<void> closed = co_await node->close();
    co_return formatted ? std::move(closed) : formatted;
}

/// The options of what is to be below the image.
Outcome<OptionValues> storage_of(const CreateArguments& arguments) {
    if (arguments.image_opts.empty()) return storage_options(arguments.filename);
    Outcome<OptionValues> options = parse_node_options(arguments.image_opts);
    if (!options) return options;
    if (options->text("driver") != "zoned") {
        return failure(fmt::format("driver '{}' is no image format: expected driver=zoned",
                                   options->text("driver")),
                       Errc::not_supported);
    }
    return options->take_below("file", "node options");
}

/// Where a first daemon may listen: beside the file.
std::string socket_for(const CreateArguments& arguments) {
    std::filesystem::path file = arguments.filename;
    if (file.empty() || is_storage_address(arguments.filename)) return "disk.sock";
    if (arguments.filename.starts_with("/dev/")) file = file.filename();
    return file.replace_extension(".sock").string();
}

Outcome<void> create(const CreateArguments& arguments, const zoned::NewImage& image) {
    Outcome<std::unique_ptr<Workshop>> workshop = Workshop::make();
    if (!workshop) return std::unexpected(std::move(workshop.error()));
    if (!arguments.image_opts.empty() || is_storage_address(arguments.filename)) {
        Outcome<OptionValues> storage = storage_of(arguments);
        if (!storage) return std::unexpected(std::move(storage.error()));
        return (*workshop)->run(
            create_on_storage((*workshop)->context(), std::move(*storage), image, arguments.force));
    }
    Outcome<Target> target = Target::open(arguments);
    if (!target) return std::unexpected(std::move(target.error()));
    const std::uint64_t image_size = zoned::layout_of(image.geometry).image_size;
    if (Outcome<void> resized = target->resize(image_size); !resized) return resized;
    Outcome<void> made =
        (*workshop)->run(format((*workshop)->context(), arguments.filename, image));
    if (made) target->done();
    return made;
}

}  // namespace

int run_create(const CreateArguments& given) {
    CreateArguments arguments = given;
    // Then the first word is the size.
    if (!arguments.image_opts.empty() && arguments.size.empty()) {
        std::swap(arguments.filename, arguments.size);
    }
    if (!arguments.image_opts.empty() && !arguments.filename.empty()) {
        return report_usage(kCommand,
                            Failure{fmt::format("expected either '{}' or --image-opts, not both",
                                                arguments.filename)});
    }
    const Outcome<zoned::NewImage> image = plan(arguments);
    if (!image) return report_usage(kCommand, image.error());
    const Outcome<void> made = create(arguments, *image);
    if (!made) return report_failure(kCommand, made.error());
    const bool is_file_name = arguments.image_opts.empty();
    const std::string& name = is_file_name ? arguments.filename : arguments.image_opts;
    fmt::print("created {}: {}\n", name,
               describe_disk(image->geometry, image->geometry.device_size));
    fmt::print("next: zbdkit serve {}{} --vhost-user {}\n", is_file_name ? "" : "--image-opts ",
               shell_quote(name), shell_quote(socket_for(arguments)));
    return kOk;
}

std::string create_options_help() {
    std::string help = "Options of -o (sizes as 4096, 64K, 256M, 1.5T):\n";
    for (const OptionInfo& option : zoned::kCreateOptions) {
        const std::string form = fmt::format("{}={}", option.name, option.form);
        help += fmt::format("  {:<38} {}\n", form, option.help);
    }
    return help;
}

}  // namespace zbdkit::app
