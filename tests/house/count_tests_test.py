# SPDX-License-Identifier: Apache-2.0
"""Tests of dev/count_tests.py and dev/select_tests.py on results as ctest, gtest and pytest write them."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "dev"))
sys.dont_write_bytecode = True

import select_tests  # noqa: E402

PASSED = '<testcase name="{0}" classname="{0}" status="run"><system-out></system-out></testcase>'
FAILED = (
    '<testcase name="{0}" classname="{0}" status="fail"><failure message=""/>'
    "<system-out>first\nwhat went wrong</system-out></testcase>"
)
SKIPPED = (
    '<testcase name="{0}" classname="{0}" status="notrun">'
    '<skipped message="SKIP_RETURN_CODE=77"/><system-out>no such tool</system-out></testcase>'
)
ABSENT = (
    '<testcase name="{0}" classname="{0}" status="notrun">'
    '<skipped message="Unable to find executable"/><system-out></system-out></testcase>'
)

GTEST = """<testsuites tests="4"><testsuite name="A" tests="4">
<testcase name="one" status="run" result="completed" classname="A" />
<testcase name="two" status="run" result="completed" classname="A" />
<testcase name="three" status="run" result="skipped" classname="A">
<skipped message="a_test.cc:2&#x0A;no zoned device&#x0A;here"></skipped></testcase>
<testcase name="DISABLED_four" status="notrun" result="suppressed" classname="A" />
</testsuite></testsuites>"""
GTEST_FAILED = """<testsuites tests="2"><testsuite name="B" tests="2">
<testcase name="one" status="run" result="completed" classname="B" />
<testcase name="two" status="run" result="completed" classname="B">
<failure message="b_test.cc:3&#x0A;Expected: 1"><![CDATA[b_test.cc:3
Expected: 1]]></failure></testcase></testsuite></testsuites>"""
PYTEST = """<testsuites><testsuite name="pytest">
<testcase classname="boot" name="test_a" />
<testcase classname="boot" name="test_b"><skipped type="pytest.skip" message="no x"/></testcase>
<testcase classname="boot" name="test_c"><failure message="assert">E assert</failure></testcase>
<testcase classname="boot" name="test_d"><error message="boom">E boom</error></testcase>
</testsuite></testsuites>"""


class CountTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        (self.root / "dev/results").mkdir(parents=True)
        self.listing: list[dict] = []
        self.cases = ""

    def entry(self, name: str, form: str, label: str = "unit") -> None:
        labels = [{"name": "LABELS", "value": ["tsan", label]}]
        self.listing.append({"name": name, "command": ["/x/test"], "properties": labels})
        self.cases += form.format(name)

    def result(self, name: str, text: str) -> None:
        (self.root / "dev/results" / name).write_text(text)

    def count(self, *options: str, status: int = 0) -> tuple[str, list[str]]:
        """Runs the program. Returns its closing line and all lines."""
        folder = self.root / "dev"
        if self.listing:
            (folder / "list.json").write_text(json.dumps({"tests": self.listing}))
            (folder / "ctest.xml").write_text(f"<testsuite>{self.cases}</testsuite>")
            (folder / "status").write_text(f"{status}\n")
            options = (*options, "--ctest", f"={folder}")
        command = [sys.executable, str(ROOT / "dev/count_tests.py"), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = done.stdout.splitlines()
        self.assertEqual(done.stderr, "")
        self.assertEqual(done.returncode, 0 if ", 0 failed," in lines[-1] else 1)
        return lines[-1], lines

    def test_entries_count_as_themselves(self) -> None:
        self.entry("fuzz.a", PASSED, "fuzz")
        self.entry("fuzz.b", PASSED, "fuzz")
        self.entry("house.format", SKIPPED, "house")
        last, lines = self.count()
        self.assertEqual(last, "2 passed, 0 failed, 1 skipped")
        self.assertIn("skipped house: no such tool (house.format)", lines)
        self.assertIn("fuzz               2       0        0", lines)

    def test_cases_of_gtest_count_one_by_one(self) -> None:
        self.entry("unit.a", PASSED)
        self.result("unit.a.xml", GTEST)
        last, lines = self.count()
        self.assertEqual(last, "2 passed, 0 failed, 2 skipped")
        self.assertIn("skipped unit: no zoned device here (A.three)", lines)
        self.assertIn("skipped unit: disabled in the source (A.DISABLED_four)", lines)

    def test_a_failed_case_counts_once(self) -> None:
        self.entry("unit.b", FAILED)
        self.result("unit.b.xml", GTEST_FAILED)
        last, lines = self.count(status=8)
        self.assertEqual(last, "1 passed, 1 failed, 0 skipped")
        self.assertIn("FAILED unit: B.two", lines)
        self.assertIn("    Expected: 1", lines)

    def test_a_crash_leaves_no_file(self) -> None:
        self.entry("unit.a", FAILED)
        last, lines = self.count(status=8)
        self.assertEqual(last, "0 passed, 1 failed, 0 skipped")
        self.assertIn("    what went wrong", lines)

    def test_a_crash_leaves_half_a_file(self) -> None:
        self.entry("unit.a", FAILED)
        self.result("unit.a.xml", GTEST[:100])
        self.assertEqual(self.count(status=8)[0], "0 passed, 1 failed, 0 skipped")

    def test_a_leak_after_the_last_case_is_a_failure(self) -> None:
        self.entry("unit.a", FAILED)
        self.result("unit.a.xml", GTEST)
        self.assertEqual(self.count(status=8)[0], "2 passed, 1 failed, 2 skipped")

    def test_some_entries_have_files(self) -> None:
        self.entry("golden.all", PASSED, "golden")
        self.entry("house.tidy", PASSED, "house")
        self.result("golden.all.xml", GTEST)
        last, lines = self.count()
        self.assertEqual(last, "3 passed, 0 failed, 2 skipped")
        self.assertIn("golden             2       0        2", lines)

    def test_a_program_without_cases_counts_as_itself(self) -> None:
        self.entry("unit.a", PASSED)
        self.result("unit.a.xml", "<testsuites></testsuites>")
        self.assertEqual(self.count()[0], "1 passed, 0 failed, 0 skipped")

    def test_an_absent_program_is_a_failure(self) -> None:
        self.entry("unit.a", ABSENT)
        self.assertEqual(self.count(status=8)[0], "0 passed, 1 failed, 0 skipped")

    def test_trouble_of_ctest_is_a_failure(self) -> None:
        self.entry("unit.a", PASSED)
        self.assertEqual(self.count(status=1)[0], "1 passed, 1 failed, 0 skipped")

    def test_no_results_of_ctest_are_a_failure(self) -> None:
        self.assertEqual(self.count("--ctest", "=nowhere")[0], "0 passed, 1 failed, 0 skipped")

    def test_one_kind_for_a_folder(self) -> None:
        self.entry("unit.a", PASSED)
        _, lines = self.count("--ctest", f"tsan={self.root}/dev")
        self.assertIn("tsan               1       0        0", lines)

    def test_pytest(self) -> None:
        (self.root / "guest.xml").write_text(PYTEST)
        last, lines = self.count("--pytest", f"guest={self.root}/guest.xml")
        self.assertEqual(last, "1 passed, 2 failed, 1 skipped")
        self.assertIn("skipped guest: no x (boot.test_b)", lines)

    def test_no_results_of_pytest_are_a_failure(self) -> None:
        self.assertEqual(self.count("--pytest", "guest=x.xml")[0], "0 passed, 1 failed, 0 skipped")

    def test_not_run(self) -> None:
        (self.root / "ids").write_text("a::b\na::c\n")
        option = ("--not-run", f"guest={self.root}/ids=no cache: a=b")
        last, lines = self.count(*option)
        self.assertEqual(last, "0 passed, 0 failed, 2 skipped")
        self.assertIn("skipped guest: no cache: a=b (a::b, a::c)", lines)
        self.assertEqual(self.count(*option, "--required")[0], "0 passed, 2 failed, 0 skipped")

    def test_failed_steps(self) -> None:
        self.entry("unit.a", PASSED)
        last, lines = self.count("--failed-step", "build-tsan failed")
        self.assertEqual(last, "1 passed, 1 failed, 0 skipped")
        self.assertIn("FAILED step: build-tsan failed", lines)

    def test_nothing_at_all_is_a_failure(self) -> None:
        self.assertEqual(self.count()[0], "0 passed, 1 failed, 0 skipped")


class SelectTest(unittest.TestCase):
    def test_label_and_name(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            build = pathlib.Path(folder).resolve()
            (build / "CTestTestfile.cmake").write_text(
                f'add_test([=[unit.io]=] "{build}/io_test")\n'
                'set_tests_properties([=[unit.io]=] PROPERTIES  LABELS "unit" TIMEOUT "9" X "/a")\n'
                f'add_test([=[unit.zone]=] "{build}/zone_test" "--x")\n'
                'set_tests_properties([=[unit.zone]=] PROPERTIES  LABELS "unit" X "/a")\n'
                'subdirs("tests")\n'
            )
            (build / "tests").mkdir()
            (build / "tests/CTestTestfile.cmake").write_text(
                f'add_test([=[sim]=] "/usr/bin/python3" "/a/run.py" "{build}/tests/sim_test" "--x")\n'
                'set_tests_properties([=[sim]=] PROPERTIES  LABELS "unit;tsan" X "/a")\n'
            )
            chosen = select_tests.select(build, "tsan", ["unit.io", "unit.gone"])
            self.assertEqual(list(chosen), ["sim", "unit.io"])
            self.assertEqual(chosen["sim"], [build / "tests/sim_test"])


if __name__ == "__main__":
    unittest.main()
