#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Compares what is said of trace points: by the program, by docs/tracing.md, and by its USDT notes.

    trace_points_test.py ZBDKIT
"""

import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
zbdkit = sys.argv.pop()


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def points() -> dict[str, tuple[str, str]]:
    """Name: when it passes, and its arguments, as `-T help` says."""
    lines = run(zbdkit, "serve", "-T", "help").splitlines()
    pairs = zip(lines[::2], lines[1::2], strict=True)
    return {first.split()[0]: (first.split(maxsplit=1)[1], second.strip()) for first, second in pairs}


class TracePointsTest(unittest.TestCase):
    def test_page_has_the_table_of_the_program(self):
        rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", (ROOT / "docs/tracing.md").read_text(), re.MULTILINE)
        self.assertEqual([(name, *said) for name, said in points().items()], rows)

    def test_each_point_is_a_probe_with_as_many_arguments(self):
        if "USDT probes" not in run(zbdkit, "--version"):
            self.skipTest("built without <sys/sdt.h>")
        note = re.compile(r"Provider: zbdkit\n\s+Name: (\w+)\n\s+Location: .*Semaphore: 0x(\w+)\n\s+Arguments: (.*)")
        probes = {}
        for name, semaphore, arguments in note.findall(run("readelf", "-n", zbdkit)):
            self.assertNotEqual(int(semaphore, 16), 0, f"{name} is always on")
            # "8@-16(%rbp) 4@$1": each argument has one @.
            probes[name] = arguments.count("@")
        expected = {name: arguments.count("(") for name, (_, arguments) in points().items()}
        self.assertEqual(probes, expected)

    def test_probes_are_where_their_addresses_say_in_the_file(self):
        """What tools of bcc rely on; see cmake/compiler.cmake."""
        segments = re.findall(r"^\s+LOAD\s+0x(\w+) 0x(\w+) .*R E", run("readelf", "-lW", zbdkit), re.MULTILINE)
        self.assertNotEqual(segments, [])
        for offset, address in segments:
            self.assertEqual(int(offset, 16), int(address, 16))


if __name__ == "__main__":
    unittest.main()
