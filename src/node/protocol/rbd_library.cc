// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/rbd_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <bit>
#include <string>

namespace zbdkit {
namespace {

constexpr const char* kFileName = "librbd.so.1";

/// Looks functions up and remembers the first that is not there.
class Loader {
  public:
    explicit Loader(void* library) : library_(library) {}

    template <class Function>
    void find(Function*& function, const char* name) {
        void* const address = ::dlsym(library_, name);
        if (address == nullptr && missing_.empty()) missing_ = name;
        function = std::bit_cast<Function*>(address);
    }
    [[nodiscard]] const std::string& missing() const { return missing_; }

  private:
    void* library_;
    std::string missing_;
};

// Those of librados are found too: librbd is linked with it.
void find_rados(Loader& loader, RbdLibrary& library) {
    loader.find(library.rados_create, "rados_create");
    loader.find(library.rados_conf_read_file, "rados_conf_read_file");
    loader.find(library.rados_conf_set, "rados_conf_set");
    loader.find(library.rados_connect, "rados_connect");
    loader.find(library.rados_shutdown, "rados_shutdown");
    loader.find(library.rados_getaddrs, "rados_getaddrs");
    loader.find(library.rados_ioctx_create, "rados_ioctx_create");
    loader.find(library.rados_ioctx_set_namespace, "rados_ioctx_set_namespace");
    loader.find(library.rados_ioctx_destroy, "rados_ioctx_destroy");
}

void find_image(Loader& loader, RbdLibrary& library) {
    loader.find(library.open, "rbd_open");
    loader.find(library.open_read_only, "rbd_open_read_only");
    loader.find(library.close, "rbd_close");
    loader.find(library.get_size, "rbd_get_size");
    loader.find(library.get_features, "rbd_get_features");
    loader.find(library.config_image_list, "rbd_config_image_list");
    loader.find(library.config_image_list_cleanup, "rbd_config_image_list_cleanup");
    loader.find(library.update_watch, "rbd_update_watch");
    loader.find(library.update_unwatch, "rbd_update_unwatch");
    loader.find(library.create4, "rbd_create4");
    loader.find(library.image_options_create, "rbd_image_options_create");
    loader.find(library.image_options_destroy, "rbd_image_options_destroy");
    loader.find(library.image_options_set_uint64, "rbd_image_options_set_uint64");
}

void find_lock(Loader& loader, RbdLibrary& library) {
    loader.find(library.lock_acquire, "rbd_lock_acquire");
    loader.find(library.lock_break, "rbd_lock_break");
    loader.find(library.lock_get_owners, "rbd_lock_get_owners");
    loader.find(library.lock_get_owners_cleanup, "rbd_lock_get_owners_cleanup");
    loader.find(library.watchers_list, "rbd_watchers_list");
    loader.find(library.watchers_list_cleanup, "rbd_watchers_list_cleanup");
}

void find_requests(Loader& loader, RbdLibrary& library) {
    loader.find(library.set_image_notification, "rbd_set_image_notification");
    loader.find(library.poll_io_events, "rbd_poll_io_events");
    loader.find(library.aio_create_completion, "rbd_aio_create_completion");
    loader.find(library.aio_get_arg, "rbd_aio_get_arg");
    loader.find(library.aio_get_return_value, "rbd_aio_get_return_value");
    loader.find(library.aio_release, "rbd_aio_release");
    loader.find(library.aio_readv, "rbd_aio_readv");
    loader.find(library.aio_writev, "rbd_aio_writev");
    loader.find(library.aio_flush, "rbd_aio_flush");
    loader.find(library.aio_discard, "rbd_aio_discard");
    loader.find(library.aio_write_zeroes, "rbd_aio_write_zeroes");
}

Outcome<RbdLibrary> load() {
    void* const handle = ::dlopen(kFileName, RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
        return failure(fmt::format("cannot load {}: {}", kFileName, ::dlerror()),
                       Errc::not_supported);
    }
    Loader loader(handle);
    RbdLibrary library{};
    find_rados(loader, library);
    find_image(loader, library);
    find_lock(loader, library);
    find_requests(loader, library);
    if (loader.missing().empty()) return library;
    return failure(fmt::format("{} has no function {}: expected that of Ceph 16 or newer",
                               kFileName, loader.missing()),
                   Errc::not_supported);
}

}  // namespace

Outcome<const RbdLibrary*> rbd_library() {
    static const Outcome<RbdLibrary> library = load();
    if (!library) return std::unexpected(library.error());
    return &*library;
}

}  // namespace zbdkit
