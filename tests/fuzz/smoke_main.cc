// SPDX-License-Identifier: Apache-2.0
// Drives a fuzzer without libFuzzer: seeded random inputs of many lengths, so that every build
// and every compiler runs each fuzz target for a while. Options: --seed=N --runs=N, or input files.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/seed.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

/// Half of the inputs are plain noise; the others repeat few values, which reaches deeper into
/// formats that are mostly zeroes and small numbers.
std::vector<std::uint8_t> make_input(std::mt19937_64& random) {
    constexpr std::size_t kLongest = 8192;
    std::vector<std::uint8_t> input(random() % (random() % 4 == 0 ? kLongest : 256));
    const bool sparse = random() % 2 == 0;
    for (std::uint8_t& byte : input) {
        byte = sparse && random() % 4 != 0 ? static_cast<std::uint8_t>(random() % 4)
                                           : static_cast<std::uint8_t>(random());
    }
    return input;
}

int run_file(const char* path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        std::fprintf(stderr, "cannot read %s\n", path);
        return 2;
    }
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    const std::vector<std::uint8_t> input(bytes.begin(), bytes.end());
    LLVMFuzzerTestOneInput(input.data(), input.size());
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    std::uint64_t runs = 100'000;
    for (int i = 1; i < argc; ++i) {
        const std::string_view argument = argv[i];
        if (argument.starts_with("--seed=")) {
            zbdkit::test::set_seed(std::strtoull(argv[i] + 7, nullptr, 0));
        } else if (argument.starts_with("--runs=")) {
            runs = std::strtoull(argv[i] + 7, nullptr, 0);
        } else {
            return run_file(argv[i]);
        }
    }
    std::printf("%llu inputs, reproduce with --seed=%llu\n", static_cast<unsigned long long>(runs),
                static_cast<unsigned long long>(zbdkit::test::seed()));
    std::fflush(stdout);
    std::mt19937_64 random(zbdkit::test::seed());
    for (std::uint64_t run = 0; run < runs; ++run) {
        const std::vector<std::uint8_t> input = make_input(random);
        LLVMFuzzerTestOneInput(input.data(), input.size());
    }
    return 0;
}
