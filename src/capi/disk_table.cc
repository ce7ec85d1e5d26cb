// SPDX-License-Identifier: Apache-2.0
#include "capi/disk_table.h"

#include <utility>

namespace zbdkit::capi {

DiskTable& DiskTable::instance() {
    union Undying {
        DiskTable table;
        Undying() : table() {}
        ~Undying() {}  // NOLINT: the member is left alive
    };
    static Undying undying;
    return undying.table;
}

DiskTable::Use::Use(DiskTable& table, std::uint64_t id) : table_(table), id_(id), disk_(nullptr) {
    const std::scoped_lock lock(table_.mutex_);
    const auto found = table_.entries_.find(id);
    if (found == table_.entries_.end() || found->second.closing) return;
    ++found->second.uses;
    disk_ = found->second.disk.get();
}

DiskTable::Use::~Use() {
    if (disk_ == nullptr) return;
    const std::scoped_lock lock(table_.mutex_);
    Entry& entry = table_.entries_.find(id_)->second;
    if (--entry.uses == 0 && entry.closing) table_.unused_.notify_all();
}

std::uint64_t DiskTable::add(std::unique_ptr<Disk> disk) {
    const std::scoped_lock lock(mutex_);
    entries_[++last_id_].disk = std::move(disk);
    return last_id_;
}

std::unique_ptr<Disk> DiskTable::remove(std::uint64_t id) {
    std::unique_lock lock(mutex_);
    const auto found = entries_.find(id);
    if (found == entries_.end() || found->second.closing) return nullptr;
    found->second.closing = true;
    unused_.wait(lock, [found] { return found->second.uses == 0; });
    std::unique_ptr<Disk> disk = std::move(found->second.disk);
    entries_.erase(found);
    return disk;
}

}  // namespace zbdkit::capi
