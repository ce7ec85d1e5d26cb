# SPDX-License-Identifier: Apache-2.0
"""`zbdkit report` of a real zoned block device of the kernel, beside the tools whose lines it prints."""

import difflib
import re
import shlex

import pytest

import daemon
from guest import Guest

# Conventional and sequential zones, capacity below the size; then a zone in every state that a host can make.
MAKE_DEVICE = """
set -e
modprobe null_blk nr_devices=0
mkdir /sys/kernel/config/nullb/nullb0
cd /sys/kernel/config/nullb/nullb0
echo 1 >zoned; echo 4 >zone_size; echo 3 >zone_capacity; echo 2 >zone_nr_conv; echo 64 >size
echo 1 >memory_backed; echo 6 >zone_max_open; echo 8 >zone_max_active
echo 1 >power
cd /
dd if=/dev/urandom of=/dev/nullb0 bs=4k count=3 seek=3072 oflag=direct
blkzone open -o $((4 * 8192)) -c 1 /dev/nullb0
dd if=/dev/urandom of=/dev/nullb0 bs=4k count=1 seek=5120 oflag=direct
blkzone close -o $((5 * 8192)) -c 1 /dev/nullb0
blkzone finish -o $((6 * 8192)) -c 1 /dev/nullb0
echo $((7 * 8192)) >/sys/kernel/config/nullb/nullb0/zone_readonly
echo $((8 * 8192)) >/sys/kernel/config/nullb/nullb0/zone_offline
"""


@pytest.fixture(scope="module")
def device(cache, tmp_path_factory):
    with Guest(kernel="6.12", tools=True, log_dir=tmp_path_factory.mktemp("guest")) as guest:
        guest.run(MAKE_DEVICE).check()
        yield guest


def zbdkit(device, *words: str) -> str:
    return device.sh(shlex.join([str(daemon.program()), *words]))


# Conventional, read-only and offline zones have no write pointer: drivers report what they like there, and zbdkit
# the start of the zone. That number, and nothing else, is left out of the comparison.
WITHOUT_POINTER = re.compile(r"\((nw|ro|of)\)|zcond:(0|13|15),|, (ro|ol),|0x[0df], 0, 0$")
POINTER = re.compile(r"wptr 0x[0-9a-f]+|wp \d+|(?<=^)(?P<csv>(\d+, ){5})\d+")


def comparable(report: str) -> list[str]:
    return [POINTER.sub(r"\g<csv>-", line) if WITHOUT_POINTER.search(line) else line for line in report.splitlines()]


def assert_same(ours: str, theirs: str) -> None:
    difference = "\n".join(difflib.unified_diff(comparable(theirs), comparable(ours), "theirs", "ours", lineterm=""))
    assert not difference, difference


def test_device_has_a_zone_in_every_state(device):
    report = device.sh("blkzone report /dev/nullb0")
    for code in ("(nw)", "(em)", "(oi)", "(oe)", "(cl)", "(fu)", "(ro)", "(of)"):
        assert code in report, report


def test_blkzone_format_is_that_of_blkzone(device):
    assert_same(zbdkit(device, "report", "--format", "blkzone", "/dev/nullb0"), device.sh("blkzone report /dev/nullb0"))


def test_zbd_format_is_that_of_zbd(device):
    theirs = [line for line in device.sh("zbd report /dev/nullb0").splitlines() if line.startswith("Zone ")]
    ours = [line for line in zbdkit(device, "report", "--format", "zbd", "/dev/nullb0").splitlines() if line.startswith("Zone ")]
    assert_same("\n".join(ours), "\n".join(theirs))


def test_csv_format_is_that_of_zbd(device):
    assert_same(zbdkit(device, "report", "--format", "csv", "/dev/nullb0"), device.sh("zbd report -csv /dev/nullb0"))


def test_qemu_io_format_is_that_of_qemu_io(device):
    theirs = device.sh("newer qemu-io --image-opts -n driver=host_device,filename=/dev/nullb0,cache.direct=on -c 'zrp 0 16'")
    assert_same(zbdkit(device, "report", "--format", "qemu-io", "/dev/nullb0"), theirs)


def test_table_and_json_name_the_device_and_all_zones(device):
    assert "16 zones" in zbdkit(device, "report", "/dev/nullb0")
    assert zbdkit(device, "report", "--format", "json", "/dev/nullb0").count('"start"') == 16
