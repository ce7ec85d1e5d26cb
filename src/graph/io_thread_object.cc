// SPDX-License-Identifier: Apache-2.0
#include "graph/io_thread_object.h"

#include <memory>

namespace zbdkit {
namespace {

/// Takes the id, so that no other object has it.
class IoThreadName final : public SharedObject {};

Outcome<std::shared_ptr<SharedObject>> make_io_thread_name(OpenContext& /*context*/,
                                                           const OptionValues& /*options*/) {
    return std::make_shared<IoThreadName>();  // owned by the list of objects alone
}

}  // namespace

const ObjectInfo kIoThreadObject = {
    "iothread", "a thread that serves the exports that name it", {}, make_io_thread_name};

}  // namespace zbdkit
