// SPDX-License-Identifier: Apache-2.0
// A line of `zbdkit io`: its words, its options as getopt reads them, its numbers, and what is
// printed of them.
//
//   input = letters:u8 text
#include <getopt.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "app/io_number.h"
#include "app/io_text.h"
#include "app/io_words.h"
#include "base/assert.h"
#include "base/units.h"
#include "tests/fuzz/input.h"

namespace zbdkit::app {
namespace {

constexpr std::size_t kLongestText = 1024;

void check_number(const std::string& word) {
    const Outcome<std::uint64_t> number = parse_io_number(word);
    ZBDKIT_ASSERT(number ? *number <= kMaxOffset
                         : number.error().message.starts_with("Parsing error: "));
    if (number) ZBDKIT_ASSERT(parse_io_number(std::to_string(*number)).value() == *number);
    const Outcome<std::byte> pattern = parse_io_pattern(word);
    // Eights and nines aside, whose digits after a zero are octal, both read a number alike.
    if (pattern && number && !word.starts_with('0') && word.find_first_of(".bB") == word.npos) {
        ZBDKIT_ASSERT(word.starts_with('+') || std::isspace(static_cast<unsigned char>(word[0])) ||
                      *number == std::to_integer<std::uint64_t>(*pattern));
    }
    const Outcome<std::uint64_t> time = parse_io_milliseconds(word);
    ZBDKIT_ASSERT(time ? *time <= 86'400'000 : !time.error().message.empty());
    if (!number || !time) return;
    const IoStatistics statistics{
        .action = "read", .offset = *number, .length = *number, .time_ns = *time};
    ZBDKIT_ASSERT(!io_statistics_text(statistics).empty());
    ZBDKIT_ASSERT(!io_statistics_csv(statistics).empty());
}

void check_options(std::vector<std::string> split, const char* letters) {
    CommandWords words(std::move(split));
    if (words.is_empty()) return;
    // No word holds more options than it has letters.
    std::size_t most = 1;
    for (std::size_t i = 0; i <= words.count(); ++i) most += words.word(i).size();
    for (int option = words.next_option(letters); option != -1;
         option = words.next_option(letters)) {
        ZBDKIT_ASSERT(most-- > 0);
        if (option == 'P') ZBDKIT_ASSERT(words.value().size() <= kLongestText);
    }
    ZBDKIT_ASSERT(words.operands().size() <= words.count());
}

}  // namespace
}  // namespace zbdkit::app

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace zbdkit;
    if (size == 0 || size > app::kLongestText) return 0;
    ::opterr = 0;  // what getopt says of wrong options would fill the terminal
    const ConstBytes input = std::as_bytes(std::span(data, size));
    constexpr std::array kLetters = {"CfnpP:quz", "", "b:P:l:s:v", "+q"};
    const std::string_view text = test::text_of(input.subspan(1));
    const std::vector<std::string> words = app::split_words(text);
    for (const std::string& word : words) {
        ZBDKIT_ASSERT(!word.empty() && word.find(' ') == std::string::npos);
        app::check_number(word);
    }
    app::check_options(words, kLetters.at(std::to_integer<std::size_t>(input[0]) % 4));
    ZBDKIT_ASSERT(app::io_dump(0, input).size() >= input.size());
    return 0;
}
