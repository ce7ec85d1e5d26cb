// SPDX-License-Identifier: Apache-2.0
// The disk that a command is about, as a person names it: a file name, the address of a storage, or
// --image-opts with the options of a node. Commands that only look open it read-only and without
// its lock, so that a disk in use can be looked at.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "base/options.h"
#include "block/driver.h"
#include "block/node.h"
#include "io/task.h"
#include "node/format/zoned_header.h"

namespace zbdkit::app {

struct DiskArgument {
    std::string filename;    ///< or an address; "" if image_opts is given
    std::string image_opts;  ///< "" if filename is given

    /// For messages.
    [[nodiscard]] const std::string& name() const {
        return filename.empty() ? image_opts : filename;
    }
};

enum class Access { look, serve };

/// The options of the disk's root node. A file name is that of an image, or of a zoned block
/// device of the host; an address is where an image is.
/// Errors: neither or both forms given, and the syntax of the options.
[[nodiscard]] Outcome<OptionValues> disk_options(const DiskArgument& disk, Access access);

/// Switches read-only on in every node that has it, unless the options say otherwise.
void make_read_only(OptionValues& options);

/// A zoned image and the storage it is on, opened for looking.
struct ImageStorage {
    std::unique_ptr<BlockNode> node;
    std::string filename;  ///< the host's file, or "" if the storage is no file
};

/// Opens what is below `driver=zoned`; takes those options out of `options`.
/// Errors: the options describe no zoned image, and what the drivers say.
[[nodiscard]] Task<Outcome<ImageStorage>> open_image_storage(OpenContext& context,
                                                             OptionValues& options);

}  // namespace zbdkit::app
