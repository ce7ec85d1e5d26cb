#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that every header of src/, include/ and tests/ compiles alone.

    check_headers.py ROOT BUILD

A header whose x.cc is built and includes it first is proved by the build. Each other is compiled
by itself, with the options of a built source of its folder or the nearest one, and the outcome is
kept in BUILD until the header, something it includes or an option changes.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile


def commands(build: pathlib.Path) -> dict[str, list[str]]:
    """The compiler's arguments for each built source, without source, output and ccache."""
    found = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        arguments = shlex.split(entry["command"])
        if "ccache" in os.path.basename(arguments[0]):
            arguments = arguments[1:]
        kept, skip = [], False
        for argument in arguments:
            if skip or argument in ("-o", "-MF", "-MT"):
                skip = not skip
            elif argument not in ("-c", "-MD", entry["file"]):
                kept.append(argument)
        found[entry["file"]] = kept
    return found


def proved_by_build(root: pathlib.Path, header: pathlib.Path, built: dict[str, list[str]]) -> bool:
    source = header.with_suffix(".cc")
    if str(source) not in built:
        return False
    first = re.search(r'^\s*#\s*include\s*["<]([^">]+)', source.read_text(), re.MULTILINE)
    return first is not None and str(header.relative_to(root / "src")) == first.group(1)


def nearest(header: pathlib.Path, built: dict[str, list[str]]) -> list[str]:
    """The options of the built source that shares most of its path with the header."""

    def shared(source: str) -> tuple[int, bool, str]:
        return len(os.path.commonpath((source, header))), not source.endswith("_fuzz.cc"), source

    return built[max(built, key=shared)]


def digest(command: list[str], files: list[str]) -> str:
    """Of the command and the contents of files; empty if one is gone."""
    state = hashlib.sha256("\0".join(command).encode())
    for path in files:
        try:
            state.update(path.encode() + b"\0" + pathlib.Path(path).read_bytes())
        except OSError:
            return ""
    return state.hexdigest()


def compile_alone(command: list[str], header: pathlib.Path) -> tuple[str, list[str]]:
    """(diagnostics or nothing, the files that were read)"""
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "alone.cc"
        dependencies = pathlib.Path(folder) / "alone.d"
        source.write_text(f'#include "{header}"\n')
        extra = ["-fsyntax-only", "-MMD", "-MF", str(dependencies), str(source)]
        done = subprocess.run([*command, *extra], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return done.stderr or f"the compiler ended with status {done.returncode}", []
        names = dependencies.read_text().replace("\\\n", " ").split(":", 1)[1].split()
        return "", sorted(name for name in names if name != str(source))


def main(root: pathlib.Path, build: pathlib.Path) -> int:
    built = commands(build)
    headers = [path for top in ("src", "include", "tests") for path in (root / top).rglob("*.h")]
    alone = sorted(
        header
        for header in headers
        if not header.is_relative_to(root / "src") or not proved_by_build(root, header, built)
    )
    memory_file = build / "headers.json"
    try:
        memory = json.loads(memory_file.read_text())
    except (OSError, ValueError):
        memory = {}

    def check(header: pathlib.Path) -> tuple[str, str, dict]:
        command, known = nearest(header, built), memory.get(str(header), {})
        if known.get("digest") == digest(command, known.get("files", [])) != "":
            return str(header), "", known
        problem, files = compile_alone(command, header)
        return str(header), problem, {"digest": digest(command, files), "files": files}

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = list(pool.map(check, alone))
    memory_file.write_text(json.dumps({name: known for name, bad, known in outcomes if not bad}))
    for name, problem, _ in outcomes:
        if problem:
            print(f"{os.path.relpath(name, root)}:1: does not compile alone; add what it needs")
            print(problem)
    failed = sum(1 for _, problem, _ in outcomes if problem)
    fresh = sum(1 for name, _, known in outcomes if memory.get(name) != known)
    print(f"{len(headers)} headers: {len(headers) - len(alone)} proved by the build, "
          f"{len(alone)} compiled alone ({fresh} of them now), {failed} bad")  # fmt: skip
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__.strip())
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()))
