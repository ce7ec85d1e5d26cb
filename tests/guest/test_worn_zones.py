# SPDX-License-Identifier: Apache-2.0
"""Read-only and offline zones as a real guest sees them."""

import pytest

from daemon import Daemon, check, create
from guest import Guest
from worn_image import OFFLINE, READ_ONLY, set_state

ZONE_SECTORS = 16 * 2048


@pytest.fixture(scope="module", params=["6.12", "7.2"])
def worn(cache, request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("worn")
    image = create(folder / "disk.zbd", "256M", "zone.size=16M")
    set_state(image, 2, READ_ONLY)
    set_state(image, 3, OFFLINE)
    check(image)
    with Daemon(image) as daemon, Guest(kernel=request.param, disks=[daemon.disk()], log_dir=folder / "guest") as guest:
        yield guest
        guest.shutdown()
    check(image)


def fails(guest, command: str) -> bool:
    result = guest.run(command)
    return not result.ok and "Input/output error" in result.output


def test_report_shows_them(worn):
    report = worn.sh("blkzone report /dev/vda").splitlines()
    assert "(ro)" in report[2]
    assert "(of)" in report[3]
    assert all("(em)" in line for line in report[:2] + report[4:])


def test_read_only_zone_is_read_and_takes_nothing(worn):
    worn.sh("dd if=/dev/vda of=/dev/null bs=16M count=1 skip=2 iflag=direct")
    assert fails(worn, "dd if=/dev/zero of=/dev/vda bs=4k count=1 seek=8192 oflag=direct")
    assert fails(worn, f"blkzone reset -o {2 * ZONE_SECTORS} -c 1 /dev/vda")


def test_offline_zone_does_nothing(worn):
    assert fails(worn, "dd if=/dev/vda of=/dev/null bs=4k count=1 skip=12288 iflag=direct")
    assert fails(worn, "dd if=/dev/zero of=/dev/vda bs=4k count=1 seek=12288 oflag=direct")
    assert fails(worn, f"blkzone reset -o {3 * ZONE_SECTORS} -c 1 /dev/vda")


def test_reset_of_everything_passes_over_them(worn):
    worn.sh("dd if=/dev/zero of=/dev/vda bs=4k count=1 seek=16384 oflag=direct")
    worn.sh("blkzone reset /dev/vda")
    report = worn.sh("blkzone report /dev/vda").splitlines()
    assert "(ro)" in report[2] and "(of)" in report[3] and "(em)" in report[4]
