# SPDX-License-Identifier: Apache-2.0
"""Tests of corpus.py: what a recipe means, and that there is one for each fuzzer."""

import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True

import corpus  # noqa: E402


class RecipeTest(unittest.TestCase):
    def test_numbers_are_little_endian_bytes(self) -> None:
        seeds = corpus.parse("seed a 1 0xff 0x1234:2 5:8", "r")
        self.assertEqual(seeds, {"a": b"\x01\xff\x34\x12\x05" + bytes(7)})

    def test_text_has_escapes_and_may_hold_a_hash(self) -> None:
        self.assertEqual(corpus.parse(r'seed a "x#\"\n" 7', "r"), {"a": b'x#"\n\x07'})

    def test_tokens_are_repeated(self) -> None:
        self.assertEqual(corpus.parse('seed a 1:2*2 "ab"*2', "r"), {"a": b"\x01\0\x01\0abab"})

    def test_a_seed_goes_on_over_lines_and_comments(self) -> None:
        self.assertEqual(corpus.parse("# c\nseed a 1  # c\n\n  2\nseed b", "r"), {"a": b"\x01\x02", "b": b""})

    def test_a_seed_is_part_of_a_later_one(self) -> None:
        self.assertEqual(corpus.parse("seed a 1\nseed b =a*2 2", "r")["b"], b"\x01\x01\x02")

    def test_errors_name_the_line(self) -> None:
        wrong = ("seed a\nx", "seed a\n256", "seed a\n1:9", "seed a\n=b", "seed a\nseed a", "\n7", 'seed a\n"x')
        for text in wrong:
            with self.subTest(text), self.assertRaisesRegex(corpus.RecipeError, "^r:2: "):
                corpus.parse(text, "r")


class TreeTest(unittest.TestCase):
    def test_every_fuzzer_has_a_recipe_and_every_recipe_a_fuzzer(self) -> None:
        fuzzers = {path.stem for path in ROOT.glob("src/**/*_fuzz.cc")}
        self.assertEqual({path.stem for path in corpus.RECIPES.glob("*.txt")}, fuzzers)


if __name__ == "__main__":
    unittest.main()
