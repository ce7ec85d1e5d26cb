// SPDX-License-Identifier: Apache-2.0
// Drives a fuzzer without libFuzzer, so that every build and every compiler runs each fuzz target
// for a while: the seeds of a corpus as they are, then seeded random inputs, half of them seeds
// that were changed a little. Options: --seed=N --runs=N --corpus=FOLDER; or the files of a crash.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/seed.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;
using Random = std::mt19937_64;

/// Half of the inputs are plain noise; the others repeat few values, which reaches deeper into
/// formats that are mostly zeroes and small numbers.
Input make_noise(Random& random) {
    constexpr std::size_t kLongest = 8192;
    Input input(random() % (random() % 4 == 0 ? kLongest : 256));
    const bool sparse = random() % 2 == 0;
    for (std::uint8_t& byte : input) {
        byte = sparse && random() % 4 != 0 ? static_cast<std::uint8_t>(random() % 4)
                                           : static_cast<std::uint8_t>(random());
    }
    return input;
}

std::size_t any_place(const Input& input, Random& random) { return random() % input.size(); }

/// Changes a few bytes of a seed; now and then cuts it off or puts another one behind it.
Input mutate(const std::vector<Input>& seeds, Random& random) {
    Input input = seeds[random() % seeds.size()];
    if (input.empty()) return input;
    for (std::size_t count = 1 + random() % 4; count > 0; --count) {
        std::uint8_t& byte = input[any_place(input, random)];
        switch (random() % 4) {
            case 0: byte = static_cast<std::uint8_t>(random()); break;
            case 1: byte ^= static_cast<std::uint8_t>(1U << random() % 8); break;
            case 2: byte = static_cast<std::uint8_t>(byte + random() % 3 - 1); break;
            default: byte = input[any_place(input, random)]; break;
        }
    }
    if (random() % 8 == 0) input.resize(any_place(input, random));
    if (random() % 8 == 0) {
        const Input& other = seeds[random() % seeds.size()];
        input.insert(input.end(), other.begin(), other.end());
    }
    return input;
}

std::optional<Input> read_file(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        std::fprintf(stderr, "cannot read %s\n", path.c_str());
        return std::nullopt;
    }
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    return Input(bytes.begin(), bytes.end());
}

/// The files of a folder, by name, so that a seed of the random numbers means the same again.
std::optional<std::vector<Input>> read_corpus(const std::filesystem::path& folder) {
    std::error_code error;
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
        paths.push_back(entry.path());
    }
    if (error) {
        std::fprintf(stderr, "cannot list %s: %s\n", folder.c_str(), error.message().c_str());
        return std::nullopt;
    }
    std::ranges::sort(paths);
    std::vector<Input> seeds;
    for (const std::filesystem::path& path : paths) {
        std::optional<Input> input = read_file(path);
        if (!input) return std::nullopt;
        seeds.push_back(std::move(*input));
    }
    return seeds;
}

struct Options {
    std::uint64_t runs = 100'000;
    std::string corpus;
    std::vector<std::string> files;
};

Options parse_options(int argc, char** argv) {
    Options options;
    for (int i = 1; i < argc; ++i) {
        const std::string argument = argv[i];
        if (argument.starts_with("--seed=")) {
            zbdkit::test::set_seed(std::strtoull(argument.c_str() + 7, nullptr, 0));
        } else if (argument.starts_with("--runs=")) {
            options.runs = std::strtoull(argument.c_str() + 7, nullptr, 0);
        } else if (argument.starts_with("--corpus=")) {
            options.corpus = argument.substr(9);
        } else {
            options.files.push_back(argument);
        }
    }
    return options;
}

int run_files(const std::vector<std::string>& files) {
    for (const std::string& file : files) {
        const std::optional<Input> input = read_file(file);
        if (!input) return 2;
        LLVMFuzzerTestOneInput(input->data(), input->size());
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const Options options = parse_options(argc, argv);
    if (!options.files.empty()) return run_files(options.files);
    std::vector<Input> seeds;
    if (!options.corpus.empty()) {
        std::optional<std::vector<Input>> found = read_corpus(options.corpus);
        if (!found) return 2;
        seeds = std::move(*found);
    }
    std::printf("%zu seeds and %llu inputs, reproduce with --seed=%llu\n", seeds.size(),
                static_cast<unsigned long long>(options.runs),
                static_cast<unsigned long long>(zbdkit::test::seed()));
    std::fflush(stdout);
    for (const Input& input : seeds) LLVMFuzzerTestOneInput(input.data(), input.size());
    Random random(zbdkit::test::seed());
    for (std::uint64_t run = 0; run < options.runs; ++run) {
        const bool from_seed = !seeds.empty() && run % 2 == 0;
        const Input input = from_seed ? mutate(seeds, random) : make_noise(random);
        LLVMFuzzerTestOneInput(input.data(), input.size());
    }
    return 0;
}
