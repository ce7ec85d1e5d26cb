# SPDX-License-Identifier: Apache-2.0
"""Tests of check_headers.py, on a small tree."""

import contextlib
import io
import json
import os
import pathlib
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.dont_write_bytecode = True

import check_headers  # noqa: E402


@unittest.skipUnless(shutil.which("clang++-19"), "clang++-19 is missing")
class HeadersTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(os.path.realpath(folder.name))
        self.build = self.root / "build"
        self.build.mkdir()
        self.write("src/io/task.h", "#pragma once\ninline int one() { return 1; }\n")
        self.write("src/io/task.cc", '#include "io/task.h"\n')
        self.write("src/io/sync.h", '#pragma once\n#include "io/task.h"\n')
        command = f"ccache clang++-19 -I{self.root}/src -std=c++23 -Wall -Werror -o x.o -c {self.root}"
        entries = [{"file": f"{self.root}/src/io/task.cc", "command": f"{command}/src/io/task.cc"}]
        (self.build / "compile_commands.json").write_text(json.dumps(entries))

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def run_check(self) -> tuple[int, str]:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            status = check_headers.main(self.root, self.build)
        return status, output.getvalue()

    def test_the_build_proves_own_headers(self) -> None:
        status, output = self.run_check()
        self.assertEqual(status, 0, output)
        self.assertIn("2 headers: 1 proved by the build, 1 compiled alone (1 of them now)", output)

    def test_the_second_run_compiles_nothing(self) -> None:
        self.run_check()
        self.assertIn("1 compiled alone (0 of them now)", self.run_check()[1])

    def test_a_change_below_is_noticed(self) -> None:
        self.run_check()
        self.write("src/io/task.h", "#pragma once\nbroken\n")
        status, output = self.run_check()
        self.assertEqual(status, 1)
        self.assertIn("src/io/sync.h:1: does not compile alone", output)

    def test_a_header_that_needs_another(self) -> None:
        self.write("src/io/scope.h", "#pragma once\ninline int two() { return one() + 1; }\n")
        status, output = self.run_check()
        self.assertEqual(status, 1)
        self.assertIn("src/io/scope.h:1: does not compile alone", output)

    def test_a_source_that_includes_another_first_proves_nothing(self) -> None:
        self.write("src/io/task.cc", '#include "io/sync.h"\n#include "io/task.h"\n')
        self.assertIn("0 proved by the build, 2 compiled alone", self.run_check()[1])


if __name__ == "__main__":
    unittest.main()
