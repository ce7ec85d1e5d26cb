// SPDX-License-Identifier: Apache-2.0
// How `zbdkit io` speaks: results to stdout, complaints to stderr, in the order they were made even
// where both go to one place. Never throws, so it may be called from coroutines; that stdout cannot
// be written is noticed at the end of the command.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <utility>

namespace zbdkit::app {

inline void say(const std::string& text) { std::fputs(text.c_str(), stdout); }

template <class... Values>
void say(fmt::format_string<Values...> format, Values&&... values) {
    say(fmt::format(format, std::forward<Values>(values)...));
}

inline void complain(const std::string& line) {
    std::fflush(stdout);
    std::fputs((line + "\n").c_str(), stderr);
}

template <class... Values>
void complain(fmt::format_string<Values...> format, Values&&... values) {
    complain(fmt::format(format, std::forward<Values>(values)...));
}

}  // namespace zbdkit::app
