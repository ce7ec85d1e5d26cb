#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Sums up the test runs of ./check from their machine-readable results.

    dev/count_tests.py [--ctest [KIND]=FOLDER]... [--pytest KIND=FILE]... [--failed-step TEXT]...
                       [--not-run KIND=FILE=REASON]... [--required]

Prints failures, skips with their reasons, a table of counts by kind and, last, one line
`N passed, M failed, K skipped`. Fails if something failed.

--ctest      a folder with list.json (ctest --show-only=json-v1), ctest.xml (ctest --output-junit),
             status (ctest's exit status) and results/, where test programs left JUnit files: the
             cases in NAME.xml count instead of the one ctest entry NAME. Without KIND, an entry's
             kind is its label.
--not-run    a file with one test a line, all of which were skipped for this reason
--required   what is not run is a failure (in CI)
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import pathlib
import sys
import xml.etree.ElementTree as ElementTree

# In the order of the table. An entry without any of these labels is "other".
KINDS = ("unit", "fuzz", "conformance", "golden", "compiler", "house", "tsan", "guest", "other")

MESSAGE_LINES = 12


@dataclasses.dataclass
class Case:
    kind: str
    name: str
    outcome: str  # passed, failed, skipped
    text: str = ""


def first_lines(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return "\n".join(lines[:MESSAGE_LINES])


def last_lines(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return "\n".join(lines[-MESSAGE_LINES:])


def read_xml(path: pathlib.Path) -> ElementTree.Element | None:
    """The root of an XML file, or None if the writer did not finish it."""
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError):
        return None


def skip_reason(message: str) -> str:
    """One line. gtest puts file:line on a line of its own in front."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if len(lines) > 1 and ".cc:" in lines[0]:
        lines = lines[1:]
    return " ".join(lines) or "no reason given"


def junit_cases(kind: str, root: ElementTree.Element) -> list[Case]:
    """The cases of gtest's and pytest's files."""
    cases = []
    for element in root.iter("testcase"):
        name = f"{element.get('classname')}.{element.get('name')}"
        broken = element.findall("failure") + element.findall("error")
        skipped = element.find("skipped")
        if broken:
            text = "\n".join(e.text or e.get("message") or "" for e in broken)
            cases.append(Case(kind, name, "failed", first_lines(text)))
        elif skipped is not None:
            cases.append(Case(kind, name, "skipped", skip_reason(skipped.get("message") or "")))
        elif element.get("status") == "notrun":
            cases.append(Case(kind, name, "skipped", "disabled in the source"))
        else:
            cases.append(Case(kind, name, "passed"))
    return cases


# --- ctest ---------------------------------------------------------------------------------------


def listed_kinds(path: pathlib.Path) -> dict[str, str]:
    """The kind of each entry, by its labels."""
    kinds = {}
    for test in json.loads(path.read_text())["tests"]:
        properties = test.get("properties", ())
        labels = [label for p in properties if p["name"] == "LABELS" for label in p["value"]]
        # "tsan" says where else an entry runs, not what it is.
        known = [label for label in labels if label in KINDS and label != "tsan"]
        kinds[test["name"]] = known[0] if known else "other"
    return kinds


def whole_case(kind: str, element: ElementTree.Element) -> Case:
    """The outcome of one ctest entry as a whole."""
    name = element.get("name") or ""
    output = element.findtext("system-out") or ""
    status = element.get("status")
    if status == "run" and element.find("failure") is None:
        return Case(kind, name, "passed")
    if status == "disabled":
        return Case(kind, name, "skipped", "disabled in CMake")
    skipped = element.find("skipped")
    message = skipped.get("message") or "" if skipped is not None else ""
    # ctest also says "skipped" of a program that is not there.
    if message.startswith("SKIP_"):
        return Case(kind, name, "skipped", skip_reason(last_lines(output)))
    reason = last_lines(output) or message or "no output; a timeout, perhaps"
    return Case(kind, name, "failed", reason)


def entry_cases(kind: str, element: ElementTree.Element, results: pathlib.Path) -> list[Case]:
    """The cases of one ctest entry: those it left in a file, or itself."""
    whole = whole_case(kind, element)
    root = read_xml(results / f"{whole.name}.xml")
    if root is None:
        return [whole]
    cases = junit_cases(kind, root)
    # A leak or a crash after the last case is in no file.
    if whole.outcome == "failed" and not any(case.outcome == "failed" for case in cases):
        cases.append(whole)
    return cases or [whole]


def ctest_cases(folder: pathlib.Path, as_kind: str) -> list[Case]:
    root = read_xml(folder / "ctest.xml")
    if root is None:
        return [Case(as_kind or "other", str(folder), "failed", "ctest left no results")]
    kinds = listed_kinds(folder / "list.json")
    cases = []
    for element in root.iter("testcase"):
        kind = as_kind or kinds.get(element.get("name") or "", "other")
        cases += entry_cases(kind, element, folder / "results")
    if exit_status(folder) != "0" and not any(case.outcome == "failed" for case in cases):
        text = f"ctest ended with status {exit_status(folder)}"
        cases.append(Case(as_kind or "other", str(folder), "failed", text))
    return cases


def exit_status(folder: pathlib.Path) -> str:
    try:
        return (folder / "status").read_text().strip()
    except OSError:
        return "unknown"


def group_cases(folder: pathlib.Path, file: str, group: list[tuple[Entry, Case]]) -> list[Case]:
    """The cases of all ctest entries that share the result file(s) `file`.xml."""
    whole = [case for _, case in group]
    roots = [read_xml(path) for path in program_files(folder / "results", file)]
    finished = [root for root in roots if root is not None]
    ended = [case for case in whole if case.outcome == "passed"]
    # Two runs of a program at one moment can write to one file. Then there is no telling.
    if len(finished) < len(ended) or not finished:
        return whole
    cases = [case for root in finished for case in junit_cases(group[0][0].kind, root)]
    # A crash, a timeout or a leak after the last case is in no file.
    explained = sum(root.find(".//failure") is not None for root in finished)
    broken = [case for case in whole if case.outcome == "failed"]
    return cases + broken[explained:]


# --- output --------------------------------------------------------------------------------------


def indent(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


def print_failures(cases: list[Case]) -> None:
    for case in cases:
        if case.outcome == "failed":
            print(f"FAILED {case.kind}: {case.name}\n{indent(case.text)}", end="")


def print_skips(cases: list[Case]) -> None:
    reasons: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    for case in cases:
        if case.outcome == "skipped":
            reasons[case.kind, case.text].append(case.name)
    for (kind, reason), names in reasons.items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        print(f"skipped {kind}: {reason} ({shown})")


def counts(cases: list[Case]) -> tuple[int, int, int]:
    outcomes = collections.Counter(case.outcome for case in cases)
    return outcomes["passed"], outcomes["failed"], outcomes["skipped"]


def print_table(cases: list[Case]) -> None:
    kinds = [kind for kind in (*KINDS, "step") if any(case.kind == kind for case in cases)]
    print(f"\n{'kind':<12}{'passed':>8}{'failed':>8}{'skipped':>9}")
    for kind in kinds:
        passed, failed, skipped = counts([case for case in cases if case.kind == kind])
        print(f"{kind:<12}{passed:>8}{failed:>8}{skipped:>9}")


def parse(arguments: list[str]) -> list[Case]:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--ctest", action="append", default=[])
    parser.add_argument("--pytest", action="append", default=[])
    parser.add_argument("--not-run", action="append", default=[])
    parser.add_argument("--required", action="store_true")
    parser.add_argument("--failed-step", action="append", default=[])
    options = parser.parse_args(arguments)
    cases = [Case("step", step, "failed") for step in options.failed_step]
    for argument in options.ctest:
        kind, folder = argument.split("=", 1)
        cases += ctest_cases(pathlib.Path(folder), kind)
    for argument in options.pytest:
        kind, path = argument.split("=", 1)
        root = read_xml(pathlib.Path(path))
        missing = Case(kind, path, "failed", "pytest left no results")
        cases += [missing] if root is None else junit_cases(kind, root)
    outcome = "failed" if options.required else "skipped"
    for argument in options.not_run:
        kind, path, reason = argument.split("=", 2)
        names = pathlib.Path(path).read_text().split("\n")
        cases += [Case(kind, name, outcome, reason) for name in names if name]
    return cases or [Case("step", "nothing was tested", "failed")]


def main(arguments: list[str]) -> int:
    cases = parse(arguments)
    print_failures(cases)
    print_skips(cases)
    print_table(cases)
    passed, failed, skipped = counts(cases)
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
