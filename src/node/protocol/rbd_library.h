// SPDX-License-Identifier: Apache-2.0
// librbd and librados, loaded when the first image is opened: they and what they need are 30
// libraries and 20 MB of memory, which no other disk should pay for. Never unloaded: its threads
// outlive the images.
#pragma once

#ifdef ZBDKIT_HAS_RBD

#include <rados/librados.h>
#include <rbd/librbd.h>

#include "base/error.h"

namespace zbdkit {

/// The functions that are used, under their own names.
struct RbdLibrary {
    decltype(&::rados_create) rados_create;
    decltype(&::rados_conf_read_file) rados_conf_read_file;
    decltype(&::rados_conf_set) rados_conf_set;
    decltype(&::rados_connect) rados_connect;
    decltype(&::rados_shutdown) rados_shutdown;
    decltype(&::rados_getaddrs) rados_getaddrs;
    decltype(&::rados_ioctx_create) rados_ioctx_create;
    decltype(&::rados_ioctx_set_namespace) rados_ioctx_set_namespace;
    decltype(&::rados_ioctx_destroy) rados_ioctx_destroy;

    decltype(&::rbd_open) open;
    decltype(&::rbd_open_read_only) open_read_only;
    decltype(&::rbd_close) close;
    decltype(&::rbd_get_size) get_size;
    decltype(&::rbd_get_features) get_features;
    decltype(&::rbd_config_image_list) config_image_list;
    decltype(&::rbd_config_image_list_cleanup) config_image_list_cleanup;
    decltype(&::rbd_update_watch) update_watch;
    decltype(&::rbd_update_unwatch) update_unwatch;

    decltype(&::rbd_lock_acquire) lock_acquire;
    decltype(&::rbd_lock_break) lock_break;
    decltype(&::rbd_lock_get_owners) lock_get_owners;
    decltype(&::rbd_lock_get_owners_cleanup) lock_get_owners_cleanup;
    decltype(&::rbd_watchers_list) watchers_list;
    decltype(&::rbd_watchers_list_cleanup) watchers_list_cleanup;

    decltype(&::rbd_set_image_notification) set_image_notification;
    decltype(&::rbd_poll_io_events) poll_io_events;
    decltype(&::rbd_aio_create_completion) aio_create_completion;
    decltype(&::rbd_aio_get_arg) aio_get_arg;
    decltype(&::rbd_aio_get_return_value) aio_get_return_value;
    decltype(&::rbd_aio_release) aio_release;
    decltype(&::rbd_aio_readv) aio_readv;
    decltype(&::rbd_aio_writev) aio_writev;
    decltype(&::rbd_aio_flush) aio_flush;
    decltype(&::rbd_aio_discard) aio_discard;
    decltype(&::rbd_aio_write_zeroes) aio_write_zeroes;

    decltype(&::rbd_create4) create4;
    decltype(&::rbd_image_options_create) image_options_create;
    decltype(&::rbd_image_options_destroy) image_options_destroy;
    decltype(&::rbd_image_options_set_uint64) image_options_set_uint64;
};

/// Loads it at the first call.
/// Errors: the library is not installed, or lacks a function. Thread: any. Waits: for the linker.
[[nodiscard]] Outcome<const RbdLibrary*> rbd_library();

}  // namespace zbdkit

#endif  // ZBDKIT_HAS_RBD
