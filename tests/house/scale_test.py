# SPDX-License-Identifier: Apache-2.0
"""Tests of bench/scale: its layout is the format's, and its figures are closed forms."""

import dataclasses
import importlib.machinery
import importlib.util
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "bench/scale"
sys.dont_write_bytecode = True

loader = importlib.machinery.SourceFileLoader("scale", str(PROGRAM))
spec = importlib.util.spec_from_loader("scale", loader)
scale = importlib.util.module_from_spec(spec)
sys.modules["scale"] = scale
loader.exec_module(scale)

MIB = 1 << 20
# One disk without company: every time is known.
ALONE = scale.Setup(disks=1, hosts=1, queue_depth=1, open_zones=1, seconds=2, service="fixed")


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-B", str(PROGRAM), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class LayoutTest(unittest.TestCase):
    def test_constants_are_those_of_the_format(self) -> None:
        header = (ROOT / "src/node/format/zoned_header.h").read_text()
        self.assertRegex(header, r"kLiveTableOffset = 128 \* kKiB;")
        self.assertRegex(header, r"kDataAlignment = kMiB;")
        self.assertRegex(header, r"kZonesPerPage = 504;")
        self.assertEqual(scale.LIVE_TABLE_OFFSET, 128 * 1024)
        self.assertEqual(scale.DATA_ALIGNMENT, MIB)
        self.assertEqual(scale.ZONES_PER_COMMIT_PAGE, 504)

    def test_data_begins_where_create_puts_it(self) -> None:
        # As `zbdkit info` tells of disks of 1 TiB with zones of 256 MiB and of 8 MiB.
        self.assertEqual(scale.data_offset_of(4096), 1 * MIB)
        self.assertEqual(scale.data_offset_of(131072), 4 * MIB)

    def test_range_without_striping_is_cut_at_objects(self) -> None:
        setup = scale.Setup(object_size=4 * MIB)
        pieces = scale.extents_of(setup, 3 * MIB, 6 * MIB)
        self.assertEqual(pieces, [(0, 1 * MIB), (1, 4 * MIB), (2, 1 * MIB)])

    def test_range_with_striping_goes_round_the_objects_of_a_set(self) -> None:
        setup = scale.Setup(object_size=4 * MIB, stripe_unit=MIB, stripe_count=2)
        # Units 0 to 8: objects 0 1 0 1 0 1 0 1, and then the next set.
        pieces = scale.extents_of(setup, 0, 9 * MIB)
        self.assertEqual(pieces, [(0, 4 * MIB), (1, 4 * MIB), (2, 1 * MIB)])

    def test_zone_at_1_mib_shares_its_first_and_last_object(self) -> None:
        found = scale.layout(scale.Setup())
        self.assertEqual((found["objects of a zone"], found["of them whole"]), (65, 63))

    def test_zone_at_4_mib_has_its_objects_for_itself(self) -> None:
        found = scale.layout(scale.Setup(data_offset=4 * MIB))
        self.assertEqual((found["objects of a zone"], found["of them whole"]), (64, 64))

    def test_group_is_on_distinct_osds(self) -> None:
        placement = scale.Placement(scale.Setup(osds=4))
        self.assertEqual({len(set(osds)) for osds in placement.osds}, {3})


class SimulationTest(unittest.TestCase):
    def test_depth_1_takes_a_data_and_a_page_write(self) -> None:
        setup = dataclasses.replace(ALONE, data_ms=5, page_ms=3, delay_ms=1, host_ms=0)
        found = scale.simulate(setup)
        self.assertAlmostEqual(found["mean ms"], 5 + 1 + 3 + 1, places=6)
        self.assertAlmostEqual(found["p99 ms"], 10, places=6)

    def test_utilisation_is_load_by_service_time(self) -> None:
        # 100 appends a second, each 3 copies of 5 + 3 ms, over 30 OSDs.
        setup = dataclasses.replace(ALONE, data_ms=5, page_ms=3, delay_ms=1, host_ms=0, seconds=20)
        found = scale.simulate(setup)
        self.assertAlmostEqual(found["OSD mean %"], 8, delta=0.05)

    def test_batch_of_equal_times_is_between_half_and_a_third_of_the_depth(self) -> None:
        # Data lands while a round runs or between two: an append takes two or three times as long
        # as a round, and rounds follow each other.
        setup = dataclasses.replace(
            ALONE, data_ms=0.01, page_ms=0, delay_ms=10, host_ms=0, queue_depth=48, seconds=20
        )
        found = scale.simulate(setup)
        self.assertGreater(found["appends a page write"], 15.8)
        self.assertLess(found["appends a page write"], 24.2)

    def test_append_that_lands_early_waits_for_the_one_before_it(self) -> None:
        simulation = scale.Simulation(ALONE)
        disk = simulation.disks[0]
        zone = disk.zones[0]
        first, second = scale.Append(0, disk, zone), scale.Append(0, disk, zone)
        zone.queue.extend((first, second))
        simulation.landed(1.0, second)
        self.assertIsNone(disk.round)
        simulation.landed(2.0, first)
        self.assertEqual((disk.round, disk.waiting), ([first], [second]))

    def test_pages_of_a_round_are_written_one_after_another(self) -> None:
        near = dataclasses.replace(ALONE, open_zones=8, queue_depth=8, seconds=5)
        spread = dataclasses.replace(near, spread=True)
        self.assertGreater(
            scale.simulate(spread)["mean ms"], 1.5 * scale.simulate(near)["mean ms"]
        )

    def test_seed_decides_everything(self) -> None:
        setup = scale.Setup(disks=5, seconds=0.2)
        first = scale.simulate(setup)
        self.assertEqual(first, scale.simulate(setup))
        self.assertNotEqual(first, scale.simulate(dataclasses.replace(setup, seed=2)))


class CommandTest(unittest.TestCase):
    def test_check_is_passed(self) -> None:
        done = run("--check")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(len(re.findall(r"\| yes \|", done.stdout)), 12)

    def test_check_fails_where_a_figure_is_off(self) -> None:
        off = scale.Comparison("a", expected=1.0, found=1.02, tolerance=0.01)
        near = scale.Comparison("b", expected=1.0, found=1.005, tolerance=0.01)
        self.assertEqual((off.is_near, near.is_near), (False, True))

    def test_vary_gives_a_row_for_each_value(self) -> None:
        done = run("--disks", "3", "--seconds", "0.1", "--vary", "queue-depth=1,4,16")
        rows = done.stdout.splitlines()
        self.assertEqual([row.split(" | ")[0] for row in rows[2:]], ["| 1", "| 4", "| 16"])

    def test_nonsense_is_refused_with_what_was_expected(self) -> None:
        for arguments, expected in (
            (("--osds", "2"), "3 copies need as many OSDs"),
            (("--zone-size", "0"), "expected a size above 0"),
            (("--zone-size", "x"), "invalid size value"),
            (("--stripe-unit", "3M"), "a multiple of the stripe unit"),
            (("--vary", "colour=1"), "expected NAME=VALUE"),
            (("--open-zones", "5000"), "5000 open zones of a disk that has 4096"),
        ):
            with self.subTest(arguments=arguments):
                done = run(*arguments)
                self.assertEqual(done.returncode, 2)
                self.assertIn(expected, done.stderr)


if __name__ == "__main__":
    unittest.main()
