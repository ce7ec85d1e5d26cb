// SPDX-License-Identifier: Apache-2.0
#include "tests/conformance/disk.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "base/assert.h"
#include "io/uring_engine.h"
#include "node/format/zoned.h"
#include "node/format/zoned_create.h"
#include "node/protocol/memory.h"

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

}  // namespace

std::string storage_name(const testing::TestParamInfo<Storage>& info) {
    switch (info.param) {
        case Storage::memory: return "memory";
        case Storage::file: return "file";
        case Storage::file_direct: return "file_direct";
    }
    return "unknown";
}

Disk::Disk(Storage storage, std::uint64_t size, const std::string& options)
    : storage_(storage), reactor_(std::make_unique<Reactor>(must(make_uring_engine(64)))) {
    const OptionValues create =
        options.empty() ? OptionValues("test") : must(OptionValues::parse(options, "", "test"));
    const zoned::NewImage image = must(zoned::plan_image(size, create));
    const std::uint64_t image_size = zoned::layout_of(image.geometry).image_size;
    OpenContext context{*reactor_, pool_};
    std::unique_ptr<BlockNode> node;
    if (storage == Storage::memory) {
        memory_ = AlignedBuffer(image_size);
        node = make_memory_node(memory_.bytes());
    } else {
        folder_ = make_folder();
        const std::string path = (folder_ / "disk.zbd").string();
        std::ofstream(path).close();
        std::filesystem::resize_file(path, image_size);
        NamedNodes none;
        node = must(reactor_->run_to_end(
            open_node(context, options_of({{"driver", "file"}, {"filename", path}}), none)));
    }
    must(reactor_->run_to_end(zoned::format_image(*node, image)));
    must(reactor_->run_to_end(node->close()));
    node.reset();
    open();
}

Disk::~Disk() {
    if (backend_) close();
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
}

void Disk::open() {
    OpenContext context{*reactor_, pool_};
    NamedNodes named;
    OptionValues options = options_of({{"driver", "zoned"}});
    if (storage_ == Storage::memory) {
        must(named.put_as("storage", make_memory_node(memory_.bytes())));
        options.replace("file", "storage");
    } else {
        options.replace("file.driver", "file");
        options.replace("file.filename", (folder_ / "disk.zbd").string());
        if (storage_ == Storage::file_direct) options.replace("file.cache.direct", "on");
    }
    backend_ = std::make_unique<BlockBackend>(
        must(reactor_->run_to_end(open_node(context, options, named))));
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
    backend_.reset();
    open();
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
