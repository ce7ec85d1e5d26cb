// SPDX-License-Identifier: Apache-2.0
// The words of a command line of `zbdkit io`, and its options as getopt(3) reads them: anywhere
// among the operands, up to "--". getopt has one state for the whole process: one CommandWords at a
// time, on the main thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace zbdkit::app {

/// What stands between blanks. There is no quoting, as in qemu-io.
[[nodiscard]] std::vector<std::string> split_words(std::string_view line);

class CommandWords {
  public:
    /// @param words  the command's name first; or none at all
    explicit CommandWords(std::vector<std::string> words);
    CommandWords(const CommandWords&) = delete;
    CommandWords& operator=(const CommandWords&) = delete;

    [[nodiscard]] bool is_empty() const { return words_.empty(); }
    /// The words behind the name: options, their values and operands.
    [[nodiscard]] std::size_t count() const { return words_.size() - 1; }
    /// @param index  0 is the name
    [[nodiscard]] const std::string& word(std::size_t index) const { return words_[index]; }

    /// The next option's letter, '?' after a wrong one (about which stderr was told), or -1 when
    /// there is none left.
    /// @param letters  as in getopt(3): "qP:" is -q and -P VALUE
    [[nodiscard]] int next_option(const char* letters);
    /// The value of the option that next_option() has just returned.
    [[nodiscard]] std::string value() const;
    /// What is left when next_option() has returned -1.
    [[nodiscard]] std::vector<std::string> operands() const;

  private:
    std::vector<std::string> words_;
    std::vector<char*> arguments_;  // into words_, in getopt's order; a null pointer last
};

}  // namespace zbdkit::app
