# SPDX-License-Identifier: Apache-2.0
"""zbdkit serve --ublk in a guest: the zoned disk is one of the guest's own kernel, /dev/ublkbN."""

from __future__ import annotations

import json
import re
import shlex

import pytest

import daemon
import test_host_device
import test_zoned_disk
from guest import KERNELS, Guest
from test_zoned_disk import BLOCK, CAPACITY, CONVENTIONAL, MAX_ACTIVE, MAX_OPEN, MIB, OPTIONS, ZONE_SIZE, ZONES, Machine, fio
from ublk_disk import UblkDaemon, UblkDisk, summaries

KIB = 1 << 10

NO_DRIVER = "expected Linux 6.6 or newer with its module loaded: modprobe ublk_drv"


@pytest.fixture(scope="module", params=KERNELS)
def host(cache, request, tmp_path_factory):
    """A guest in which zbdkit makes disks of the guest's own kernel."""
    with Guest(kernel=request.param, memory="2G", tools=True, log_dir=tmp_path_factory.mktemp("ublk")) as guest:
        # Here, since the driver cannot be taken away while another test has a disk.
        guest.sh(f"{daemon.program()} create /run/early.zbd 16M -o zone.size=1M; mkdir /run/m")
        guest.without_driver = {
            command: guest.run(f"{daemon.program()} {command}") for command in ("serve /run/early.zbd --ublk", "ublk stop 0", "ublk list")
        }
        guest.modprobe("ublk_drv")
        yield guest


def complaints(guest: Guest) -> list[str]:
    """What the kernel has complained of since the last call."""
    return Machine.complaints(guest)


@pytest.fixture(autouse=True)
def calm(request):
    """Fails a test that makes the kernel complain. A test that provokes it calls errors_expected()."""
    yield
    # Not by an argument: a test that boots guests of its own would run once for each of the shared ones.
    if "host" in request.fixturenames:
        assert complaints(request.getfixturevalue("host")) == []


def errors_expected(guest: Guest) -> None:
    """Drops the complaints about what a test provoked; anything but failed I/O stays a failure."""
    rest = [line for line in complaints(guest) if not re.search(r"I/O error|[Ee]rror, dev", line)]
    assert rest == []


@pytest.fixture(scope="module")
def standing(host):
    """A disk for many tests. Two queues, so that Linux chooses no scheduler."""
    with UblkDisk(host, "standing").create("1G", OPTIONS).start("--num-queues", "2") as served:
        machine = Machine(host, served.path)
        machine.ublk = served
        yield machine
        summary = served.stop()
        # What the kernel refuses never arrives; what arrives has the right form.
        assert summary["refused"] == 0
        served.check()


@pytest.fixture
def disk(standing):
    """That disk with its zones empty."""
    standing.ublk.reset()
    return standing


@pytest.fixture
def small(host):
    """A disk as that of the tests of host devices."""
    options = "zone.size=4M,zone.capacity=3M,zone.conventional_zones=2,zone.max_open_zones=3,zone.max_active_zones=5"
    with UblkDisk(host, "small").create("64M", options).start() as served:
        yield served


def says(result, text: str) -> bool:
    return not result.ok and text in result.output


def zbdkit(guest: Guest, command: str):
    return guest.run(f"{daemon.program()} {command}", 60)


# --- what the kernel is told ----------------------------------------------------------------------------------------------


def test_geometry_and_limits_in_sysfs(disk):
    names = {
        "zoned": "host-managed",
        "chunk_sectors": str(ZONE_SIZE // 512),
        "nr_zones": str(ZONES),
        "max_open_zones": str(MAX_OPEN),
        "max_active_zones": str(MAX_ACTIVE),
        "zone_append_max_bytes": str(504 * KIB),
        "zone_write_granularity": str(BLOCK),
        "logical_block_size": str(BLOCK),
        "physical_block_size": str(BLOCK),
        "minimum_io_size": str(BLOCK),
        "max_hw_sectors_kb": "512",
        "write_cache": "write back",
        "fua": "1",
        "rotational": "0",
        "scheduler": "[none] mq-deadline",
        "discard_max_bytes": "0",
        "write_zeroes_max_bytes": "0",
    }
    lines = disk.sh(f"cd /sys/block/{disk.ublk.name}/queue; cat " + " ".join(names)).splitlines()
    assert {name: line.strip() for name, line in zip(names, lines)} == names
    assert disk.sh(f"blockdev --getsize64 {disk.device}; ls /sys/block/{disk.ublk.name}/mq") == f"{ZONES * ZONE_SIZE}\n0\n1"


def test_writes_of_many_zones_are_not_taken_one_at_a_time(disk):
    attribute = f"/sys/block/{disk.ublk.name}/queue/zoned_qd1_writes"
    assert disk.sh(f"[ ! -e {attribute} ] || cat {attribute}") in ("", "0")


def test_lsblk_shows_zones(disk):
    name, zoned, size, count = disk.sh(f"lsblk -dnz -o NAME,ZONED,ZONE-SZ,ZONE-NR {disk.device}").split()
    assert (name, zoned, size, count) == (disk.ublk.name, "host-managed", "32M", "32")


def test_report_shows_types_and_capacity(disk):
    lines = disk.sh(f"blkzone report {disk.device}").splitlines()
    assert len(lines) == 32
    for line in lines[:CONVENTIONAL]:
        assert "len 0x010000, cap 0x010000, wptr 0x000000" in line and "zcond: 0(nw) [type: 1(CONVENTIONAL)]" in line
    for line in lines[CONVENTIONAL:]:
        assert "len 0x010000, cap 0x00c000, wptr 0x000000" in line and "zcond: 1(em) [type: 2(SEQ_WRITE_REQUIRED)]" in line


def test_part_of_the_zones_is_reported(disk):
    lines = disk.sh(f"blkzone report -o {30 * 0x10000} {disk.device}; blkzone report -o {4 * 0x10000} -c 3 {disk.device}").splitlines()
    starts = [int(re.search(r"start: (\w+)", line)[1], 16) // 0x10000 for line in lines]
    assert starts == [30, 31, 4, 5, 6]


def test_read_only_disk_refuses_writes_and_actions(host):
    with UblkDisk(host, "sealed").create("64M", "zone.size=4M").start() as served:
        host.sh(f"dd if=/dev/zero of={served.path} bs=4k count=3 oflag=direct")
        served.stop()
        served.start("--read-only")
        assert host.sh(f"blockdev --getro {served.path}") == "1"
        assert served.zones()[0] == ("oi", 12 * KIB)
        assert says(host.run(f"dd if=/dev/zero of={served.path} bs=4k count=1 seek=3 oflag=direct"), "Operation not permitted")
        assert not host.run(f"blkzone reset {served.path}").ok
        assert served.zones()[0] == ("oi", 12 * KIB)


def test_list_says_who_serves_what(small):
    devices = {device["device"]: device for device in json.loads(zbdkit(small.guest, "ublk list --json").check().stdout)}
    assert devices[small.number] == {
        "device": small.number,
        "disk": small.path,
        "state": "live",
        "pid": small.daemon.pid,
        "queues": 1,
        "queue-size": 64,
        "size": 64 * MIB,
        "zoned": True,
        "zone-size": 4 * MIB,
        "image": small.image,
    }
    table = zbdkit(small.guest, "ublk list").check().stdout
    assert re.search(rf"^{small.path} +live +{small.daemon.pid} +1 +64 +64 MiB of 4 MiB +{small.image}$", table, re.MULTILINE), table


# --- states, limits and writes: as of a guest's disk, see test_zoned_disk.py -----------------------------------------------

test_every_state_that_a_guest_can_make = test_zoned_disk.test_every_state_that_a_guest_can_make
test_transitions_follow_the_rules = test_zoned_disk.test_transitions_follow_the_rules
test_open_limit = test_zoned_disk.test_open_limit
test_active_limit_and_implicit_close = test_zoned_disk.test_active_limit_and_implicit_close
test_active_limit_comes_before_open_limit = test_zoned_disk.test_active_limit_comes_before_open_limit
test_writes_off_the_pointer_are_refused = test_zoned_disk.test_writes_off_the_pointer_are_refused
test_full_zones_and_the_space_behind_the_capacity_take_nothing = test_zoned_disk.test_full_zones_and_the_space_behind_the_capacity_take_nothing
test_write_past_the_capacity_is_refused = test_zoned_disk.test_write_past_the_capacity_is_refused
test_reset_and_reuse = test_zoned_disk.test_reset_and_reuse
test_reset_of_everything = test_zoned_disk.test_reset_of_everything


def zone_option(zone: int) -> str:
    return f"-o {zone * ZONE_SIZE // 512} -c 1"


def test_blkzone_says_which_limit_it_was(disk):
    opened = "; ".join(f"blkzone open {zone_option(zone)} {disk.device}" for zone in range(4, 10))
    disk.sh(f"set -e; {opened}")
    assert says(disk.run(f"blkzone open {zone_option(20)} {disk.device}"), "Too many references")
    at = 20 * ZONE_SIZE // BLOCK
    assert says(disk.run(f"dd if=/dev/zero of={disk.device} bs=4k count=1 seek={at} oflag=direct"), "Too many references")
    disk.sh(f"blkzone reset {disk.device}")
    written = [["write", zone, 0, BLOCK, 1] for zone in range(4, 12)]
    disk.do(*written)
    assert says(disk.run(f"blkzone open {zone_option(20)} {disk.device}"), "Value too large")
    assert says(disk.run(f"dd if=/dev/zero of={disk.device} bs=4k count=1 seek={at} oflag=direct"), "Value too large")
    errors_expected(disk.guest)


def test_write_of_less_than_a_block_is_refused(disk):
    result = disk.run(f"dd if=/dev/zero of={disk.device} bs=512 count=1 seek={4 * ZONE_SIZE // 512} oflag=direct")
    assert says(result, "Invalid argument")
    assert disk.zones()[4] == ("em", 0)


def test_action_on_a_range_of_zones(disk):
    disk.sh(f"blkzone open -o {4 * 0x10000} -c 3 {disk.device}")
    assert [state for state, _ in disk.zones()[4:8]] == ["oe", "oe", "oe", "em"]
    disk.do(["write", 4, 0, BLOCK, 1])
    disk.sh(f"blkzone close -o {4 * 0x10000} -c 1 {disk.device}; blkzone finish -o {5 * 0x10000} -c 2 {disk.device}")
    assert [state for state, _ in disk.zones()[4:8]] == ["cl", "fu", "fu", "em"]
    disk.sh(f"blkzone reset -o {5 * 0x10000} -c 2 {disk.device}")
    assert [state for state, _ in disk.zones()[4:8]] == ["cl", "em", "em", "em"]


def test_zbd_tool(disk):
    zone = f"-ofst {6 * ZONE_SIZE} -len {ZONE_SIZE} {disk.device}"
    states = disk.sh(
        "set -e\n"
        f"state() {{ zbd report {zone} | grep '^Zone 00006'; }}\n"
        f"zbd open {zone}; state\n"
        f"dd if=/dev/zero of={disk.device} bs=4k count=2 seek={6 * ZONE_SIZE // BLOCK} oflag=direct status=none\n"
        f"zbd close {zone}; state\n"
        f"zbd finish {zone}; state\n"
        f"zbd reset {zone}; state"
    ).splitlines()
    assert [re.search(r", (oe|cl|fu|em), ", line)[1] for line in states] == ["oe", "cl", "fu", "em"]
    assert [f"wp {6 * ZONE_SIZE + 8 * KIB:014}" in line for line in states] == [False, True, False, False]
    rows = [row.split(", ") for row in disk.sh(f"zbd report -csv {disk.device}").splitlines()[1:]]
    assert [(row[1], int(row[3]), int(row[4])) for row in rows] == [("1", ZONE_SIZE, ZONE_SIZE)] * 4 + [("2", ZONE_SIZE, CAPACITY)] * 28


def test_one_queue_without_scheduler_keeps_the_order_of_writes(small):
    small.guest.sh(f"echo none >/sys/block/{small.name}/queue/scheduler")
    zone = small.guest.run(f"dd if=/dev/zero of={small.path} bs=64k count=48 seek={8 * MIB // (64 * KIB)} oflag=direct")
    assert zone.ok and small.zones()[2][0] == "fu"


def test_image_and_kernel_agree_about_every_zone(host):
    with UblkDisk(host, "agree").create("1G", OPTIONS).start() as served:
        machine = Machine(host, served.path)
        machine.do(
            *[["write", 0, 0, MIB, 1], ["write", 4, 0, 3 * MIB, 2], ["write", 5, 0, MIB, 3], ["close", 5]],
            *[["write", 6, 0, CAPACITY, 4], ["write", 7, 0, MIB, 5], ["finish", 7], ["open", 8], ["close", 8]],
            *[["write", 9, 0, MIB, 6], ["reset", 9], ["open", 10], ["write", 10, 0, MIB, 7], ["close", 10]],
            *[["close", 4]],
        )
        seen = host.sh(f"blkzone report {served.path}")
        assert [state for state, _ in served.zones()[4:11]] == ["cl", "cl", "fu", "fu", "em", "em", "cl"]
        served.stop()
        assert zbdkit(host, f"report {served.image} -f blkzone").check().stdout.rstrip("\n") == seen
        served.start()
        assert host.sh(f"blkzone report {served.path}") == seen
        places = [["read", 0, 0, MIB], ["read", 4, 0, 3 * MIB], ["read", 5, 0, MIB], ["read", 6, 0, CAPACITY], ["read", 7, 0, MIB]]
        assert machine.do(*places, ["read", 9, 0, MIB], ["read", 10, 0, MIB], ["read", 10, MIB, MIB]) == [1, 2, 3, 4, 5, "zeroes", 7, "zeroes"]
        served.stop()
        served.check()


# --- the shells of zbdkit and of QEMU: as of any zoned block device, see test_host_device.py -------------------------------

test_report_is_that_of_qemu = test_host_device.test_report_is_that_of_qemu


def test_commands_states_appends_and_limits_of_a_host_device(small):
    test_host_device.check_everything(small, 2)
    test_host_device.check_active_limit(small, 2)
    errors_expected(small.guest)


def test_conventional_zones_are_written_anywhere_and_refuse_actions(small):
    test_host_device.test_conventional_zones_are_written_anywhere_and_refuse_actions(small)
    errors_expected(small.guest)


def test_appends_of_qemu(small):
    output = small.qemu_io(f"zap -p {8 * MIB} 4k 8k", f"zap -p {8 * MIB} 4k", f"zf {12 * MIB} 4M", "zrp 8M 2").check().stdout
    assert re.findall(r"append sector is (0x[0-9a-f]+)", output) == ["0x4000", "0x4018"]
    assert small.zones()[2:4] == [("oi", 16 * KIB), ("fu", small.zones()[3][1])]


# --- file systems ----------------------------------------------------------------------------------------------------------

# Files that tell what is in them: each block has its file's number and its own. Usage: files.py fill|verify FOLDER MIB
FILES = r'''
import os, struct, sys

action, folder, total = sys.argv[1], sys.argv[2], int(sys.argv[3]) << 20
BLOCK = 64 << 10

def content(file, block):
    return struct.pack("=QQ", file, block) * (BLOCK // 16)

def files():
    """Of each its number and its blocks."""
    number = size = 0
    while size < total:
        blocks = number * 37 % 61 + 1
        yield number, blocks
        number += 1
        size += blocks * BLOCK

if action == "fill":
    for number, blocks in files():
        with open(f"{folder}/new{number}", "wb", buffering=0) as file:
            for block in range(blocks):
                file.write(content(number, block))
        if number % 7 == 1:
            os.rename(f"{folder}/new{number}", f"{folder}/renamed{number}")
        if number % 5 == 4:
            for name in os.listdir(folder):
                if name.endswith(f"d{number - 2}") or name.endswith(f"w{number - 2}"):
                    os.unlink(f"{folder}/{name}")
    os.sync()
else:
    checked = 0
    for name in os.listdir(folder):
        number = int(name.lstrip("renamwd"))
        blocks = number * 37 % 61 + 1
        assert os.path.getsize(f"{folder}/{name}") == blocks * BLOCK, name
        with open(f"{folder}/{name}", "rb", buffering=0) as file:
            for block in range(blocks):
                assert file.read(BLOCK) == content(number, block), (name, block)
        checked += 1
    last = max(number for number, _ in files())
    deleted = sum(1 for number, _ in files() if number % 5 == 2 and number + 2 <= last)
    assert checked == last + 1 - deleted, (checked, last, deleted)
'''


def files(guest: Guest, action: str, folder: str, mib: int) -> None:
    guest.sh(f"mkdir -p {folder}; cat >/run/files.py <<'END'\n{FILES}\nEND\n/usr/bin/python3 -IS /run/files.py {action} {folder} {mib}", timeout=120)


def live_and_return(served: UblkDisk, kind: str, mkfs: str, check: str, mib: int) -> dict[str, int]:
    """Makes a file system, uses it, and finds everything again after a restart. Returns the first daemon's summary."""
    host = served.guest
    host.modprobe(kind)
    host.sh(f"{mkfs} {served.path}", timeout=60)
    host.sh(f"mount -t {kind} {served.path} /run/m")
    files(host, "fill", "/run/m/d", mib)
    host.sh("umount /run/m", timeout=60)
    host.sh(f"{check} {served.path}", timeout=60)
    summary = served.stop()
    assert (summary["refused"], summary["failed"]) == (0, 0)
    served.check()
    served.start()
    host.sh(f"mount -t {kind} {served.path} /run/m")
    files(host, "verify", "/run/m/d", mib)
    return summary


MKFS_BTRFS = "mkfs.btrfs -q -f -O zoned -d single -m single"
MKFS_F2FS = "mkfs.f2fs -q -f -m"


def test_btrfs(host):
    with UblkDisk(host, "btrfs").create("512M", "zone.size=8M,zone.max_open_zones=16,zone.max_active_zones=24").start() as served:
        summary = live_and_return(served, "btrfs", MKFS_BTRFS, "btrfs check --readonly", 120)
        # Data is appended: the disk, not the file system, decides where it goes.
        assert summary["append"] > 0
        assert "no errors found" in host.sh("btrfs scrub start -B /run/m", timeout=60)
        host.sh("rm -r /run/m/d")
        files(host, "fill", "/run/m/again", 120)
        files(host, "verify", "/run/m/again", 120)
        host.sh("umount /run/m")


def test_f2fs_on_conventional_and_sequential_zones(host):
    with UblkDisk(host, "f2fs").create("1G", "zone.size=16M,zone.conventional_zones=16").start() as served:
        live_and_return(served, "f2fs", MKFS_F2FS, "fsck.f2fs", 120)
        host.sh("umount /run/m")


def test_zoned_xfs(host):
    if host.kernel == "6.12":
        pytest.skip("Linux 6.12 has no zoned XFS")
    with UblkDisk(host, "xfs").create("1G", "zone.size=16M,zone.conventional_zones=20").start() as served:
        summary = live_and_return(served, "xfs", "newer mkfs.xfs -q -f -r zoned=1", "newer xfs_repair -n", 160)
        assert summary["append"] > 0
        host.sh("umount /run/m")


def test_zonefs(host):
    host.modprobe("zonefs")
    with UblkDisk(host, "zonefs").create("64M", "zone.size=4M,zone.capacity=3M,zone.conventional_zones=2").start() as served:
        host.sh(f"newer mkzonefs {served.path}; mount -t zonefs {served.path} /run/m")
        assert host.sh("ls /run/m/cnv | wc -l; ls /run/m/seq | wc -l") == "1\n14"
        # One zone to its end, one in part, one emptied, one finished.
        host.sh(
            "set -e; cd /run/m/seq; head -c 3M /dev/urandom >/run/data\n"
            "for file in 0 1 2; do dd if=/run/data of=$file bs=256k oflag=append,direct conv=notrunc status=none count=$((12 / (file + 1))); done\n"
            "truncate -s 0 2; truncate -s 3M 3\n"
            "dd if=/run/data of=../cnv/0 bs=64k count=2 seek=5 oflag=direct conv=notrunc status=none"
        )
        beyond = host.run("dd if=/run/data of=/run/m/seq/0 bs=4k count=1 oflag=append,direct conv=notrunc")
        assert says(beyond, "File too large")
        host.sh("umount /run/m")
        summary = served.terminate()
        assert (summary["refused"], summary["failed"]) == (0, 0)
        served.check()
        served.start()
        assert [state for state, _ in served.zones()[2:6]] == ["fu", "oi", "em", "fu"]
        host.sh(f"mount -t zonefs {served.path} /run/m")
        assert host.sh("stat -c %s /run/m/seq/0 /run/m/seq/1 /run/m/seq/2 /run/m/seq/3").split() == ["3145728", "1572864", "0", "3145728"]
        host.sh(
            "set -e; cd /run/m; cmp seq/0 /run/data; cmp -n 1572864 seq/1 /run/data\n"
            "dd if=cnv/0 bs=64k skip=5 count=2 iflag=direct status=none | cmp -n 131072 - /run/data"
        )
        host.sh("umount /run/m")


def test_file_systems_move_to_another_kernel(boot, tmp_path):
    exchange = tmp_path / "exchange"
    exchange.mkdir()
    first = boot(kernel="6.12", exchange=exchange)
    first.modprobe("ublk_drv", "btrfs", "f2fs")
    first.sh("mkdir /run/m")
    for name, options, mkfs in (("btrfs", "zone.size=8M", MKFS_BTRFS), ("f2fs", "zone.size=8M,zone.conventional_zones=24", MKFS_F2FS)):
        with UblkDisk(first, name).create("768M", options).start() as served:
            first.sh(f"{mkfs} {served.path} && mount {served.path} /run/m", timeout=60)
            files(first, "fill", "/run/m/d", 32)
            first.sh("umount /run/m")
            served.stop()
            first.sh(f"tar -C /run -cSf /exchange/{name}.tar {name}.zbd", timeout=60)
    first.shutdown()
    second = boot(kernel="7.2", exchange=exchange)
    second.modprobe("ublk_drv", "btrfs", "f2fs")
    second.sh("mkdir /run/m")
    for name in ("btrfs", "f2fs"):
        second.sh(f"tar -C /run -xSf /exchange/{name}.tar", timeout=60)
        with UblkDisk(second, name).start() as served:
            second.sh(f"mount -t {name} {served.path} /run/m")
            files(second, "verify", "/run/m/d", 32)
            files(second, "fill", "/run/m/more", 32)
            files(second, "verify", "/run/m/more", 32)
            second.sh("umount /run/m")
    assert complaints(second) == []


# --- load ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("queues, order", [(1, "write"), (2, "randwrite")])
def test_fio_verifies_after_a_restart(host, queues, order):
    with UblkDisk(host, "fio").create("128M", "zone.size=8M,zone.max_open_zones=8").start("--num-queues", str(queues)) as served:
        # Each job has two zones of its own.
        jobs = "--numjobs=3 --offset_increment=16M --size=16M --bs=32k --iodepth=8 --ioengine=libaio --max_open_zones=8"
        written, _ = fio(host, served.path, f"{jobs} --rw={order} --do_verify=0")
        assert written == 48 * MIB
        assert [state for state, _ in served.zones()] == ["fu"] * 6 + ["em"] * 10
        summary = served.terminate()
        assert (summary["refused"], summary["failed"]) == (0, 0)
        served.start("--num-queues", str(queues))
        _, read = fio(host, served.path, f"{jobs} --rw=read")
        assert read == 48 * MIB


# Reports all zones again and again while a thread writes. No pointer goes back, and none is behind what was completed before.
REPORT_RACE = r'''
import fcntl, mmap, os, struct, sys, threading

REPORT = 0xC0101282
path, zone_size, zones = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
disk = os.open(path, os.O_RDWR | os.O_DIRECT)
block = mmap.mmap(-1, 4096)
completed = [0] * zones
stop = threading.Event()

def write():
    for i in range(zone_size // 4096):
        for zone in range(4):
            os.pwrite(disk, block, zone * zone_size + i * 4096)
            completed[zone] = (i + 1) * 4096
        if stop.is_set():
            return

def report():
    data = bytearray(16 + 64 * zones)
    struct.pack_into("=QII", data, 0, 0, zones, 0)
    fcntl.ioctl(disk, REPORT, data)
    assert struct.unpack_from("=I", data, 8) == (zones,)
    return [struct.unpack_from("=QQQ", data, 16 + 64 * i) for i in range(zones)]

writer = threading.Thread(target=write)
writer.start()
last = [0] * zones
for _ in range(100):
    before = list(completed)
    for i, (start, length, pointer) in enumerate(report()):
        done = (pointer - start) * 512
        assert start * 512 == i * zone_size and length * 512 == zone_size, (i, start, length)
        # A full zone's pointer is at its end.
        assert done >= max(last[i], before[i]), (i, done, last[i], before[i])
        last[i] = done
stop.set()
writer.join()
assert completed[0] > 0
assert [(pointer - start) * 512 for start, _, pointer in report()] == completed
'''

# Reads a zone again and again while it is reset and written. What is read is old data, new data or nothing.
RESET_UNDER_READS = r'''
import fcntl, mmap, os, struct, sys, threading

RESET = 0x40101283
path, zone_size = sys.argv[1], int(sys.argv[2])
disk = os.open(path, os.O_RDWR | os.O_DIRECT)
DATA = b"zone" * 16384
block = mmap.mmap(-1, len(DATA))
block[:] = DATA
stop = threading.Event()
wrong = []
reads = []

def read():
    buffer = mmap.mmap(-1, len(DATA))
    while not stop.is_set() or not reads:
        os.preadv(disk, [buffer], 0)
        reads.append(1)
        for at in range(0, len(DATA), 4096):
            if buffer[at:at + 4096] not in (DATA[:4096], bytes(4096)):
                wrong.append(at)

readers = [threading.Thread(target=read) for _ in range(2)]
for reader in readers:
    reader.start()
for _ in range(50):
    os.pwrite(disk, block, 0)
    fcntl.ioctl(disk, RESET, struct.pack("=QQ", 0, zone_size // 512))
stop.set()
for reader in readers:
    reader.join()
assert reads and not wrong, wrong
'''


def python(guest: Guest, program: str, *arguments: object) -> str:
    words = " ".join(str(argument) for argument in arguments)
    return guest.sh(f"/usr/bin/python3 -IS - {words} <<'END'\n{program}\nEND", timeout=60)


def test_reports_under_writes_never_go_back(host):
    with UblkDisk(host, "race").create("64M", "zone.size=4M").start("--num-queues", "2") as served:
        python(host, REPORT_RACE, served.path, 4 * MIB, 16)


def test_reads_under_resets_see_data_or_zeroes(host):
    with UblkDisk(host, "resets").create("64M", "zone.size=4M").start("--num-queues", "2") as served:
        python(host, RESET_UNDER_READS, served.path, 4 * MIB)
        assert served.zones()[0] == ("em", 0)


def test_thousands_of_zones_are_reported_whole(host):
    with UblkDisk(host, "many").create("1G", "zone.size=256K").start() as served:
        host.sh(f"blkzone finish -o {4095 * 512} -c 1 {served.path}")
        zones = served.zones()
        assert (len(zones), zones[0][0], zones[4094][0], zones[4095][0]) == (4096, "em", "em", "fu")
        assert host.sh(f"zbd report -n {served.path} | tail -1") == "4096 zones"
        assert host.sh(f"blkzone report -o {4000 * 512} {served.path} | wc -l") == "96"


ROUNDS = """
set -e
for i in $(seq 25); do
    for way in "%(zbdkit)s ublk stop" "kill -TERM"; do
        %(zbdkit)s create --force /run/round.zbd 16M -o zone.size=1M >/dev/null
        %(zbdkit)s serve /run/round.zbd --ublk-id 40 --queue-size 4 >/run/round.log 2>&1 & pid=$!
        until grep -q '^serving ' /run/round.log; do [ -d /proc/$pid ] || exit 1; sleep 0.01; done
        dd if=/dev/zero of=/dev/ublkb40 bs=4k count=1 oflag=direct status=none
        case $way in kill*) $way $pid;; *) $way 40;; esac
        wait $pid
    done
done
"""

LEFT = "ls /dev/ublk* /sys/class/ublk-char /sys/block; find /run/zbdkit -type f 2>/dev/null; pgrep -c zbdkit || true"


def test_fifty_rounds_leave_nothing_behind(host):
    before = host.sh(LEFT)
    host.sh(ROUNDS % {"zbdkit": daemon.program()}, timeout=240)
    assert host.sh(LEFT) == before
    assert "ublkb40" not in zbdkit(host, "ublk list").check().output


# --- several disks in one daemon -------------------------------------------------------------------------------------------


def blockdev(name: str) -> str:
    return f"--blockdev driver=file,node-name={name}-file,filename=/run/{name}.zbd --blockdev driver=zoned,node-name={name},file={name}-file"


def ublk_export(name: str, more: str = "") -> str:
    return f"--export type=ublk,id=export-{name},node-name={name},writable=on{more}"


@pytest.fixture
def group(host):
    """A daemon for several disks, whose images are there: /run/one.zbd and /run/two.zbd."""
    for name in ("one", "two"):
        host.sh(f"{daemon.program()} create --force /run/{name}.zbd 64M -o zone.size=4M")
    server = UblkDaemon(host, "group")
    yield server
    server.kill()
    host.sh(f"for n in 41 42; do {daemon.program()} ublk stop $n --force 2>/dev/null; done; rm /run/one.zbd /run/two.zbd", timeout=60)


def write_block(guest: Guest, path: str, block: int) -> None:
    guest.sh(f"dd if=/dev/zero of={path} bs=4k count=1 seek={block} oflag=direct status=none")


def wait_until_closed(guest: Guest, image: str) -> None:
    """The image is closed with its disk, soon after it: nothing keeps others from it, and it is in order."""
    guest.sh(f"until {daemon.program()} check {image} >/run/checked 2>&1; do grep -q 'is in use' /run/checked || {{ cat /run/checked; exit 1; }}; sleep 0.05; done")


def test_two_disks_on_two_threads_end_one_by_one(host, group):
    exports = f"{ublk_export('one', ',ublk-id=41')} {ublk_export('two', ',ublk-id=42,iothread=worker')}"
    group.launch(f"serve --object iothread,id=worker {blockdev('one')} {blockdev('two')} {exports}")
    write_block(host, "/dev/ublkb41", 0)
    write_block(host, "/dev/ublkb42", 0)
    zbdkit(host, "ublk stop 41").check()
    wait_until_closed(host, "/run/one.zbd")
    write_block(host, "/dev/ublkb42", 1)
    assert group.running()
    zbdkit(host, "ublk stop 42").check()
    assert group.wait_for_end().ok
    assert [summary["failed"] for summary in summaries(group.log())] == [0, 0]
    pointers = [zone["write_pointer"] for name in ("one", "two") for zone in json.loads(zbdkit(host, f"report /run/{name}.zbd --format json").stdout)["zones"][:1]]
    assert pointers == [4096, 8192]


def test_sigterm_ends_all_disks(host, group):
    group.launch(f"serve {blockdev('one')} {blockdev('two')} {ublk_export('one', ',ublk-id=41,writethrough=on')} {ublk_export('two', ',ublk-id=42')}")
    assert host.sh("cat /sys/block/ublkb41/queue/write_cache /sys/block/ublkb42/queue/write_cache") == "write through\nwrite back"
    group.terminate()
    assert group.wait_for_end().ok
    assert host.sh("ls /dev | grep -E 'ublk[bc]4[12]' || echo none") == "none"


def test_disk_of_a_virtual_machine_and_of_this_one(host, group):
    socket = "--export type=vhost-user-blk,id=export-two,node-name=two,addr.type=unix,addr.path=/run/two.sock,writable=on"
    group.launch(f"serve {blockdev('one')} {blockdev('two')} {ublk_export('one', ',ublk-id=41')} {socket}")
    write_block(host, "/dev/ublkb41", 0)
    zbdkit(host, "ublk stop 41").check()
    wait_until_closed(host, "/run/one.zbd")
    # The other is served as before, and alone keeps the daemon.
    zbdkit(host, "bench /run/two.sock --op append --warm-up 0 --seconds 1").check()
    assert group.running()
    group.terminate()
    assert group.wait_for_end().ok
    assert [summary["failed"] for summary in summaries(group.log())] == [0, 0]


# --- the end ---------------------------------------------------------------------------------------------------------------


def refuses_to_end(served: UblkDisk, why: str) -> None:
    """By both ways, and the disk goes on."""
    assert says(served.try_stop(), f"{served.path} is in use: {why}")
    served.daemon.terminate()
    served.daemon.wait_for_line(f"not ended: {served.path} is in use: {why}")
    assert len(served.zones()) == 16


@pytest.mark.parametrize("kind, mkfs", [("zonefs", "newer mkzonefs"), ("btrfs", MKFS_BTRFS)])
def test_mounted_disk_keeps_the_daemon(host, kind, mkfs):
    host.modprobe(kind)
    with UblkDisk(host, "busy").create("128M", "zone.size=8M").start() as served:
        host.sh(f"{mkfs} {served.path}; mount -t {kind} {served.path} /run/m", timeout=60)
        refuses_to_end(served, "it is mounted on '/run/m'")
        host.sh("umount /run/m")
        served.terminate()
        served.check()


CLAIM = "import os, sys; os.open(sys.argv[1], os.O_RDWR | os.O_EXCL); os.open('/run/claimed', os.O_WRONLY | os.O_CREAT); os.read(0, 1)"


def test_claimed_disk_keeps_the_daemon(host):
    with UblkDisk(host, "busy").create("64M", "zone.size=4M").start() as served:
        claim = host.start_job(f"mkfifo /run/hold; exec 3<>/run/hold; exec python3 -c {shlex.quote(CLAIM)} {served.path} <&3")
        host.sh("until [ -e /run/claimed ]; do sleep 0.05; done")
        refuses_to_end(served, "a file system, a device or a program holds it")
        host.sh("echo >/run/hold")
        claim.wait().check()
        host.sh("rm /run/hold /run/claimed")
        served.stop()


def test_disk_below_another_keeps_the_daemon(host):
    host.modprobe("dm_mod")
    with UblkDisk(host, "busy").create("64M", "zone.size=4M").start() as served:
        host.sh(f"dmsetup create --noudevsync above --table '0 {64 * 2048} linear {served.path} 0'")
        refuses_to_end(served, "'dm-0' stands on it")
        host.sh("dmsetup remove --noudevsync above")
        served.stop()


def test_force_ends_a_mounted_disk_and_the_image_is_clean(host):
    host.modprobe("btrfs")
    with UblkDisk(host, "forced").create("128M", "zone.size=8M").start() as served:
        host.sh(f"{MKFS_BTRFS} {served.path}; mount -t btrfs {served.path} /run/m", timeout=60)
        served.try_stop("--force").check()
        served.ended_well()
        served.check()
        host.run("umount /run/m", 60)
        # Its file system complains of a disk that is gone, whatever it says.
        complaints(host)
        served.start()
        host.sh(f"mount -t btrfs {served.path} /run/m; umount /run/m", timeout=60)
    complaints(host)


def test_disk_that_goes_under_load_fails_the_load_and_nothing_hangs(host):
    with UblkDisk(host, "gone").create("256M", "zone.size=8M").start("--num-queues", "2") as served:
        load = host.start_job(
            f"fio --name=load --filename={served.path} --direct=1 --zonemode=zbd --thread --numjobs=2 --offset_increment=128M --size=128M"
            " --rw=randwrite --bs=16k --iodepth=8 --ioengine=libaio --max_open_zones=4 --time_based --runtime=1000"
        )
        host.sh(f"until [ $(awk '{{print $5}}' /sys/block/{served.name}/stat) -gt 100 ]; do sleep 0.05; done")
        served.try_stop("--force").check()
        assert not load.wait(30).ok
        assert served.ended_well()["refused"] == 0
        served.check()
        assert host.sh(f"ls {served.path} 2>/dev/null || echo none") == "none"
        errors_expected(host)


# Starts a daemon as a service manager does, and uses the disk as soon as it is told that it may.
NOTIFY = r'''
import os, signal, socket, subprocess, sys

program, image, notify = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind(notify)
server = subprocess.Popen([program, "serve", image, "--ublk-id", "43"], env=dict(os.environ, NOTIFY_SOCKET=notify))
assert listener.recv(100) == b"READY=1"
disk = os.open("/dev/ublkb43", os.O_RDONLY)
assert os.read(disk, 4096) == bytes(4096)
assert open("/sys/block/ublkb43/queue/nr_zones").read() == "16\n"
os.close(disk)
server.send_signal(signal.SIGTERM)
assert listener.recv(100) == b"STOPPING=1"
assert server.wait() == 0
os.unlink(notify)
'''


def test_service_manager_is_told_when_the_disk_can_be_used(host):
    host.sh(f"{daemon.program()} create --force /run/service.zbd 64M -o zone.size=4M")
    python(host, NOTIFY, daemon.program(), "/run/service.zbd", "/run/notify")


# --- what is refused -------------------------------------------------------------------------------------------------------


def test_without_the_driver_the_message_says_what_to_load(host):
    for command in ("serve /run/early.zbd --ublk", "ublk stop 0"):
        assert says(host.without_driver[command], NO_DRIVER), command
    assert host.without_driver["ublk list"].check().output == ""


def test_unprivileged_user_is_refused(small):
    host = small.guest
    host.sh(f"{daemon.program()} create --force /run/open.zbd 16M -o zone.size=1M; chmod 666 /run/open.zbd")
    for command in ("serve /run/open.zbd --ublk", f"ublk stop {small.number}", "ublk list"):
        result = host.run(f"setpriv --reuid 65534 --regid 65534 --clear-groups {daemon.program()} {command}")
        assert says(result, "expected root (CAP_SYS_ADMIN)"), command
    assert len(small.zones()) == 16


def test_disks_that_linux_could_not_have_are_refused(host):
    cases = {
        "500M -o zone.size=16M": "expected a disk of 496 MiB or 512 MiB",
        "480M -o zone.size=15M --any-guest": "zones of 15 MiB: Linux takes powers of two only",
        "480M -o zone.size=16M,zone.mode=host-aware": "expected zone.mode=host-managed",
    }
    before = host.sh(LEFT)
    for arguments, message in cases.items():
        zbdkit(host, f"create --force /run/odd.zbd {arguments}").check()
        assert says(zbdkit(host, "serve /run/odd.zbd --ublk"), message)
    assert host.sh(LEFT) == before


def test_number_of_a_live_disk_is_refused(small):
    host = small.guest
    host.sh(f"{daemon.program()} create --force /run/other.zbd 64M -o zone.size=4M")
    taken = f"ublk device {small.number} is taken: process {small.daemon.pid} serves it"
    assert says(zbdkit(host, f"serve /run/other.zbd --ublk-id {small.number}"), taken)
    assert says(zbdkit(host, f"ublk recover {small.number} /run/other.zbd"), taken)
    # This one is stopped by the image's lock already.
    assert says(zbdkit(host, f"ublk recover {small.number} {small.image}"), f"is in use by process {small.daemon.pid}")
    write_block(host, small.path, 2048)


def test_wrong_recovery_is_refused_and_the_right_one_still_succeeds(small):
    host = small.guest
    write_block(host, small.path, 2048)
    small.kill()
    host.sh(f"{daemon.program()} create --force /run/other.zbd 64M -o zone.size=4M")
    other = f"is taken: it is of '{small.image}', whose server died; expected that image"
    assert says(zbdkit(host, f"ublk recover {small.number} /run/other.zbd"), other)
    assert says(zbdkit(host, f"serve /run/other.zbd --ublk-id {small.number}"), other)
    assert says(zbdkit(host, f"ublk recover 99 {small.image}"), "there is no ublk device 99")
    note = f"/run/zbdkit/ublk{small.number}.inflight"
    host.sh(f"mv {note} /run/note")
    assert says(zbdkit(host, f"ublk recover {small.number} {small.image}"), f"'{note}' does not say what was in flight")
    host.sh(f"mv /run/note {note}")
    assert f"/dev/ublkb{small.number}    server died" in zbdkit(host, "ublk list").check().stdout
    small.recover()
    assert small.zones()[2] == ("oi", 4 * KIB)
    write_block(host, small.path, 2049)
    assert small.zones()[2] == ("oi", 8 * KIB)


def test_dead_disk_without_its_note_is_removed(host):
    with UblkDisk(host, "dead").create("64M", "zone.size=4M").start() as served:
        served.kill()
        host.sh(f"rm /run/zbdkit/ublk{served.number}.inflight")
        served.try_stop("--force").check()
        assert host.sh(f"ls {served.path} 2>/dev/null || echo none") == "none"


# --- disks without zones ---------------------------------------------------------------------------------------------------


def test_plain_file_is_an_ordinary_disk(host):
    host.modprobe("ext4")
    plain = UblkDaemon(host, "plain")
    host.sh("truncate -s 64M /run/plain.img")
    plain.launch("serve --image-opts driver=file,filename=/run/plain.img --ublk-id 44")
    assert host.sh("cat /sys/block/ublkb44/queue/zoned /sys/block/ublkb44/queue/logical_block_size") == "none\n512"
    host.sh("mkfs.ext4 -q /dev/ublkb44; mount /dev/ublkb44 /run/m")
    files(host, "fill", "/run/m/d", 16)
    host.sh("umount /run/m")
    zbdkit(host, "ublk stop 44").check()
    assert plain.wait_for_end().ok
    plain.launch("serve --image-opts driver=file,filename=/run/plain.img --ublk-id 44")
    host.sh("mount /dev/ublkb44 /run/m")
    files(host, "verify", "/run/m/d", 16)
    # What is trimmed has no place in the file any more.
    used = host.sh("rm -r /run/m/d; sync; du -k /run/plain.img; fstrim /run/m; sync; du -k /run/plain.img").split()[::2]
    assert int(used[1]) < int(used[0]) - 8 * KIB
    host.sh("umount /run/m; rm /run/plain.img")
    plain.terminate()
    assert plain.wait_for_end().ok


def test_null_device_is_an_ordinary_disk(host):
    null = UblkDaemon(host, "null")
    null.launch("serve --image-opts driver=null,size=64M --ublk-id 44")
    host.sh("dd if=/dev/zero of=/dev/ublkb44 bs=1M count=4 oflag=direct status=none; dd if=/dev/ublkb44 of=/dev/null bs=1M iflag=direct status=none")
    zbdkit(host, "ublk stop 44").check()
    assert null.wait_for_end().ok
