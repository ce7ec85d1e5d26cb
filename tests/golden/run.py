#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs transcripts of shell sessions and compares what they print with what they say.

    tests/golden/run.py --zbdkit build/dev/zbdkit [--update] [FILE.golden ...]

A transcript is text: `$ command` (continued by lines with `> `), then what it prints, stdout and
stderr together, then `[N]` if it exits with N and not 0. Lines with `#` before a command are
comments. Every transcript runs in an empty folder of its own, each command in a bash of its own,
with zbdkit and the helpers of tests/golden/bin in PATH. What differs from run to run is replaced
by a word: UUID, PID, DIR, ALLOCATED.

--update writes what was printed into the transcript. Read the diff before you commit it.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
COMMAND_TIMEOUT_S = 60


@dataclasses.dataclass
class Step:
    comments: list[str]
    command: list[str]  # its lines as written, without `$ ` and `> `
    expected: list[str]


def parse(text: str) -> tuple[list[Step], list[str]]:
    """The steps, and the comments after the last one."""
    steps: list[Step] = []
    comments: list[str] = []
    after_output = True
    for line in text.splitlines():
        if line.startswith("$ "):
            steps.append(Step(comments, [line[2:]], []))
            comments, after_output = [], False
        elif line.startswith("> ") and not after_output and not steps[-1].expected:
            steps[-1].command.append(line[2:])
        elif not line or line.startswith("#"):
            comments.append(line)  # which also ends the output of the command before
            after_output = True
        elif after_output:
            raise SystemExit(f"neither a command nor a comment: {line!r}")
        else:
            steps[-1].expected.append(line)
    return steps, comments


def render(steps: list[Step], trailing: list[str]) -> str:
    lines: list[str] = []
    for step in steps:
        lines += step.comments
        lines += [("$ " if i == 0 else "> ") + part for i, part in enumerate(step.command)]
        lines += step.expected
    return "\n".join(lines + trailing) + "\n"


MASKS = (
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "UUID"),
    (re.compile(r"\bprocess \d+"), "process PID"),
    (re.compile(r"[\d.]+ \w+ of it allocated"), "ALLOCATED of it allocated"),
    (re.compile(r'("file_allocated": )\d+'), r"\1ALLOCATED"),
)


def masked(text: str, folder: str) -> list[str]:
    text = text.replace(folder, "DIR")
    for pattern, word in MASKS:
        text = pattern.sub(word, text)
    # A blank line would end the output in the transcript.
    return [line.rstrip() or "." for line in text.splitlines()]


class Session:
    """A folder with zbdkit in PATH."""

    def __init__(self, zbdkit: pathlib.Path) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="zbdkit-golden-")
        root = pathlib.Path(self._temporary.name).resolve()
        self.folder = root / "work"
        self.daemons = root / "daemons"
        bin_folder = root / "bin"
        for folder in (self.folder, self.daemons, bin_folder):
            folder.mkdir()
        (bin_folder / "zbdkit").symlink_to(zbdkit)
        self._environment = dict(os.environ) | {
            "PATH": f"{bin_folder}:{HERE / 'bin'}:{os.environ['PATH']}",
            "LC_ALL": "C",
            "GOLDEN_DAEMONS": str(self.daemons),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._environment.pop("NOTIFY_SOCKET", None)

    def run(self, command: str) -> list[str]:
        try:
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=COMMAND_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            return masked((late.stdout or b"").decode(), str(self.folder)) + ["[timeout]"]
        printed = masked(done.stdout.decode(errors="replace"), str(self.folder))
        return printed + ([f"[{done.returncode}]"] if done.returncode else [])

    def close(self) -> None:
        """Ends what a failed transcript left running: only what bin/daemon started here."""
        for pid_file in self.daemons.glob("*.pid"):
            try:
                os.kill(int(pid_file.read_text()), signal.SIGKILL)
            except (ProcessLookupError, ValueError):
                pass
        self._temporary.cleanup()


def run_transcript(path: pathlib.Path, zbdkit: pathlib.Path, update: bool) -> bool:
    steps, trailing = parse(path.read_text())
    session = Session(zbdkit)
    passed = True
    try:
        for step in steps:
            printed = session.run("\n".join(step.command))
            if printed == step.expected:
                continue
            passed = False
            if update:
                step.expected = printed
                continue
            print(f"{path.name}: $ {step.command[0]}")
            diff = difflib.unified_diff(step.expected, printed, "expected", "printed", lineterm="")
            print("\n".join(diff))
    finally:
        session.close()
    if update and not passed:
        path.write_text(render(steps, trailing))
        print(f"{path.name}: updated")
    return passed or update


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--zbdkit", type=pathlib.Path, required=True)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    arguments = parser.parse_args()
    files = arguments.files or sorted(HERE.glob("*.golden"))
    zbdkit = arguments.zbdkit.resolve()
    results = [run_transcript(path, zbdkit, arguments.update) for path in files]
    print(f"{sum(results)} of {len(results)} transcripts passed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
