# SPDX-License-Identifier: Apache-2.0
"""Tests of check_examples.py, on a small tree."""

import contextlib
import io
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.dont_write_bytecode = True

import check_examples  # noqa: E402

CODE = "// SPDX-License-Identifier: Apache-2.0\n// What it is.\nint x;\n"
PAGE = "[other](o.md) [x](../tests/x.cc):\n\n```cpp\n// What it is.\nint x;\n```\n\n```\nplain\n```\n"


class ExamplesTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.write("tests/x.cc", CODE)
        self.write("docs/graph.md", PAGE)

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def run_check(self, *options: str) -> int:
        with contextlib.redirect_stdout(io.StringIO()):
            return check_examples.main([*options, str(self.root)])

    def test_same_text(self) -> None:
        self.assertEqual(self.run_check(), 0)

    def test_other_text(self) -> None:
        self.write("tests/x.cc", CODE + "int y;\n")
        self.assertEqual(self.run_check(), 1)

    def test_no_examples(self) -> None:
        self.write("docs/graph.md", "nothing\n")
        self.assertEqual(self.run_check(), 1)

    def test_update(self) -> None:
        self.write("tests/x.cc", CODE + "int y;\n")
        self.assertEqual(self.run_check("--update"), 0)
        self.assertEqual(self.run_check(), 0)
        page = (self.root / "docs/graph.md").read_text()
        self.assertIn("int x;\nint y;\n```\n\n```\nplain\n```\n", page)


if __name__ == "__main__":
    unittest.main()
