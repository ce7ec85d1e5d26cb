# SPDX-License-Identifier: Apache-2.0
"""Tests of ./check itself, on a small tree with the same presets and programs that pretend."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

PRESETS = """{ "version": 6, "configurePresets": [
  { "name": "base", "hidden": true, "generator": "Ninja",
    "binaryDir": "${sourceDir}/build/${presetName}" },
  { "name": "dev", "inherits": "base" }, { "name": "tsan", "inherits": "base" },
  { "name": "release", "inherits": "base" } ] }"""

# No compiler is needed: programs are scripts, and building is copying.
CMAKE = """cmake_minimum_required(VERSION 3.25)
project(pretended LANGUAGES NONE)
enable_testing()
add_custom_command(OUTPUT io_test COMMAND ${CMAKE_COMMAND} -E copy ${CMAKE_SOURCE_DIR}/io_test .
                   DEPENDS ${CMAKE_SOURCE_DIR}/io_test)
add_custom_target(all_of_it ALL DEPENDS io_test)
add_custom_target(zbdkit COMMAND ${CMAKE_COMMAND} -E true)
add_custom_target(zbdkit-crash COMMAND ${CMAKE_COMMAND} -E true)
add_custom_target(bench COMMAND ${CMAKE_COMMAND} -E true)
add_test(NAME unit.io COMMAND ${CMAKE_BINARY_DIR}/io_test)
set_tests_properties(unit.io PROPERTIES LABELS unit)
add_test(NAME house.tool COMMAND sh -c "echo no tool; exit 77")
set_tests_properties(house.tool PROPERTIES LABELS house SKIP_RETURN_CODE 77)
"""

IO_TEST = """#!/bin/sh
echo "seed $ZBDKIT_SEED"
cat >"$ZBDKIT_RESULTS/unit.io.xml" <<'XML'
<testsuites><testsuite name="Io"><testcase name="a" classname="Io" status="run" />
<testcase name="b" classname="Io" status="run" /></testsuite></testsuites>
XML
"""

GUEST = """class Cache:
    def missing(self):
        return %r
"""

GUEST_TEST = """def test_boots():
    pass

def test_reports():
    pass
"""


class CheckTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name) / "tree"
        for path in ("check", ".ci/run", "dev/count_tests.py", "dev/select_tests.py"):
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, self.root / path)
        self.write("CMakePresets.json", PRESETS)
        self.write("CMakeLists.txt", CMAKE)
        self.write("io_test", IO_TEST, 0o755)
        self.write("dev/setup", '#!/bin/sh\necho "setup $*" >>setup.calls\n', 0o755)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def check(self, *options: str, program: str = "check", **more: str) -> tuple[int, list[str]]:
        keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        command = ["bash", str(self.root / program), *options]
        done = subprocess.run(
            command, env=keep | more, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        return done.returncode, done.stdout.splitlines()

    def guests(self, missing: str | None) -> None:
        self.write("tests/guest/guest.py", GUEST % missing)
        self.write("tests/guest/test_boot.py", GUEST_TEST)

    def assert_closed(self, got: tuple[int, list[str]], status: int, closing: str) -> None:
        text = "\n".join(got[1])
        self.assertEqual((got[0], got[1][-1]), (status, closing), text)

    def setup_calls(self) -> str:
        calls = self.root / "setup.calls"
        return calls.read_text() if calls.exists() else ""

    def test_all_of_it_twice(self) -> None:
        self.guests(None)
        for _ in range(2):
            got = self.check()
            # dev and tsan: two cases each; one skip; two guests.
            self.assert_closed(got, 0, "6 passed, 0 failed, 1 skipped")
        self.assertIn("tsan               2       0        0", got[1])
        self.assertIn("guest              2       0        0", got[1])
        self.assertEqual(self.setup_calls(), "setup \nsetup --guest\n" * 2)

    def test_quick(self) -> None:
        self.guests(None)
        self.assert_closed(self.check("--quick"), 0, "2 passed, 0 failed, 1 skipped")
        self.assertEqual(self.setup_calls(), "setup \n")
        self.assertFalse((self.root / "build/release").exists())

    def test_bench(self) -> None:
        for status, closing in ((0, "2 passed, 0 failed, 1 skipped"),
                                (1, "2 passed, 1 failed, 1 skipped")):  # fmt: skip
            self.write("bench/run", f"import sys\nsys.exit({status} if '--check' in sys.argv else 3)")
            self.assert_closed(self.check("--quick", "--bench"), status, closing)

    def test_no_setup(self) -> None:
        self.assert_closed(self.check("--quick", "--no-setup"), 0, "2 passed, 0 failed, 1 skipped")
        self.assertEqual(self.setup_calls(), "")

    def test_setup_fails(self) -> None:
        self.write("dev/setup", "#!/bin/sh\necho no network\nexit 1\n", 0o755)
        got = self.check("--quick")
        self.assert_closed(got, 1, "0 passed, 1 failed, 0 skipped")
        self.assertIn("no network", got[1])

    def test_build_fails(self) -> None:
        (self.root / "io_test").unlink()
        self.assert_closed(self.check("--quick"), 1, "0 passed, 1 failed, 0 skipped")

    def test_configuring_fails(self) -> None:
        self.write("CMakeLists.txt", CMAKE + 'message(FATAL_ERROR "older compilers")\n')
        self.assert_closed(self.check("--quick"), 1, "0 passed, 1 failed, 0 skipped")

    def test_a_test_fails(self) -> None:
        self.write("io_test", "#!/bin/sh\necho Segmentation fault\nexit 139\n", 0o755)
        got = self.check("--quick")
        self.assert_closed(got, 1, "0 passed, 1 failed, 1 skipped")
        self.assertIn("    Segmentation fault", got[1])

    def test_no_tests(self) -> None:
        self.write("CMakeLists.txt", CMAKE.split("add_test")[0])
        self.assertEqual(self.check("--quick")[0], 1)

    def test_release_build_fails(self) -> None:
        self.guests(None)
        self.write("CMakeLists.txt", CMAKE.replace("-E true", "-E false"))
        self.assert_closed(self.check(), 1, "4 passed, 1 failed, 1 skipped")

    def test_guests_missing(self) -> None:
        self.guests("no guest cache: run dev/setup --guest")
        got = self.check()
        self.assert_closed(got, 0, "4 passed, 0 failed, 3 skipped")
        self.assertTrue(any("no guest cache: run dev/setup" in line for line in got[1]))

    def test_guests_missing_in_ci(self) -> None:
        self.guests("no guest cache: run dev/setup --guest")
        self.assert_closed(self.check(program=".ci/run"), 1, "4 passed, 2 failed, 1 skipped")

    def test_a_guest_test_fails(self) -> None:
        self.guests(None)
        self.write("tests/guest/test_boot.py", GUEST_TEST + "\ndef test_x():\n    assert False\n")
        self.assert_closed(self.check(), 1, "6 passed, 1 failed, 1 skipped")

    def test_guest_tests_that_do_not_load(self) -> None:
        self.guests(None)
        self.write("tests/guest/guest.py", "import nowhere\n")
        self.write("tests/guest/test_boot.py", "import guest\n")
        status, lines = self.check()
        self.assertEqual(status, 1)
        self.assertNotIn(", 0 failed", lines[-1])

    def test_seed(self) -> None:
        _, lines = self.check("--quick", "--seed", "42")
        self.assertTrue(lines[0].startswith("== seed 42 "), lines[0])
        self.assertIn("seed 42", (self.root / "build/check/dev/ctest.xml").read_text())

    def test_seed_of_the_commit(self) -> None:
        git = ["git", "-C", str(self.root), "-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run([*git, "init", "-q"], check=True)
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, check=True).stdout
        _, lines = self.check("--quick")
        self.assertTrue(lines[0].startswith(f"== seed {int(head[:8], 16)} "), lines[0])

    def test_wrong_options(self) -> None:
        for options in (("--frob",), ("--seed",), ("--seed", "x")):
            with self.subTest(options):
                self.assertEqual(self.check(*options)[0], 2)

    def test_help(self) -> None:
        status, lines = self.check("--help")
        self.assertEqual(status, 0)
        self.assertTrue(lines[0].startswith("usage: ./check"))


if __name__ == "__main__":
    unittest.main()
