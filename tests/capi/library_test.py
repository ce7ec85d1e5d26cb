#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Tests libzbdkit as other programs meet it: what the library shows, the example, an installation.

The build sets what it is about: ZBDKIT_BUILD (the build folder), ZBDKIT (the command), ZBDKIT_LIBRARY,
ZBDKIT_EXAMPLE, ZBDKIT_CC, ZBDKIT_SANITIZE, ZBDKIT_CMAKE.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCE = ROOT / "examples/report_and_append.c"

EXPECTED = """\
67108864 bytes, 16 zones of 4194304 bytes
zone 0: start 0, capacity 4194304, conventional, 0 bytes written
zone 1: start 4194304, capacity 4194304, empty, 0 bytes written
zone 2: start 8388608, capacity 4194304, empty, 0 bytes written
zone 3: start 12582912, capacity 4194304, empty, 0 bytes written
appended 4096 bytes at 4194304, read back: the same
appended 4096 bytes at 4198400, read back: the same
zone 0: start 0, capacity 4194304, conventional, 0 bytes written
zone 1: start 4194304, capacity 4194304, open, 8192 bytes written
zone 2: start 8388608, capacity 4194304, empty, 0 bytes written
zone 3: start 12582912, capacity 4194304, empty, 0 bytes written
"""


def run(*command, **options) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, **options)


class LibraryTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="zbdkit-capi-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def must(self, *command, **options) -> str:
        done = run(*command, **options)
        self.assertEqual(done.returncode, 0, f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def image(self) -> pathlib.Path:
        path = self.folder / "disk.zbd"
        options = "zone.size=4M,zone.conventional_zones=1"
        self.must(os.environ["ZBDKIT"], "create", path, "64M", "-o", options)
        return path

    def test_library_shows_the_functions_of_the_header_and_nothing_else(self):
        header = (ROOT / "include/zbdkit.h").read_text()
        declared = set(re.findall(r"^(?:zbdkit_status|const char\*) (zbdkit_\w+)\(", header, re.MULTILINE))
        listing = self.must("nm", "-D", "--defined-only", os.environ["ZBDKIT_LIBRARY"])
        self.assertIn("zbdkit_append", declared)
        self.assertEqual({line.split()[-1] for line in listing.splitlines()}, declared)

    def test_library_is_named_by_its_interface(self):
        dynamic = self.must("readelf", "-d", os.environ["ZBDKIT_LIBRARY"])
        self.assertIn("[libzbdkit.so.0]", dynamic)

    def test_example_reports_and_appends(self):
        image = self.image()
        self.assertEqual(self.must(os.environ["ZBDKIT_EXAMPLE"], image), EXPECTED)
        self.assertIn("state:     clean", self.must(os.environ["ZBDKIT"], "info", image))

    def test_example_says_what_it_cannot_open(self):
        done = run(os.environ["ZBDKIT_EXAMPLE"], self.folder / "none.zbd")
        self.assertEqual(done.returncode, 1)
        self.assertIn("No such file or directory", done.stderr)

    def test_documented_build_against_an_installation_works(self):
        prefix = self.folder / "usr"
        self.must(os.environ["ZBDKIT_CMAKE"], "--install", os.environ["ZBDKIT_BUILD"], "--prefix", prefix)
        pkgconfig = next(prefix.rglob("zbdkit.pc"))
        environment = os.environ | {"PKG_CONFIG_PATH": str(pkgconfig.parent)}
        flags = self.must("pkg-config", "--cflags", "--libs", "zbdkit", env=environment).split()
        library = next(prefix.rglob("libzbdkit.so"))
        # Where the library is unknown to the system's loader.
        flags.append(f"-Wl,-rpath,{library.parent}")
        if os.environ["ZBDKIT_SANITIZE"]:
            flags += [f"-fsanitize={os.environ['ZBDKIT_SANITIZE']}", "-lstdc++", "-fsanitize-link-c++-runtime"]
        program = self.folder / "report_and_append"
        self.must(os.environ["ZBDKIT_CC"], SOURCE, *flags, "-o", program)
        self.assertEqual(self.must(program, self.image()), EXPECTED)

    def test_installation_has_the_command_the_header_and_the_library(self):
        prefix = self.folder / "usr"
        self.must(os.environ["ZBDKIT_CMAKE"], "--install", os.environ["ZBDKIT_BUILD"], "--prefix", prefix)
        names = {path.name for path in prefix.rglob("*") if not path.is_dir()}
        self.assertEqual(
            names,
            {"zbdkit", "zbdkit.h", "zbdkit.pc", "libzbdkit.so", "libzbdkit.so.0", self.full_name()},
        )

    def full_name(self) -> str:
        version = self.must(os.environ["ZBDKIT"], "--version").split()[1]
        return f"libzbdkit.so.{version}"


if __name__ == "__main__":
    unittest.main()
