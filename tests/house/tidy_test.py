# SPDX-License-Identifier: Apache-2.0
"""Tests of dev/tidy.py: small trees, each of which breaks one rule. A clean one passes."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "dev"))
sys.dont_write_bytecode = True

import tidy  # noqa: E402

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"
TOP = SPDX + "// What this is.\n#pragma once\n"


class TidyTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def write(self, path: str, text: str | bytes) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text if isinstance(text, bytes) else text.encode())

    def found(self) -> list[str]:
        return [str(finding) for finding in tidy.findings(self.root)]

    def assert_clean(self) -> None:
        self.assertEqual(self.found(), [])

    def assert_found(self, place: str, words: str) -> None:
        """Exactly one finding, at `place`, that contains `words`."""
        found = self.found()
        self.assertEqual(len(found), 1, found)
        self.assertTrue(found[0].startswith(place + ": "), found[0])
        self.assertIn(words, found[0])


class Floors(TidyTest):
    def include(self, source: str, included: str) -> None:
        top = TOP if source.endswith(".h") else SPDX
        self.write(source, f'{top}#include "{included}"\n')

    def test_lower_floors_own_folder_and_parents_are_fine(self) -> None:
        self.include("src/node/filter/delay.cc", "io/task.h")
        self.include("src/node/filter/fault.cc", "node/filter/delay.h")
        self.include("src/export/vhost_user/server.h", "export/export.h")
        self.include("src/app/main.cc", "control/qmp.h")
        self.assert_clean()

    def test_higher_floor(self) -> None:
        self.include("src/zone/zone_text.h", "block/op.h")
        self.assert_found("src/zone/zone_text.h:4", "higher floor block")

    def test_sibling_folders(self) -> None:
        for source, included in (
            ("src/node/filter/delay.cc", "node/protocol/memory.h"),
            ("src/node/format/raw.cc", "node/protocol/file.h"),
            ("src/export/vhost_user/server.cc", "export/ublk/wire.h"),
            ("src/export/export.cc", "control/qmp.h"),
            ("src/control/qmp.cc", "export/export.h"),
        ):
            with self.subTest(source):
                self.setUp()
                self.include(source, included)
                self.assert_found(f"{source}:2", "sibling")

    def test_parent_does_not_include_its_child(self) -> None:
        self.include("src/export/export.cc", "export/ublk/wire.h")
        self.assert_found("src/export/export.cc:2", "sibling")

    def test_tests_may_use_their_floor_and_tests_support(self) -> None:
        self.include("src/node/filter/delay_test.cc", "node/protocol/memory.h")
        self.include("src/node/filter/fault_test.cc", "tests/support/seed.h")
        self.assert_clean()

    def test_tests_may_not_use_higher_floors(self) -> None:
        self.include("src/node/filter/delay_test.cc", "graph/backend.h")
        self.assert_found("src/node/filter/delay_test.cc:2", "higher floor graph")

    def test_sources_may_not_use_tests_support(self) -> None:
        self.include("src/node/filter/delay.cc", "tests/support/seed.h")
        self.assert_found("src/node/filter/delay.cc:2", "no path from src/")

    def test_short_name(self) -> None:
        self.include("src/node/filter/delay.cc", "fault.h")
        self.assert_found("src/node/filter/delay.cc:2", "no path from src/")

    def test_unknown_floor(self) -> None:
        self.include("src/cellar/wine.cc", "base/units.h")
        self.assert_found("src/cellar/wine.cc:2", "no floor")

    def test_public_headers_are_open_to_all(self) -> None:
        self.write("include/zbdkit/zbdkit.h", TOP)
        self.include("src/app/main.cc", "zbdkit/zbdkit.h")
        self.assert_clean()

    def test_own_header_comes_first(self) -> None:
        self.write("src/io/scope.h", TOP)
        self.write("src/io/scope.cc", SPDX + '#include <vector>\n#include "io/scope.h"\n')
        self.assert_found("src/io/scope.cc:2", "own header")


class Pure(TidyTest):
    def test_io_is_refused(self) -> None:
        self.write("src/zone/zone_rules.cc", SPDX + '#include "io/task.h"\n')
        self.assert_found("src/zone/zone_rules.cc:2", "(io/task.h)")

    def test_io_through_another_header_is_refused(self) -> None:
        self.write("src/block/node.h", TOP + '#include "io/task.h"\n')
        self.write("src/virtio/blk_parse.h", TOP + '#include "block/node.h"\n')
        self.assert_found("src/virtio/blk_parse.h:4", "block/node.h -> io/task.h")

    def test_system_calls_are_refused(self) -> None:
        for header in ("unistd.h", "sys/socket.h", "fcntl.h", "mutex", "liburing.h"):
            with self.subTest(header):
                self.setUp()
                self.write("src/export/vhost_user/wire.cc", f"{SPDX}#include <{header}>\n")
                self.assert_found("src/export/vhost_user/wire.cc:2", f"<{header}>")

    def test_plain_headers_are_fine(self) -> None:
        includes = "#include <cstdint>\n#include <vector>\n#include <linux/blkzoned.h>\n"
        self.write("src/zone/zone_table.cc", SPDX + includes + '#include "base/error.h"\n')
        self.assert_clean()

    def test_others_may_do_io(self) -> None:
        self.write("src/zone/zone_locks.h", TOP + '#include "io/sync.h"\n')
        self.assert_clean()


class Heads(TidyTest):
    def test_licence_of_cpp(self) -> None:
        self.write("src/io/scope.cc", "#include <vector>\n")
        self.assert_found("src/io/scope.cc:1", "SPDX")

    def test_licence_of_scripts(self) -> None:
        for path, text in (
            ("dev/setup", "#!/bin/bash\necho\n"),
            ("dev/tool.py", "import sys\n"),
            ("CMakeLists.txt", "project(x)\n"),
        ):
            with self.subTest(path):
                self.setUp()
                self.write(path, text)
                self.assert_found(f"{path}:1", "SPDX")

    def test_licence_after_hash_bang(self) -> None:
        self.write("dev/setup", "#!/bin/bash\n# SPDX-License-Identifier: Apache-2.0\n")
        self.assert_clean()

    def test_pragma_once(self) -> None:
        self.write("src/io/scope.h", SPDX + "// What this is.\n")
        self.assert_found("src/io/scope.h:1", "#pragma once")

    def test_top_comment(self) -> None:
        self.write("src/io/scope.h", SPDX + "#pragma once\n")
        self.assert_found("src/io/scope.h:2", "no comment on top")

    def test_top_comment_that_begins_with_a_name(self) -> None:
        self.write("src/io/scope.h", SPDX + "// `Scope` owns tasks.\n#pragma once\n")
        self.assert_clean()


class Notes(TidyTest):
    def test_note_without_number(self) -> None:
        self.write("src/io/scope.cc", SPDX + "int x;  // TO" "DO: think\n")
        self.assert_found("src/io/scope.cc:2", "issue number")

    def test_note_in_script(self) -> None:
        self.write("dev/tool.py", "# SPDX-License-Identifier: Apache-2.0\n# FIX" "ME\n")
        self.assert_found("dev/tool.py:2", "issue number")

    def test_note_with_number(self) -> None:
        self.write("src/io/scope.cc", SPDX + "int x;  // TO" "DO(#12): think\n")
        self.assert_clean()


class Casts(TidyTest):
    CAST = "auto* p = reinterpret_cast<int*>(q);\n"
    STYLE = "reinterpret_cast only in `bytes.h` and `vdso.cc`, each with a SAFETY line.\n"

    def test_other_file(self) -> None:
        self.write("src/io/scope.cc", SPDX + self.CAST)
        self.assert_found("src/io/scope.cc:2", "not allowed")

    def test_no_reason(self) -> None:
        self.write("src/base/bytes.h", TOP + self.CAST)
        self.assert_found("src/base/bytes.h:4", "SAFETY")

    def test_reason(self) -> None:
        self.write("src/base/bytes.h", TOP + "// SAFETY: q is an int.\n" + self.CAST)
        self.assert_clean()

    def test_words_in_comments_and_text(self) -> None:
        self.write("src/io/scope.cc", SPDX + '// no reinterpret_cast\nauto s = "reinterpret_cast";\n')
        self.assert_clean()

    def test_the_style_guide_has_the_list(self) -> None:
        self.write("docs/style.md", self.STYLE)
        self.write("src/io/vdso.cc", SPDX + "// SAFETY: q is an int.\n" + self.CAST)
        self.write("src/virtio/guest_memory.cc", SPDX + "// SAFETY: q is an int.\n" + self.CAST)
        self.assert_found("src/virtio/guest_memory.cc:3", "not allowed")

    def test_the_style_guide_lost_the_list(self) -> None:
        self.write("docs/style.md", "No casts.\n")
        self.assert_found("docs/style.md:1", "put it back")


class Awaits(TidyTest):
    def body(self, text: str) -> None:
        self.write("src/io/x.cc", f"{SPDX}Task<void> f() {{\n{text}\n}}\n")

    def test_allowed_forms(self) -> None:
        for text in (
            "co_await g();",
            "const int x = co_await g(a, b);",
            "std::vector<std::pair<int, int>> x = co_await g<int, int>(a);",
            "x = co_await ok(g());",
            "co_await ok(g(f(a)));",
            "co_return co_await g();",
            "if (auto r = co_await g(); !r) co_return;",
            "if (x) co_await g();",
            "if (x) {\n    co_await g();\n} else {\n    co_await h();\n}",
            "if (x)\n    co_await g();\nelse\n    co_await h();",
            "while (busy()) co_await idle_.wait();",
            "for (int i = 0; i < 3; ++i) co_await g(i);",
            "if constexpr (kX) co_await g();",
            "switch (x) {\n    case Op::read: co_await g();\n    default: co_await h();\n}",
            "(void)co_await g();",
            "spawn([](Node& n) -> Task<void> { co_await n.g(); }(node));",
            "auto h = [&] -> Task<Result<void>> {\n    x = co_await g();\n};",
            "co_await g(list[i], Range{1, 2});",
            "const Guard guard = co_await locks.lock(zone, Mode::shared);",
            "// if (!co_await g()) co_return;",
            'log("a && co_await b");',
            "co_await std::move(inner);",
            "auto t = std::move(task).operator co_await();",
            "co_await g(a ? b : c, a && b);",
        ):
            with self.subTest(text):
                self.body(text)
                self.assert_clean()

    def test_refused_forms(self) -> None:
        for text in (
            "if (!co_await g()) co_return;",
            "if (co_await g()) co_return;",
            "if (auto r = co_await g()) co_return;",
            "if (auto r = h(); co_await g(r)) co_return;",
            "while (co_await g()) {}",
            "while (x && co_await g()) {}",
            "do { } while (co_await g());",
            "switch (co_await g()) {}",
            "for (auto x : co_await g()) {}",
            "for (auto x = co_await g(); x; ++x) {}",
            "h(co_await g());",
            "h(1, co_await g());",
            "co_await h(co_await g());",
            "x = c ? co_await g() : co_await h();",
            "x = co_await g() ? 1 : 2;",
            "x = co_await g() + 1;",
            "x = 1 + co_await g();",
            "bool y = a && co_await g();",
            "bool y = co_await g() == 3;",
            "std::vector v{co_await g(), 2};",
            "auto [a, b] = Agg{co_await g(), 2};",
            "x = {.a = co_await g()};",
            "x = {1, co_await g()};",
            "co_return !co_await g();",
            "const T v = *co_await g();",
            "ASSERT_TRUE(co_await g());",
            "co_await g([p] { return p; });",
            "co_await g(1, [&] { return 2; });",
            "x = (co_await g()).value;",
            "#define TRY(x) \\\n    co_await x",
            "h((x = co_await g()));",
        ):
            with self.subTest(text):
                self.body(text)
                found = self.found()
                self.assertGreaterEqual(len(found), 1)
                self.assertRegex(found[0], r"^src/io/x\.cc:[345]: .*\(R[12]\)")

    def test_the_canaries_may_do_all(self) -> None:
        self.write("tests/compiler/x.cc", f"{SPDX}Task<void> f() {{ if (!co_await g()) co_return; }}\n")
        self.assert_clean()


class Documents(TidyTest):
    def test_links(self) -> None:
        self.write("docs/a.md", "[b](b.md#part) [up](../README.md) [web](https://example.org) [f](.)\n")
        self.write("README.md", "[dir](docs/) [root](/docs/a.md)\n")
        self.write("docs/b.md", "```\n[x](nowhere.md)\n```\n`[x](nowhere.md)`\n")
        self.assert_clean()

    def test_broken_link(self) -> None:
        self.write("docs/a.md", "text\n[b](b.md)\n")
        self.assert_found("docs/a.md:2", "docs/b.md")

    def test_index(self) -> None:
        self.write("docs/README.md", "[a](a.md)\n")
        self.write("docs/a.md", "a\n")
        self.write("docs/adr/0001-x.md", "x\n")
        self.assert_found("docs/adr/0001-x.md:1", "docs/README.md")

    def test_data_path(self) -> None:
        self.write("src/io/scope.h", TOP + "class Scope {\n    void spawn();\n};\n// join\n")
        self.write("docs/data-path.md", "`Scope::spawn` `spawn()` `io/scope.h` `a + b`\n")
        self.assert_clean()

    def test_data_path_unknown_function(self) -> None:
        self.write("src/io/scope.h", TOP + "class Scope {\n    void spawn();\n};\n// join\n")
        for name in ("Scope::join", "gone", "io/gone.h"):
            with self.subTest(name):
                self.write("docs/data-path.md", f"one\n`{name}`\n")
                self.assert_found("docs/data-path.md:2", name)


class Git(TidyTest):
    def test_binary(self) -> None:
        self.write("tests/x.img", b"a\0b")
        self.assert_found("tests/x.img:1", "not text")

    def test_allowed_binary(self) -> None:
        self.write("docs/map.png", b"a\0b")
        self.write("tests/fuzz/corpus/one", b"a\0b")
        self.assert_clean()

    def test_ignored_files_are_not_looked_at(self) -> None:
        self.write(".gitignore", "/out/\n")
        self.write("out/x.img", b"a\0b")
        subprocess.run(["git", "init", "-q", str(self.root)], check=True)
        self.assert_clean()


class Command(TidyTest):
    def run_tidy(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "dev/tidy.py"), str(self.root)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def test_clean(self) -> None:
        result = self.run_tidy()
        self.assertEqual((result.returncode, result.stdout), (0, "tidy: clean\n"))

    def test_findings(self) -> None:
        self.write("tests/x.img", b"a\0b")
        result = self.run_tidy()
        self.assertEqual(result.returncode, 1)
        self.assertIn("tests/x.img:1: not text", result.stdout)


if __name__ == "__main__":
    unittest.main()
