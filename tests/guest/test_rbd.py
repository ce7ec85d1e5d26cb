# SPDX-License-Identifier: Apache-2.0
"""A guest's zoned disk in a Ceph cluster: the cluster hangs, restarts, and the daemon is killed, and the guest sees a pause."""

import pathlib
import sys
import time

import pytest

from daemon import Daemon, check, zbdkit
from guest import Guest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "ceph"))

from cluster import Cache, Cluster  # noqa: E402

# Each block says what it is and where it belongs; all are read back in the end.
LOAD = (
    "newer fio --name=load --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=16 --rw=randwrite --bs=4k-32k "
    "--size=48M --io_size=1G --time_based --runtime=40 --verify=crc32c --verify_fatal=1 --verify_backlog=256 --rate=4m --output-format=normal"
)


@pytest.fixture
def cluster():
    reason = Cache().missing()
    if reason:
        pytest.skip(reason)
    with Cluster("bluestore") as cluster:
        yield cluster


def completed(guest: Guest) -> int:
    """Writes."""
    return int(guest.sh("cat /sys/block/vda/stat").split()[4])


def wait_for_writes(guest: Guest, count: int) -> None:
    """Until so many more have completed."""
    before = completed(guest)
    deadline = time.monotonic() + 60
    while completed(guest) < before + count:
        assert time.monotonic() < deadline, "the guest's writes have stopped"
        time.sleep(0.1)


def test_guest_goes_on_while_the_cluster_and_the_daemon_fail(cluster, cache, tmp_path):
    name = f"rbd:rbd/disk:conf={cluster.conf}"
    zbdkit("create", name, "64M", "-o", "zone.mode=host-aware,zone.size=4M")
    node = f"driver=zoned,file.driver=rbd,file.pool=rbd,file.image=disk,file.conf={cluster.conf},file.force-takeover=on"
    with Daemon(f"--image-opts={node}") as daemon:
        with Guest(kernel="6.12", disks=[daemon.plain_disk(reconnect_ms=50)], tools=True, log_dir=tmp_path / "guest") as guest:
            load = guest.start_job(LOAD)
            wait_for_writes(guest, 50)
            cluster.stop_osd()
            time.sleep(2)
            cluster.continue_osd()
            wait_for_writes(guest, 50)
            cluster.kill_osd()
            cluster.start_osd()
            wait_for_writes(guest, 50)
            for _ in range(3):
                daemon.kill()
                daemon.start()
                wait_for_writes(guest, 50)
            result = load.wait(180).check()
            assert "err= 0" in result.output
            assert "I/O error" not in guest.dmesg()
            guest.shutdown()
        assert daemon.stop().failed == 0
    check(name)
