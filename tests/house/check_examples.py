#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that the code in docs/graph.md is the code that compiles.

    tests/house/check_examples.py [--update] [ROOT]

Each block of C++ must be the text of the file that the last link before it names, but for the line
with the licence. --update writes the files' text into the page.
"""

from __future__ import annotations

import pathlib
import re
import sys

PAGE = "docs/graph.md"
BLOCK = re.compile(r"^```cpp\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((\S+?)\)")


def code_of(root: pathlib.Path, before: str) -> str:
    """The text of the file that the end of `before` links to."""
    linked = LINK.findall(before)
    path = root / "docs" / linked[-1]
    return path.read_text().split("\n", 1)[1]


def with_code(root: pathlib.Path, page: str) -> str:
    """The page with the files' text in its blocks."""
    parts = []
    end = 0
    for block in BLOCK.finditer(page):
        parts += [page[end : block.start()], "```cpp\n", code_of(root, page[: block.start()]), "```"]
        end = block.end()
    return "".join([*parts, page[end:]])


def main(arguments: list[str]) -> int:
    update = "--update" in arguments
    roots = [argument for argument in arguments if argument != "--update"]
    root = pathlib.Path(roots[0] if roots else pathlib.Path(__file__).resolve().parents[2])
    page = (root / PAGE).read_text()
    if not BLOCK.search(page):
        print(f"{PAGE}: no blocks of C++ are left: expected the examples")
        return 1
    expected = with_code(root, page)
    if page == expected:
        print(f"{PAGE}: {len(BLOCK.findall(page))} examples are those that compile")
        return 0
    if update:
        (root / PAGE).write_text(expected)
        print(f"{PAGE}: updated")
        return 0
    print(f"{PAGE}: an example is not the text of its file; run tests/house/check_examples.py --update")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
