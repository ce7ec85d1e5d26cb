#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Finds ctest entries in a build folder that is configured but not built.

    dev/select_tests.py BUILD [--label LABEL] [--name NAME]...

Prints two lines: the programs of the entries, for cmake --build --target, and a regular expression
that matches their names, for ctest -R. Prints nothing if there is none. (ctest itself does not say
which program an entry runs before it is built.)
"""

from __future__ import annotations

import argparse
import pathlib
import re
import sys

ADD_TEST = re.compile(r'^add_test\(\[=\[(.+?)\]=\] (".*")\)$', re.MULTILINE)
WORD = re.compile(r'"([^"]*)"')
LABELS = re.compile(r'^set_tests_properties\(\[=\[(.+?)\]=\] PROPERTIES .*?\bLABELS "([^"]*)"', re.MULTILINE)


def select(build: pathlib.Path, label: str | None, names: list[str]) -> dict[str, list[pathlib.Path]]:
    """Of each entry that has the label or one of the names, the programs of the build folder: what it runs, and what that is told to run."""
    programs: dict[str, list[pathlib.Path]] = {}
    chosen: set[str] = set()
    for file in sorted(build.rglob("CTestTestfile.cmake")):
        text = file.read_text()
        for name, command in ADD_TEST.findall(text):
            words = [pathlib.Path(word) for word in WORD.findall(command)]
            programs[name] = [word for word in words if word.is_relative_to(build)]
        chosen |= {name for name, labels in LABELS.findall(text) if label in labels.split(";")}
    chosen |= set(names)
    return {name: path for name, path in sorted(programs.items()) if name in chosen}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--label")
    parser.add_argument("--name", action="append", default=[])
    options = parser.parse_args(arguments)
    build = options.build.resolve()
    entries = select(build, options.label, options.name)
    if entries:
        print(" ".join(sorted({str(path.relative_to(build)) for paths in entries.values() for path in paths})))
        print("^(" + "|".join(re.escape(name) for name in entries) + ")$")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
