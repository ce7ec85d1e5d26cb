// SPDX-License-Identifier: Apache-2.0
#include "tests/conformance/disk.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <utility>

#include "base/assert.h"
#include "base/log.h"
#include "graph/registry.h"
#include "io/blocking_pool.h"
#include "io/uring_engine.h"
#include "node/format/zoned.h"
#include "node/format/zoned_create.h"
#include "node/protocol/memory.h"
#include "tests/support/io/manual_engine.h"

namespace zbdkit::test {
namespace {

/// A failure in the set-up ends the test program with the message: there is nothing to test.
template <class T>
T must(Outcome<T> outcome) {
    if (!outcome) {
        std::fprintf(stderr, "set-up failed: %s\n", outcome.error().message.c_str());
        std::abort();
    }
    if constexpr (!std::is_void_v<T>) return std::move(*outcome);
}

std::filesystem::path make_folder() {
    std::string name = (std::filesystem::temp_directory_path() / "zbdkit-test-XXXXXX").string();
    ZBDKIT_ASSERT(::mkdtemp(name.data()) != nullptr);
    return name;
}

OptionValues options_of(std::initializer_list<std::pair<const char*, std::string>> items) {
    OptionValues options("test");
    for (const auto& [key, value] : items) options.replace(key, value);
    return options;
}

constexpr const char* kPool = "rbd";

/// Of the cluster beside this program, or "".
std::string ceph_conf() {
    const char* const path = std::getenv("ZBDKIT_TEST_CEPH_CONF");
    return path == nullptr ? "" : path;
}

/// No other disk has this name, in this process or in one that uses the same cluster.
std::string new_rbd_image() {
    static int count = 0;
    return fmt::format("conformance-{}-{}", ::getpid(), ++count);
}

/// One for all disks: to make a thread takes longer than most cases do.
BlockingPool& shared_pool() {
    static BlockingPool pool(1);
    return pool;
}

/// Memory needs no kernel: without one a disk is made in an instant, and filters that wait do so on
/// a clock that jumps.
std::unique_ptr<IoEngine> make_engine(Storage storage) {
    if (storage == Storage::memory) return std::make_unique<ManualEngine>();
    return must(make_uring_engine(64));
}

/// The image of a disk of `size` as it is seen through the stack.
zoned::NewImage plan(const Stack& stack, std::uint64_t size, const std::string& options) {
    OptionValues create =
        options.empty() ? OptionValues("test") : must(OptionValues::parse(options, "", "test"));
    const std::uint32_t trimmed = trimmed_zones(stack);
    if (trimmed != 0) {
        constexpr const char* kConventional = "zone.conventional_zones";
        const std::uint64_t conventional = must(create.number(kConventional, 0, 1000));
        create.replace(kConventional, std::to_string(conventional + trimmed));
        size += 2 * trimmed * must(create.size("zone.size", 0));
    }
    return must(zoned::plan_image(size, create));
}

}  // namespace

std::string setup_name(const testing::TestParamInfo<DiskSetup>& info) {
    if (!info.param.stack.empty()) return name_of(info.param.stack);
    switch (info.param.storage) {
        case Storage::memory: return "memory";
        case Storage::file: return "file";
        case Storage::file_direct: return "file_direct";
        case Storage::nbd: return "nbd";
        case Storage::rbd: return "rbd";
    }
    return "unknown";
}

std::vector<DiskSetup> all_storages() {
    std::vector<DiskSetup> setups = {{.storage = Storage::memory, .stack = {}},
                                     {.storage = Storage::file, .stack = {}},
                                     {.storage = Storage::file_direct, .stack = {}}};
    if (find_driver("nbd") && Nbdkit::is_installed()) {
        setups.push_back({.storage = Storage::nbd, .stack = {}});
    }
    if (find_driver("rbd") && !ceph_conf().empty()) {
        setups.push_back({.storage = Storage::rbd, .stack = {}});
    }
    return setups;
}

std::vector<DiskSetup> over_memory(const std::vector<Stack>& stacks) {
    std::vector<DiskSetup> setups;
    for (const Stack& stack : stacks)
        setups.push_back({.storage = Storage::memory, .stack = stack});
    return setups;
}

SparseMemory::SparseMemory(std::size_t size) {
    void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ZBDKIT_ASSERT(memory != MAP_FAILED);
    bytes_ = {byte_pointer(memory), size};
}

SparseMemory::~SparseMemory() { ::munmap(bytes_.data(), bytes_.size()); }

Disk::Disk(DiskSetup setup, std::uint64_t size, const std::string& options)
    : setup_(std::move(setup)), reactor_(std::make_unique<Reactor>(make_engine(setup_.storage))) {
    spdlog::set_level(spdlog::level::warn);  // filters of a stack that tell what they saw
    const zoned::NewImage image = plan(setup_.stack, size, options);
    std::unique_ptr<BlockNode> node = make_storage(zoned::layout_of(image.geometry).image_size);
    must(reactor_->run_to_end(zoned::format_image(*node, image)));
    must(reactor_->run_to_end(node->close()));
    node.reset();
    if (setup_.storage == Storage::nbd) {
        server_ = std::make_unique<Nbdkit>();
        server_->start({"file", (folder_ / "disk.zbd").string()});
    }
    open();
}

Disk::~Disk() {
    if (backend_) close();
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
}

std::unique_ptr<BlockNode> Disk::make_storage(std::uint64_t size) {
    if (setup_.storage == Storage::memory) {
        memory_ = std::make_unique<SparseMemory>(size);
        return make_memory_node(memory_->bytes());
    }
    OpenContext context{*reactor_, shared_pool()};
    NamedNodes none;
    if (setup_.storage == Storage::rbd) {
        rbd_image_ = new_rbd_image();
        const DriverInfo* const driver = must(find_driver("rbd"));
        OptionValues options = storage_options();
        const bool is_new = must(reactor_->run_to_end(driver->create(context, options, size)));
        ZBDKIT_ASSERT(is_new);
        return must(reactor_->run_to_end(open_node(context, std::move(options), none)));
    }
    folder_ = make_folder();
    const std::string path = (folder_ / "disk.zbd").string();
    std::ofstream(path).close();
    std::filesystem::resize_file(path, size);
    return must(reactor_->run_to_end(
        open_node(context, options_of({{"driver", "file"}, {"filename", path}}), none)));
}

OptionValues Disk::storage_options() const {
    switch (setup_.storage) {
        case Storage::memory: break;  // its node is made by hand
        case Storage::nbd: return options_of({{"driver", "nbd"}, {"uri", server_->uri()}});
        case Storage::rbd:
            return options_of({{"driver", "rbd"},
                               {"pool", kPool},
                               {"image", rbd_image_},
                               {"conf", ceph_conf()},
                               {"own-connection", takes_over_ ? "on" : "off"},
                               {"force-takeover", takes_over_ ? "on" : "off"}});
        case Storage::file:
        case Storage::file_direct:
            return options_of(
                {{"driver", "file"},
                 {"filename", (folder_ / "disk.zbd").string()},
                 {"cache.direct", setup_.storage == Storage::file_direct ? "on" : "off"}});
    }
    std::unreachable();
}

std::unique_ptr<BlockNode> Disk::open_image() {
    OpenContext context{*reactor_, shared_pool()};
    NamedNodes named;
    OptionValues options = options_of({{"driver", "zoned"}});
    if (setup_.storage == Storage::memory) {
        must(named.put_as("storage", make_memory_node(memory_->bytes())));
        options.replace("file", "storage");
    } else {
        const OptionValues storage = storage_options();
        for (const auto& [key, value] : storage.items()) options.replace("file." + key, value);
    }
    return must(reactor_->run_to_end(open_node(context, options, named)));
}

void Disk::open() {
    OpenContext context{*reactor_, shared_pool()};
    std::unique_ptr<BlockNode> image = open_image();
    backend_ = std::make_unique<BlockBackend>(
        must(reactor_->run_to_end(open_stack(context, setup_.stack, std::move(image)))));
}

void Disk::change_stack(const Stack& stack) {
    ZBDKIT_ASSERT(trimmed_zones(stack) == trimmed_zones(setup_.stack));
    close();
    setup_.stack = stack;
    open();
}

Answer Disk::try_stack(const Stack& stack) {
    close();
    OpenContext context{*reactor_, shared_pool()};
    const Outcome<std::unique_ptr<BlockNode>> opened =
        reactor_->run_to_end(open_stack(context, stack, open_image()));
    if (!opened) return opened.error().code;
    must(reactor_->run_to_end((*opened)->close()));
    return kOk;
}

void Disk::close() {
    must(reactor_->run_to_end(backend_->close()));
    backend_.reset();
}

void Disk::reopen() {
    close();
    open();
}

void Disk::kill_and_reopen() {
    if (setup_.storage == Storage::rbd) return cut_off_and_reopen();
    backend_.reset();
    open();
}

/// A client of a cluster has threads that only die with their process. So the old disk is not
/// dropped: the new one takes the image over, as after a kill, and from then on the cluster lets
/// the old one do nothing. It closes afterwards, and whatever it still wants to write is refused.
void Disk::cut_off_and_reopen() {
    const std::unique_ptr<BlockBackend> old = std::move(backend_);
    takes_over_ = true;
    open();
    takes_over_ = false;
    const Outcome<void> closed = reactor_->run_to_end(old->close());
    EXPECT_FALSE(closed) << "the disk that was cut off could still write to its image";
}

Answer Disk::submit(Request& request) {
    const Result<void> result = reactor_->run_to_end(backend_->submit(request));
    if (result) return kOk;
    return result.error().code;
}

Answer Disk::read(std::uint64_t offset, std::uint64_t length, std::vector<std::uint8_t>* out) {
    AlignedBuffer buffer(length);
    std::ranges::fill(buffer.bytes(), std::byte{0xee});
    const iovec segment = segment_of(buffer.bytes());
    Request request = read_request({offset, length}, IoSegments(&segment, 1));
    const Answer answer = submit(request);
    out->clear();
    for (const std::byte byte : buffer.bytes()) out->push_back(std::to_integer<std::uint8_t>(byte));
    return answer;
}

std::optional<std::uint8_t> Disk::read_fill(std::uint64_t offset, std::uint64_t length) {
    std::vector<std::uint8_t> bytes;
    if (read(offset, length, &bytes)) return std::nullopt;
    const bool same = std::ranges::all_of(bytes, [&](std::uint8_t b) { return b == bytes[0]; });
    if (!same) return std::nullopt;
    return bytes[0];
}

Answer Disk::write(std::uint64_t offset, std::uint64_t length, std::uint8_t fill, bool fua) {
    AlignedBuffer buffer(length);
    std::ranges::fill(buffer.bytes(), std::byte{fill});
    const iovec segment = segment_of(buffer.bytes());
    Request request = write_request({offset, length}, IoSegments(&segment, 1), fua);
    return submit(request);
}

Answer Disk::append(std::uint64_t zone_start, std::uint64_t length, std::uint8_t fill,
                    std::uint64_t* placed) {
    AlignedBuffer buffer(length);
    std::ranges::fill(buffer.bytes(), std::byte{fill});
    const iovec segment = segment_of(buffer.bytes());
    Request request = append_request(zone_start, IoSegments(&segment, 1));
    const Answer answer = submit(request);
    if (placed != nullptr) *placed = request.append_offset;
    return answer;
}

Answer Disk::act(Op op, std::uint64_t zone_start) {
    Request request = zone_request(op, zone_start);
    return submit(request);
}

Answer Disk::flush() {
    Request request = flush_request();
    return submit(request);
}

std::vector<ZoneDescriptor> Disk::report(std::uint64_t offset, std::size_t most) {
    std::vector<ZoneDescriptor> zones(most);
    Request request = report_request(offset, zones);
    EXPECT_EQ(submit(request), kOk);
    zones.resize(request.zones_reported);
    return zones;
}

ZoneDescriptor Disk::zone(std::uint32_t index) {
    return report(index * info().zones.zone_size, 1).at(0);
}

std::uint64_t Disk::pointer(std::uint32_t index) {
    const ZoneDescriptor descriptor = zone(index);
    return descriptor.write_pointer - descriptor.start;
}

}  // namespace zbdkit::test
