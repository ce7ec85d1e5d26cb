// SPDX-License-Identifier: Apache-2.0
#include "export/ublk/inflight.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "base/unique_fd.h"
#include "export/ublk/populate.h"

namespace zbdkit::ublk {
namespace {

constexpr std::array<char, 8> kMagic = {'Z', 'B', 'D', 'U', 'B', 'L', 'K', '1'};
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderSize = 4096;

struct Header {
    std::array<char, 8> magic;
    std::uint32_t version;
    std::uint32_t queue_count;
    std::uint32_t queue_depth;
    std::uint32_t device;
    std::array<char, kHeaderSize - 24> image;  ///< ends with a 0
};
static_assert(sizeof(Header) == kHeaderSize && offsetof(Header, image) == 24);

/// One for each tag, and as many for those left by the server before.
std::size_t note_count(InflightShape shape) {
    return std::size_t{2} * shape.queue_count * shape.queue_depth;
}
std::size_t file_size(InflightShape shape) {
    return kHeaderSize + note_count(shape) * sizeof(Note);
}

std::unexpected<Failure> failed(const std::string& path, std::string_view what) {
    return failure(fmt::format("cannot {} '{}': {}", what, path, std::strerror(errno)));
}

Outcome<MutableBytes> map(const std::string& path, int fd, std::size_t size) {
    void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (memory == MAP_FAILED) return failed(path, "map");
    return MutableBytes(byte_pointer(memory), size);
}

std::atomic_ref<std::uint64_t> word_of(Note& note) { return std::atomic_ref(note.word); }
std::uint64_t load_word(Note& note) { return word_of(note).load(std::memory_order_acquire); }
/// In this order and whole, as seen by a process that comes after this one died.
void store_word(Note& note, std::uint64_t word) {
    word_of(note).store(word, std::memory_order_release);
}

/// Fills in a note that has no word, and gives it one.
void copy(const Note& from, Note& to, std::uint64_t word) {
    to.number = from.number;
    to.offset = from.offset;
    to.length = from.length;
    to.slot = from.slot;
    store_word(to, word);
}

}  // namespace

Inflight::Inflight(std::string path, InflightShape shape, MutableBytes memory)
    : path_(std::move(path)), shape_(shape), memory_(memory) {
    void* first = memory.data() + kHeaderSize;  // aligned, as the mapping is
    notes_ = std::span(static_cast<Note*>(first), note_count(shape));
}

Inflight::Inflight(Inflight&& other) noexcept
    : path_(std::move(other.path_)),
      shape_(other.shape_),
      memory_(std::exchange(other.memory_, {})),
      notes_(std::exchange(other.notes_, {})),
      next_number_(other.next_number_) {}

Inflight::~Inflight() {
    if (!memory_.empty()) ::munmap(memory_.data(), memory_.size());
}

Outcome<Inflight> Inflight::create(const std::string& path, InflightShape shape,
                                   const std::string& image) {
    ::unlink(path.c_str());
    const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd) return failed(path, "create");
    const std::size_t size = file_size(shape);
    // Not sparse: a write to a page that the host has no memory for would kill the server.
    if (::posix_fallocate(fd.get(), 0, static_cast<off_t>(size)) != 0) {
        return failed(path, "allocate");
    }
    const Outcome<MutableBytes> memory = map(path, fd.get(), size);
    if (!memory) return std::unexpected(memory.error());
    Header header{.magic = kMagic,
                  .version = kVersion,
                  .queue_count = shape.queue_count,
                  .queue_depth = shape.queue_depth,
                  .device = shape.device,
                  .image = {}};
    std::ranges::copy(std::string_view(image).substr(0, header.image.size() - 1),
                      header.image.begin());
    std::ranges::copy(bytes_of(header), memory->begin());
    return Inflight(path, shape, *memory);
}

Outcome<Inflight> Inflight::take_over(const std::string& path, InflightShape shape) {
    const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (!fd) return failed(path, "open");
    struct stat status{};
    const std::size_t size = file_size(shape);
    if (::fstat(fd.get(), &status) != 0) return failed(path, "look at");
    if (!S_ISREG(status.st_mode) || static_cast<std::uint64_t>(status.st_size) != size) {
        return failure(fmt::format("'{}' has {} bytes, expected {}", path, status.st_size, size),
                       Errc::corrupt);
    }
    const Outcome<MutableBytes> memory = map(path, fd.get(), size);
    if (!memory) return std::unexpected(memory.error());
    Inflight inflight(path, shape, *memory);
    Header header{};
    std::memcpy(&header, memory->data(), sizeof header);
    const InflightShape theirs{header.queue_count, header.queue_depth, header.device};
    if (header.magic != kMagic || header.version != kVersion || theirs != shape) {
        return failure(fmt::format("'{}' is not what a server of this device wrote", path),
                       Errc::corrupt);
    }
    if (Outcome<void> collected = inflight.collect_left(); !collected) {
        return std::unexpected(std::move(collected.error()));
    }
    return inflight;
}

/// Moves the notes of all tags to left(). A note may stand in both places, if the server died over
/// a move; then it has the same number in both.
Outcome<void> Inflight::collect_left() {
    const std::span<Note> own = notes_.first(notes_.size() / 2);
    for (const Note& note : notes_) next_number_ = std::max(next_number_, note.number + 1);
    for (std::size_t i = 0; i < own.size(); ++i) {
        if (load_word(own[i]) == 0) continue;
        if (Outcome<void> moved = leave(own[i], i); !moved) return moved;
    }
    return {};
}

Outcome<void> Inflight::leave(Note& note, std::size_t index) {
    const std::span<Note> places = left();
    const auto is_same = [&note](Note& other) {
        return load_word(other) != 0 && other.number == note.number;
    };
    if (std::ranges::none_of(places, is_same)) {
        const auto is_free = [](Note& other) { return load_word(other) == 0; };
        const auto place = is_free(places[index])
                               ? places.begin() + static_cast<std::ptrdiff_t>(index)
                               : std::ranges::find_if(places, is_free);
        if (place == places.end()) {
            return failure(
                fmt::format("'{}' has more requests in flight than the device has tags", path_),
                Errc::corrupt);
        }
        copy(note, *place, load_word(note));
    }
    store_word(note, 0);
    return {};
}

void Inflight::begin(TagId id, IoOperation operation, ByteRange range) {
    Note& own = note(id);
    store_word(own, 0);
    own.number = next_number_++;
    own.offset = range.offset;
    own.length = range.length;
    own.slot = WriteSlot();
    store_word(own, 1 + static_cast<std::uint64_t>(operation));
}

void Inflight::claim(Note& from, TagId id) {
    Note& own = note(id);
    store_word(own, 0);
    copy(from, own, load_word(from));
    store_word(from, 0);
}

std::string Inflight::image() const { return inflight_image(path_); }

void Inflight::remove() { ::unlink(path_.c_str()); }

std::string inflight_image(const std::string& path) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    auto header = std::make_unique<Header>();
    if (!fd || ::read(fd.get(), header.get(), sizeof *header) != sizeof *header) return {};
    if (header->magic != kMagic) return {};
    header->image.back() = '\0';
    return header->image.data();
}

}  // namespace zbdkit::ublk
