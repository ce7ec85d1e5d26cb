#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks what a reader of zbdkit cannot see at a glance; docs/style.md says why each rule is there.

    dev/tidy.py [ROOT]

Prints `file:line: what is wrong and what to do` for each finding, and fails if there is one. It
reads text, it does not parse C++: where it is wrong about a line, write the line more plainly.
tests/house/tidy_test.py has a small tree that breaks each rule.
"""

from __future__ import annotations

import bisect
import dataclasses
import fnmatch
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

LICENCE = "SPDX-License-Identifier: Apache-2.0"

# A folder of src/ may include those of smaller numbers. Equal numbers are siblings.
FLOORS = {
    "base": 0, "io": 1, "zone": 2, "block": 3, "node": 4, "graph": 5, "virtio": 6, "export": 7,
    "bench": 7, "capi": 7, "control": 7, "app": 8,
}  # fmt: skip

# Files that decide and do no I/O, so that they can be proved and fuzzed. Without their extension.
PURE = {
    "block/write_record", "block/earlier_write",
    "zone/zone", "zone/zone_rules", "zone/zone_table", "zone/zone_text",
    "virtio/blk_wire", "virtio/blk_parse", "virtio/blk_status", "virtio/blk_config",
    "virtio/vhost_user_protocol", "export/vhost_user/wire", "export/ublk/wire",
    "export/ublk/parse", "node/format/zoned_header", "node/format/zoned_diagnosis",
    "node/protocol/rbd_name",
    "node/filter/write_log_format",
    "node/filter/fault_rules", "node/filter/fault_zones", "node/filter/zone_watch",
    "node/filter/throttle_limits",
    "bench/random", "bench/latency_histogram", "bench/stamp", "bench/verifier", "bench/workload",
    "bench/plain_workload", "bench/zoned_workload",
    "app/io_number", "app/io_text",
}  # fmt: skip
SYSTEM_HEADERS = re.compile(
    r"sys/|net/|netinet/|arpa/|libaio|liburing|(unistd|fcntl|poll|pthread|sched|signal|dlfcn|spawn|"
    r"semaphore|termios|dirent|mutex|thread|future|condition_variable|fstream|filesystem|chrono|"
    r"stop_token|ctime|time)(\.h)?$"
)

# Where reinterpret_cast may stand, should docs/style.md be absent.
CAST_FILES = ("bytes.h", "guest_memory.cc", "uring_engine.cc")
CAST_SENTENCE = re.compile(r"reinterpret_cast only in ([^.]*(?:\.(?:cc|h)\b[^.]*)+)")

# Files that are not text and may be in the repository.
BINARIES = ("docs/*.png", "tests/*/corpus/*")

SCRIPT_ENDINGS = (".py", ".sh", ".cmake")
CPP_ENDINGS = (".cc", ".h")


@dataclasses.dataclass(frozen=True, order=True)
class Finding:
    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


# --- the tree ------------------------------------------------------------------------------------


def list_files(root: pathlib.Path) -> list[str]:
    """What git has or would add; without git everything but build folders and hidden ones."""
    command = ["git", "-C", str(root), "ls-files", "-z", "-c", "-o", "--exclude-standard"]
    if (root / ".git").exists():
        listing = subprocess.run(command, capture_output=True, check=False)
        if listing.returncode == 0:
            names = {name for name in listing.stdout.decode().split("\0") if name}
            return sorted(name for name in names if (root / name).is_file())
    names = set()
    for folder, folders, files in os.walk(root):
        folders[:] = [f for f in folders if f not in ("build", "__pycache__") and f[0] != "."]
        names |= {os.path.relpath(os.path.join(folder, name), root) for name in files}
    return sorted(names)


class Tree:
    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.paths = list_files(root)
        self._bytes: dict[str, bytes] = {}
        self._code: dict[str, str] = {}

    def data(self, path: str) -> bytes:
        if path not in self._bytes:
            self._bytes[path] = (self.root / path).read_bytes()
        return self._bytes[path]

    def text(self, path: str) -> str:
        return self.data(path).decode(errors="replace")

    def lines(self, path: str) -> list[str]:
        return self.text(path).splitlines()

    def code(self, path: str) -> str:
        """C++ text with comments and literals blanked out, every character in its place."""
        if path not in self._code:
            self._code[path] = blank_comments(self.text(path))
        return self._code[path]

    def cpp(self, *folders: str) -> list[str]:
        folders = folders or ("src", "tests", "include")
        return [
            path
            for path in self.paths
            if path.endswith(CPP_ENDINGS) and path.split("/", 1)[0] in folders
        ]

    def scripts(self) -> list[str]:
        return [path for path in self.paths if self.is_script(path)]

    def is_script(self, path: str) -> bool:
        if path.endswith((*SCRIPT_ENDINGS, "CMakeLists.txt")):
            return True
        return "." not in os.path.basename(path) and self.data(path).startswith(b"#!")

    def has(self, path: str) -> bool:
        return path in self.paths


COMMENT_OR_LITERAL = re.compile(
    r"""//(?:\\\n|[^\n])*
      | /\*.*?\*/
      | R"(?P<fence>[^()\s\\"]{0,16})\(.*?\)(?P=fence)"
      | "(?:\\.|[^"\\\n])*"
      | (?<![0-9a-fA-F])'(?:\\.|[^'\\\n])*'
    """,
    re.DOTALL | re.VERBOSE,
)


def blank_comments(text: str) -> str:
    def blank(match: re.Match[str]) -> str:
        found = match.group()
        # A literal stays something that can be an operand.
        filler = " " if found.startswith("/") else "s"
        return "".join("\n" if c == "\n" else filler for c in found)

    # An #include keeps its name, which is no string.
    includes = {m.start(): m.group() for m in re.finditer(r'^[ \t]*#\s*include.*$', text, re.M)}
    blanked = COMMENT_OR_LITERAL.sub(blank, text)
    for start, line in includes.items():
        blanked = blanked[:start] + line + blanked[start + len(line) :]
    return blanked


def line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def is_test(path: str) -> bool:
    return path.startswith("tests/") or path.endswith(("_test.cc", "_fuzz.cc"))


# --- includes: floors and the pure list ----------------------------------------------------------


INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')


def includes(tree: Tree, path: str) -> Iterator[tuple[int, str, bool]]:
    """(line, name, is it ours) of each include."""
    for number, line in enumerate(tree.lines(path), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1) or match.group(2), match.group(1) is not None


def floor_finding(tree: Tree, path: str, name: str) -> str | None:
    """What is wrong with `path` (in src/) including "name"."""
    own_folder = os.path.dirname(path.removeprefix("src/"))
    own_floor = own_folder.split("/")[0]
    floor = name.split("/")[0]
    if floor == "tests" and is_test(path):
        return None
    if tree.has(f"include/{name}"):
        return None
    if floor not in FLOORS or "/" not in name:
        return f'"{name}" is no path from src/; write it as "floor/file.h"'
    if own_floor not in FLOORS:
        return f"src/{own_floor} is no floor; add it to FLOORS in dev/tidy.py or move the file"
    if FLOORS[floor] > FLOORS[own_floor]:
        return f'floor {own_floor} may not include "{name}" of the higher floor {floor}'
    if FLOORS[floor] < FLOORS[own_floor]:
        return None
    folder = os.path.dirname(name)
    if is_test(path) and floor == own_floor:
        return None
    if own_folder == folder or own_folder.startswith(folder + "/"):
        return None
    return f'{own_folder}/ may not include "{name}" of its sibling; move what is shared below both'


def check_floors(tree: Tree) -> Iterator[Finding]:
    for path in tree.cpp("src"):
        for line, name, ours in includes(tree, path):
            problem = floor_finding(tree, path, name) if ours else None
            if problem:
                yield Finding(path, line, problem)


def check_own_header_first(tree: Tree) -> Iterator[Finding]:
    """Which also proves, by the build, that a header with a source compiles alone."""
    for path in tree.cpp("src"):
        header = path.removesuffix(".cc") + ".h"
        if not path.endswith(".cc") or not tree.has(header):
            continue
        own = header.removeprefix("src/")
        first = next(includes(tree, path), (1, "", False))
        if first[1] != own:
            yield Finding(path, first[0], f'include "{own}", the own header, before all others')


def reaches_io(tree: Tree, name: str, seen: set[str]) -> list[str]:
    """The chain of includes from our header `name` to one of io/, or nothing."""
    if name.startswith("io/"):
        return [name]
    if name in seen or not tree.has(f"src/{name}"):
        return []
    seen.add(name)
    for _, inner, ours in includes(tree, f"src/{name}"):
        chain = reaches_io(tree, inner, seen) if ours else []
        if chain:
            return [name, *chain]
    return []


def check_pure(tree: Tree) -> Iterator[Finding]:
    for path in tree.cpp("src"):
        if os.path.splitext(path.removeprefix("src/"))[0] not in PURE:
            continue
        for line, name, ours in includes(tree, path):
            chain = reaches_io(tree, name, set()) if ours else []
            if chain:
                way = " -> ".join(chain)
                yield Finding(path, line, f"a pure file may not include io/ ({way}); split the I/O off")
            if not ours and SYSTEM_HEADERS.match(name):
                yield Finding(path, line, f"a pure file makes no system calls; do without <{name}>")


# --- heads of files ------------------------------------------------------------------------------


def check_licence(tree: Tree) -> Iterator[Finding]:
    for path in tree.cpp("src", "tests", "include", "bench"):
        if f"// {LICENCE}" not in tree.lines(path)[:1]:
            yield Finding(path, 1, f"first line is not `// {LICENCE}`")
    for path in tree.scripts():
        head = [line for line in tree.lines(path)[:2] if not line.startswith("#!")]
        if f"# {LICENCE}" not in head[:1] and tree.data(path).strip():
            yield Finding(path, 1, f"does not start with `# {LICENCE}` (after the #! line)")


def check_headers(tree: Tree) -> Iterator[Finding]:
    for path in tree.cpp():
        if not path.endswith(".h"):
            continue
        lines = tree.lines(path)
        if "#pragma once" not in lines:
            yield Finding(path, 1, "no #pragma once")
        if len(lines) < 2 or not re.match(r"//\s*\S", lines[1]):
            yield Finding(path, 2, "no comment on top; say what this is, who owns it, which thread")


# --- comments ------------------------------------------------------------------------------------


TODO = re.compile(r"\b(?:TODO|FIXME)\b(?!\(#\d+\))")


def check_todo(tree: Tree) -> Iterator[Finding]:
    for marks, paths in ((r"//|/\*|^\s*\*", tree.cpp()), (r"(?:^|\s)#", tree.scripts())):
        for path in paths:
            for number, line in enumerate(tree.lines(path), 1):
                comment = re.search(marks, line)
                if comment and TODO.search(line, comment.end()):
                    yield Finding(path, number, "a note without an issue number; write TODO(#123)")


# --- casts ---------------------------------------------------------------------------------------


def cast_files(tree: Tree) -> tuple[str, ...] | None:
    if not tree.has("docs/style.md"):
        return CAST_FILES
    sentence = CAST_SENTENCE.search(tree.text("docs/style.md"))
    return tuple(re.findall(r"\w+\.(?:h|cc)\b", sentence.group(1))) if sentence else None


def check_casts(tree: Tree) -> Iterator[Finding]:
    allowed = cast_files(tree)
    if allowed is None:
        yield Finding("docs/style.md", 1, "no sentence `reinterpret_cast only in ...`; put it back")
        return
    for path in tree.cpp("src", "include"):
        if is_test(path):
            continue
        lines = tree.lines(path)
        for match in re.finditer(r"\breinterpret_cast\b", tree.code(path)):
            line = line_of(tree.code(path), match.start())
            if os.path.basename(path) not in allowed:
                wish = "use base/bytes.h, or add the file to the list in docs/style.md"
                yield Finding(path, line, f"reinterpret_cast is not allowed here; {wish}")
            elif not any("SAFETY:" in text for text in lines[max(0, line - 6) : line]):
                yield Finding(path, line, "no `// SAFETY:` comment above; say why the cast is sound")


# --- coroutines ----------------------------------------------------------------------------------


class Brackets:
    """Which bracket of a blanked C++ text each position is in."""

    def __init__(self, code: str) -> None:
        self.close_of: dict[int, int] = {}
        self.open_of: dict[int, int] = {}
        # At bracket positions_[i] and after it, up to the next bracket, innermost_[i] is open.
        self._positions: list[int] = []
        self._innermost: list[int | None] = []
        stack: list[int] = []
        pairs = {")": "(", "]": "[", "}": "{"}
        for match in re.finditer(r"[()\[\]{}]", code):
            position, bracket = match.start(), match.group()
            if bracket in "([{":
                stack.append(position)
            elif stack and code[stack[-1]] == pairs[bracket]:
                opening = stack.pop()
                self.close_of[opening] = position
                self.open_of[position] = opening
            self._positions.append(position)
            self._innermost.append(stack[-1] if stack else None)

    def enclosing(self, position: int) -> int | None:
        """The position of the innermost bracket that is open at `position`."""
        index = bisect.bisect_left(self._positions, position) - 1
        return self._innermost[index] if index >= 0 else None


def word_before(code: str, position: int) -> str:
    match = re.search(r"(\w+)\s*$", code[max(0, position - 80) : position])
    return match.group(1) if match else ""


def is_block(code: str, brace: int) -> bool:
    """Whether a `{` begins statements, and not a list of values."""
    before = code[:brace].rstrip()
    if not before or before[-1] in ");{}:]":
        return True
    if word_before(code, brace) in ("else", "do", "try", "const", "noexcept", "mutable", "override"):
        return True
    # A lambda's or function's trailing return type.
    start = max(before.rfind(c) for c in ";{}")
    return re.search(r"->\s*[\w:<>,*&\s()]+$", before[start + 1 :]) is not None


def is_control_header(code: str, brackets: Brackets, closing: int) -> bool:
    """Whether this `)` closes the header of an if, a loop or a switch, so that a statement follows."""
    opening = brackets.open_of.get(closing)
    if opening is None:
        return False
    return word_before(code, opening) in ("if", "for", "while", "switch", "constexpr")


def starts_statement(code: str, brackets: Brackets, position: int) -> bool:
    before = code[:position].rstrip()
    if not before or before[-1] in ";}":
        return True
    last = len(before) - 1
    if before[-1] == "{":
        return is_block(code, last)
    if before[-1] == ":":
        statement = re.split(r"[;{}]", before)[-1].strip()
        return re.match(r"(case\b|default\b|\w+\s*:$)", statement) is not None and "?" not in statement
    if before[-1] == ")":
        opening = brackets.open_of.get(last)
        if opening is not None and code[opening : last + 1] == "(void)":
            return starts_statement(code, brackets, opening)
        return is_control_header(code, brackets, last)
    return word_before(code, position) in ("else", "do")


def operand_end(code: str, brackets: Brackets, position: int) -> int:
    """Where the expression that contains `position` ends: at a `;` or the enclosing bracket."""
    while position < len(code) and code[position] not in ";)]}":
        position = brackets.close_of.get(position, position) + 1
    return position


def top_level(code: str, brackets: Brackets, start: int, end: int) -> str:
    """The text without what is in brackets."""
    kept = []
    while start < end:
        kept.append(code[start])
        start = brackets.close_of.get(start, start) + 1
    return "".join(kept)


def await_problem(code: str, brackets: Brackets, position: int) -> str | None:
    """What is wrong with the co_await at `position`, by rules R1 and R2."""
    alone = "co_await stands alone: a statement, a whole right side, or after co_return (R1)"
    before = code[:position].rstrip()
    enclosing = brackets.enclosing(position)
    end = operand_end(code, brackets, position)
    rest = top_level(code, brackets, position, end)
    line_start = code.rfind("\n", 0, position) + 1
    while line_start > 1 and code[line_start - 2] == "\\":
        line_start = code.rfind("\n", 0, line_start - 1) + 1
    if re.match(r"\s*#\s*define\b", code[line_start:position]):
        return f"{alone}; not in a macro"
    if re.search(r"\?|&&|\|\||==|!=|[+/%]", rest):
        return f"{alone}; give its result a name before computing with it"
    if re.search(r"[(,]\s*\[\s*[^\]\s]", code[position:end]):
        return "no capturing lambda in an awaited call (R2); name the lambda first"

    if word_before(code, position) in ("co_return", "return") and enclosing is not None:
        return None if code[enclosing] == "{" and is_block(code, enclosing) else alone
    if before.endswith("=") and not before.endswith(("==", "!=", "<=", ">=")):
        if enclosing is None:
            return alone
        if code[enclosing] == "{":
            return None if is_block(code, enclosing) else f"{alone}; not in a list"
        init = word_before(code, enclosing) == "if" and code[end : end + 1] == ";"
        return None if init else f"{alone}; write `if (auto r = co_await f(); !r)` or name it before"
    if enclosing is not None and code[enclosing] != "{":
        return f"{alone}; not in a condition or an argument"
    return None if starts_statement(code, brackets, position) else alone


def check_awaits(tree: Tree) -> Iterator[Finding]:
    for path in tree.cpp():
        # The canaries show what compilers do with the forms that are refused here.
        if path.startswith("tests/compiler/"):
            continue
        code = tree.code(path)
        awaits = [m.start() for m in re.finditer(r"(?<!operator )\bco_await\b", code)]
        if not awaits:
            continue
        brackets = Brackets(code)
        for position in awaits:
            problem = await_problem(code, brackets, position)
            if problem:
                yield Finding(path, line_of(code, position), problem)


# --- documents -----------------------------------------------------------------------------------


def markdown_lines(tree: Tree, path: str) -> Iterator[tuple[int, str]]:
    """The lines outside of code fences."""
    fenced = False
    for number, line in enumerate(tree.lines(path), 1):
        if re.match(r"\s*(```|~~~)", line):
            fenced = not fenced
        elif not fenced:
            yield number, line


LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)")


def links(tree: Tree, path: str) -> Iterator[tuple[int, str]]:
    """(line, path from the root) of each link to a file."""
    for number, line in markdown_lines(tree, path):
        for match in LINK.finditer(re.sub(r"`[^`]*`", "", line)):
            target = match.group(1).split("#")[0]
            if target and not re.match(r"[a-z][a-z0-9+.-]*:", target):
                folder = "" if target.startswith("/") else os.path.dirname(path)
                yield number, os.path.normpath(os.path.join(folder, target.lstrip("/")))


def check_links(tree: Tree) -> Iterator[Finding]:
    folders = {os.path.dirname(path) for path in tree.paths}
    folders |= {str(parent) for folder in folders for parent in pathlib.PurePath(folder).parents}
    for path in tree.paths:
        if not path.endswith(".md"):
            continue
        for number, target in links(tree, path):
            if not tree.has(target) and target not in folders:
                yield Finding(path, number, f"links to {target}, which does not exist")


def check_index(tree: Tree) -> Iterator[Finding]:
    index = "docs/README.md"
    if not tree.has(index):
        return
    listed = {target for _, target in links(tree, index)}
    for path in tree.paths:
        if path.startswith("docs/") and path.endswith(".md") and path != index:
            if path not in listed:
                yield Finding(path, 1, f"not in the list of documents; add a line to {index}")


NAME = re.compile(r"(?:[A-Za-z_]\w*::)*~?[A-Za-z_]\w*(?:\(\))?")
FILE = re.compile(r"[\w./-]+\.(?:cc|h)")


def check_data_path(tree: Tree) -> Iterator[Finding]:
    path = "docs/data-path.md"
    if not tree.has(path):
        return
    sources = [p for p in tree.cpp("src", "include") if not is_test(p)]
    words = {p: set(re.findall(r"\w+", tree.code(p))) for p in sources}
    for number, line in markdown_lines(tree, path):
        for quoted in re.findall(r"`([^`]+)`", line):
            if FILE.fullmatch(quoted):
                if not any(p.endswith("/" + quoted.removeprefix("src/")) for p in sources):
                    yield Finding(path, number, f"`{quoted}` is no file of src/; correct the name")
            elif NAME.fullmatch(quoted):
                parts = quoted.removesuffix("()").split("::")[-2:]
                if not any(names.issuperset(p.lstrip("~") for p in parts) for names in words.values()):
                    yield Finding(path, number, f"`{quoted}` is not in src/; correct the name")


# --- everything in git ---------------------------------------------------------------------------


def check_binaries(tree: Tree) -> Iterator[Finding]:
    for path in tree.paths:
        if b"\0" in tree.data(path)[:8192]:
            if not any(fnmatch.fnmatch(path, pattern) for pattern in BINARIES):
                yield Finding(path, 1, "not text; make it in a test or a build step instead")


CHECKS = (
    check_floors, check_own_header_first, check_pure, check_licence, check_headers, check_todo,
    check_casts, check_awaits, check_links, check_index, check_data_path, check_binaries,
)  # fmt: skip


def findings(root: pathlib.Path) -> list[Finding]:
    tree = Tree(root)
    return sorted({finding for check in CHECKS for finding in check(tree)})


def main(arguments: list[str]) -> int:
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print(__doc__.strip())
        return 0 if arguments in (["-h"], ["--help"]) else 2
    here = pathlib.Path(__file__).resolve().parent.parent
    found = findings(pathlib.Path(arguments[0]) if arguments else here)
    for finding in found:
        print(finding)
    print(f"tidy: {len(found)} findings" if found else "tidy: clean")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
