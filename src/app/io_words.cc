// SPDX-License-Identifier: Apache-2.0
#include "app/io_words.h"

#include <getopt.h>

#include <cstddef>
#include <cstdio>
#include <utility>

namespace zbdkit::app {

std::vector<std::string> split_words(std::string_view line) {
    std::vector<std::string> words;
    while (!line.empty()) {
        const std::size_t blank = line.find(' ');
        const std::string_view word = line.substr(0, blank);
        if (!word.empty()) words.emplace_back(word);
        line.remove_prefix(blank == std::string_view::npos ? line.size() : blank + 1);
    }
    return words;
}

CommandWords::CommandWords(std::vector<std::string> words) : words_(std::move(words)) {
    for (std::string& word : words_) arguments_.push_back(word.data());
    arguments_.push_back(nullptr);
    ::optind = 0;  // glibc: forget the line before
}

int CommandWords::next_option(const char* letters) {
    std::fflush(stdout);  // getopt speaks on stderr
    return ::getopt(static_cast<int>(words_.size()), arguments_.data(), letters);
}

std::string CommandWords::value() const { return ::optarg; }

std::vector<std::string> CommandWords::operands() const {
    return {arguments_.begin() + ::optind, arguments_.end() - 1};
}

}  // namespace zbdkit::app
