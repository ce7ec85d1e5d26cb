// SPDX-License-Identifier: Apache-2.0
// Options as people and QEMU write them: "driver=zoned,file.driver=file,file.filename=disk.zbd"
// (a doubled comma is a comma) or the same as JSON text with nested objects. Both become one flat
// list of dotted keys.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace zbdkit {

/// One option that something accepts: for help and for naming the nearest known one.
struct OptionInfo {
    std::string_view name;  ///< a part "*" stands for an index of a list: "inject-error.*.event"
    std::string_view form;  ///< what its value looks like: "SIZE", "on|off", "PATH"
    std::string_view help;
};

/// Options by name, each at most once, in the order they were given.
class OptionValues {
  public:
    OptionValues() = default;
    /// @param subject  what the options belong to, for messages: "driver 'file'"
    explicit OptionValues(std::string subject) : subject_(std::move(subject)) {}

    /// Reads "key=value,key=value". A first item without "=" is given to `first_key`, or refused if
    /// that is empty. A later item without "=" means on.
    /// Errors: an empty key, a key given twice.
    [[nodiscard]] static Outcome<OptionValues> parse(std::string_view text,
                                                     std::string_view first_key,
                                                     std::string subject);

    /// Errors: the key is there already.
    [[nodiscard]] Outcome<void> set(std::string key, std::string value);
    /// Sets or replaces.
    void replace(std::string_view key, std::string value);

    [[nodiscard]] bool has(std::string_view key) const { return find(key) != nullptr; }
    [[nodiscard]] const std::string& subject() const { return subject_; }
    [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& items() const {
        return items_;
    }

    /// The value, or `otherwise` if the option was not given.
    [[nodiscard]] std::string text(std::string_view key, std::string_view otherwise = "") const;
    /// Errors: no value, or an empty one.
    [[nodiscard]] Outcome<std::string> required_text(std::string_view key) const;
    /// on, off, true, false, yes, no. Errors: anything else.
    [[nodiscard]] Outcome<bool> flag(std::string_view key, bool otherwise) const;
    /// Bytes in any form of parse_size(). Errors: anything else.
    [[nodiscard]] Outcome<std::uint64_t> size(std::string_view key, std::uint64_t otherwise) const;
    /// A whole number. Errors: anything else, or above `most`.
    [[nodiscard]] Outcome<std::uint64_t> number(std::string_view key, std::uint64_t otherwise,
                                                std::uint64_t most) const;

    /// A time in any form of parse_duration(). @return nanoseconds
    /// Errors: anything else, or above `most`.
    [[nodiscard]] Outcome<std::uint64_t> duration_ns(std::string_view key, std::uint64_t otherwise,
                                                     std::uint64_t most) const;

    /// Errors: an option that is in none of the lists, with the nearest known one.
    [[nodiscard]] Outcome<void> check_known(std::span<const OptionInfo> known,
                                            std::span<const OptionInfo> also = {}) const;

    /// Takes out the options below "prefix." and returns them without it.
    [[nodiscard]] OptionValues take_below(std::string_view prefix, std::string subject);
    /// Takes out one option. @return its value, or "" if it was not given
    [[nodiscard]] std::string take(std::string_view key);

  private:
    [[nodiscard]] const std::string* find(std::string_view key) const;
    [[nodiscard]] std::unexpected<Failure> bad_value(std::string_view key,
                                                     std::string_view expected) const;

    std::string subject_ = "options";
    std::vector<std::pair<std::string, std::string>> items_;
};

}  // namespace zbdkit
