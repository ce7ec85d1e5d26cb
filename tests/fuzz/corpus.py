#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seed inputs of the fuzzers from their recipes, which people can read and review.

    tests/fuzz/corpus.py OUTPUT [TARGET...]

Makes OUTPUT/TARGET/NAME for each seed of tests/fuzz/recipes/TARGET.txt, of all targets if none is
named. A recipe:

    # to the end of the line: a comment
    seed NAME           begins an input; its bytes follow, on this line or later ones
    7  0x1f             a byte
    0x1000:2            a little-endian number of 1 to 8 bytes
    "a b\\n"             text, with the escapes of Python
    =NAME               all bytes of an earlier seed
    TOKEN*3             any of these, so many times
"""

from __future__ import annotations

import argparse
import ast
import pathlib
import re
import sys

RECIPES = pathlib.Path(__file__).resolve().parent / "recipes"
TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>"(?:[^"\\]|\\.)*")
      | =(?P<seed>[\w-]+)
      | (?P<number>0x[0-9a-fA-F]+|\d+)(?::(?P<width>[1-8]))?
    )(?:\*(?P<count>\d+))?(?=\s|$)""",
    re.VERBOSE,
)
SEED = re.compile(r"\s*seed\s+([\w-]+)(?=\s|$)")
COMMENT = re.compile(r'^((?:[^"#]|"(?:[^"\\]|\\.)*")*)#.*')


class RecipeError(Exception):
    """Names the recipe, the line and what was expected."""


def token_bytes(match: re.Match[str], seeds: dict[str, bytes]) -> bytes:
    if match["text"]:
        value = ast.literal_eval("b" + match["text"])
    elif match["seed"]:
        value = seeds[match["seed"]]
    else:
        width = int(match["width"] or 1)
        value = int(match["number"], 0).to_bytes(width, "little")
    return value * int(match["count"] or 1)


def parse(text: str, name: str) -> dict[str, bytes]:
    """The seeds of one recipe file, by name."""
    seeds: dict[str, bytes] = {}
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        rest = COMMENT.sub(r"\1", line).rstrip()
        begin = SEED.match(rest)
        if begin:
            current = begin[1]
            if current in seeds:
                raise RecipeError(f"{name}:{number}: there are two seeds '{current}'")
            seeds[current] = b""
            rest = rest[begin.end() :]
        while rest.strip():
            match = TOKEN.match(rest)
            if not match or not current:
                raise RecipeError(f"{name}:{number}: '{rest.strip()}': expected a seed's byte or text")
            try:
                seeds[current] += token_bytes(match, seeds)
            except (KeyError, OverflowError) as error:
                raise RecipeError(f"{name}:{number}: '{match[0].strip()}': {error}") from error
            rest = rest[match.end() :]
    return seeds


def write(output: pathlib.Path, target: str) -> int:
    """Writes the seeds of one target. Returns how many."""
    recipe = RECIPES / f"{target}.txt"
    if not recipe.is_file():
        raise RecipeError(f"no recipe for '{target}': expected {recipe}")
    folder = output / target
    folder.mkdir(parents=True, exist_ok=True)
    seeds = parse(recipe.read_text(), recipe.name)
    for name, data in seeds.items():
        (folder / name).write_bytes(data)
    return len(seeds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    arguments = parser.parse_args()
    targets = arguments.targets or sorted(path.stem for path in RECIPES.glob("*.txt"))
    try:
        count = sum(write(arguments.output, target) for target in targets)
    except RecipeError as error:
        print(f"corpus.py: {error}", file=sys.stderr)
        return 1
    print(f"{count} seeds of {len(targets)} fuzzers in {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
