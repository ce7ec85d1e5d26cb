# SPDX-License-Identifier: Apache-2.0
"""Zoned disks in a Ceph cluster that hangs and restarts, and of a daemon that is killed: who writes to them sees a pause, and nothing that
completed is lost."""

import pathlib
import sys
import time

import pytest

from daemon import Daemon, check, report, zbdkit
from guest import Guest
from ublk_disk import UblkDisk

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "ceph"))

import cluster as ceph  # noqa: E402

NODE = "driver=zoned,file.driver=rbd,file.pool=rbd,file.image=disk,file.force-takeover=on,file.conf={conf}"


@pytest.fixture
def cluster():
    reason = ceph.Cache().missing()
    if reason:
        pytest.skip(reason)
    with ceph.Cluster("bluestore") as cluster:
        yield cluster


def name_of(cluster: ceph.Cluster) -> str:
    return f"rbd:rbd/disk:conf={cluster.conf}"


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


def fail_and_return(cluster: ceph.Cluster, guest: Guest) -> None:
    """The cluster hangs for a while and goes on, and then its OSD dies and comes back, while the guest writes."""
    cluster.stop_osd()
    time.sleep(2)
    cluster.continue_osd()
    wait_for_writes(guest, 50)
    cluster.kill_osd()
    cluster.start_osd()
    wait_for_writes(guest, 50)


# Each block says what it is and where it belongs; all are read back in the end.
ANYWHERE = (
    "newer fio --name=load --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=16 --rw=randwrite --bs=4k-32k "
    "--size=48M --io_size=1G --time_based --runtime=40 --verify=crc32c --verify_fatal=1 --verify_backlog=256 --rate=4m --output-format=normal"
)


def test_guest_goes_on_while_the_cluster_and_the_daemon_fail(cluster, cache, tmp_path):
    zbdkit("create", name_of(cluster), "64M", "-o", "zone.mode=host-aware,zone.size=4M")
    with Daemon(f"--image-opts={NODE.format(conf=cluster.conf)}") as daemon:
        with Guest(kernel="6.12", disks=[daemon.plain_disk(reconnect_ms=50)], tools=True, log_dir=tmp_path / "guest") as guest:
            load = guest.start_job(ANYWHERE)
            wait_for_writes(guest, 50)
            fail_and_return(cluster, guest)
            for _ in range(3):
                daemon.kill()
                daemon.start()
                wait_for_writes(guest, 50)
            result = load.wait(180).check()
            assert "err= 0" in result.output
            assert "I/O error" not in guest.dmesg()
            guest.shutdown()
        assert daemon.stop().failed == 0
    check(name_of(cluster))


# --- A guest with zones ---------------------------------------------------------------------------------------------------

ZONE = 4 << 20
BLOCK = 16 << 10

# Each run fills a part of its zones, and the next one begins with their reset.
IN_ZONES = (
    "until [ -e /run/enough ]; do fio --name=load --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=8 --rw=randwrite --bs=4k-32k --zonemode=zbd "
    "--max_open_zones=3 --size=32M --io_size=12M --verify=crc32c --verify_fatal=1 --verify_backlog=64 --rate=4m --output-format=normal || exit; done"
)

# Fills zones one behind the other, and says after each block how many are done.
WRITER = (
    "for i in $(seq 0 {last}); do dd if={pattern} of=/dev/vda bs=16k count=1 skip=$((i % 64)) seek=$(({first} + i)) oflag=direct conv=notrunc "
    "status=none || exit; echo $((i + 1)) >/run/done.{zone}; done"
)
WRITTEN_ZONES = (8, 10, 12, 14)


def blocks_done(guest: Guest, zone: int) -> int:
    return int(guest.sh(f"cat /run/done.{zone} 2>/dev/null || echo 0"))


def test_guest_with_zones_goes_on_while_the_cluster_fails_and_nothing_is_lost_with_the_daemon(cluster, cache, tmp_path):
    """QEMU's device for zones does not connect again, so with the daemon the guest dies. What it was told is done must be there."""
    name = name_of(cluster)
    zbdkit("create", name, "64M", "-o", "zone.size=4M")
    pattern = tmp_path / "pattern"
    pattern.write_bytes(b"".join(bytes([number + 1]) * BLOCK for number in range(64)))
    with Daemon(f"--image-opts={NODE.format(conf=cluster.conf)}") as daemon:
        with Guest(kernel="6.12", disks=[daemon.disk()], log_dir=tmp_path / "guest") as guest:
            load = guest.start_job(IN_ZONES)
            wait_for_writes(guest, 50)
            fail_and_return(cluster, guest)
            assert not load.done(), load.wait().output
            guest.sh("touch /run/enough")
            assert "err= 0" in load.wait(120).check().output
            assert "I/O error" not in guest.dmesg()

            for zone in WRITTEN_ZONES:
                guest.start_job(WRITER.format(pattern=pattern, zone=zone, first=zone * ZONE // BLOCK, last=2 * ZONE // BLOCK - 1))
            while min(blocks_done(guest, zone) for zone in WRITTEN_ZONES) < 20:
                assert daemon.running()
            daemon.kill()
            done = {zone: blocks_done(guest, zone) for zone in WRITTEN_ZONES}
            assert max(done.values()) < 2 * ZONE // BLOCK, "the writers had ended before the kill"
            guest.kill()
        daemon.start()
        assert daemon.stop().failed == 0
    check(name)
    pointers = [zone["write_pointer"] for zone in report(name)]
    reads = []
    for zone, blocks in done.items():
        start = zone * ZONE
        written = sum(pointers[number] - number * ZONE for number in (zone, zone + 1) if number == zone or blocks * BLOCK > ZONE)
        assert written >= blocks * BLOCK
        for number in range(blocks):
            reads += ["-c", f"read -P {number % 64 + 1} {start + number * BLOCK} {BLOCK}"]
    assert zbdkit("io", "-r", name, *reads).count(f"read {BLOCK}/{BLOCK}") == sum(done.values())


# --- A disk of the kernel -------------------------------------------------------------------------------------------------

FIO = (
    "until [ -e /run/enough ]; do fio --name=load --filename={path} --direct=1 --ioengine=io_uring --iodepth=8 --rw=randwrite --bsrange=4k-32k --zonemode=zbd "
    "--max_open_zones=3 --size=32M --io_size=12M --verify=crc32c --verify_fatal=1 --verify_backlog=64 --output-format=normal || exit; done"
)


def test_kernels_disk_goes_on_while_the_cluster_and_the_daemon_fail(cluster, cache, tmp_path):
    """The cluster is in the guest, whose kernel has the disk by ublk: host-managed, and without a virtual machine around it."""
    with Guest(kernel="6.12", memory="3G", log_dir=tmp_path / "guest") as guest:
        guest.modprobe("ublk_drv")
        guest.sh("ip link set lo up")
        cluster_job = guest.start_job(
            f"TMPDIR=/run HOME={pathlib.Path.home()} exec /usr/bin/python3 -B {ceph.__file__} run --store bluestore -- "
            "sh -c 'echo $ZBDKIT_TEST_CEPH_CONF >/run/conf; until [ -e /run/over ]; do sleep 0.1; done' >/run/cluster.log 2>&1"
        )
        ready = guest.run("until [ -s /run/conf ]; do sleep 0.1; done", 240)
        assert ready.ok, guest.sh("cat /run/cluster.log")
        conf = guest.sh("cat /run/conf").strip()
        with UblkDisk(guest, "kernel") as disk:
            disk.image = f"rbd:rbd/disk:conf={conf}"
            disk.create("64M", "zone.size=4M")
            disk.node = NODE.format(conf=conf)
            disk.start("--num-queues", "2")
            load = guest.start_job(FIO.format(path=disk.path))
            for _ in range(5):
                guest.sh(f"before=$(awk '{{print $5}}' /sys/block/{disk.name}/stat); until [ $(awk '{{print $5}}' /sys/block/{disk.name}/stat) -gt $((before + 50)) ]; do sleep 0.1; done", 60)
                disk.kill()
                disk.recover()
            guest.sh("pkill -STOP ceph-osd; sleep 2; pkill -CONT ceph-osd")
            assert not load.done(), load.wait().output
            guest.sh("touch /run/enough")
            assert "err= 0" in load.wait(120).check().output
            assert "I/O error" not in guest.dmesg()
            assert disk.stop()["failed"] == 0
            disk.check()
        guest.sh("touch /run/over")
        cluster_job.wait(60).check()
