// SPDX-License-Identifier: Apache-2.0
// Lists among the options of a filter, as dotted keys ("rule.0.event=read,rule.1...") or as words
// in one value ("ops=read:write"). JSON lists arrive as dotted keys. And the message for a value
// that is wrong. Pure; used while opening.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/options.h"

namespace zbdkit {

/// The elements below "prefix.N.", in order of N; gaps do not matter.
/// @return options without that prefix, whose messages name the element
[[nodiscard]] std::vector<OptionValues> list_elements(const OptionValues& options,
                                                      std::string_view prefix);

/// The words of "key=a:b" and of "key.0=a,key.1=b", in this order.
[[nodiscard]] std::vector<std::string> word_list(const OptionValues& options, std::string_view key);

/// The failure for an option's value: "driver 'fault': option 'errno': <problem>".
[[nodiscard]] std::unexpected<Failure> bad_option(const OptionValues& options, std::string_view key,
                                                  std::string_view problem);

}  // namespace zbdkit
