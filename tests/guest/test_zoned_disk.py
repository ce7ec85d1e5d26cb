# SPDX-License-Identifier: Apache-2.0
"""What guests see of a zoned disk, and what they can do with it: zbdkit from one end to the other."""

from __future__ import annotations

import contextlib
import json
import re

import pytest

from daemon import RING_PACKED, Daemon, FeatureFilter, check, create, report
from guest import KERNELS, Guest

MIB = 1 << 20
BLOCK = 4096

EIO, EOVERFLOW, ETOOMANYREFS = 5, 75, 109

# The disk of most tests. Conventional zones come first.
ZONES = 32
ZONE_SIZE = 32 * MIB
CAPACITY = 24 * MIB
CONVENTIONAL = 4
MAX_OPEN = 6
MAX_ACTIVE = 8
OPTIONS = (
    f"zone.size={ZONE_SIZE},zone.capacity={CAPACITY},zone.conventional_zones={CONVENTIONAL},"
    f"zone.max_open_zones={MAX_OPEN},zone.max_active_zones={MAX_ACTIVE}"
)

# Does what it is told on its standard input, [[action, arguments...], ...], and prints the outcome of each: [errno, data].
TOOL = r'''
import fcntl, json, mmap, os, struct, sys

ACTIONS = {"open": 0x40101286, "close": 0x40101287, "finish": 0x40101288, "reset": 0x40101283}
ZONE_SIZE = int(sys.argv[2])
disk = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)

def pattern(seed, length):
    return (bytes([seed]) * 511 + b"\n") * (length // 512)

def perform(action, *arguments):
    if action in ACTIONS:
        zone, count = arguments[0], (arguments[1:] or [1])[0]
        fcntl.ioctl(disk, ACTIONS[action], struct.pack("=QQ", zone * ZONE_SIZE // 512, count * ZONE_SIZE // 512))
        return None
    zone, offset, length = arguments[:3]
    with mmap.mmap(-1, length) as buffer:  # a mapping is aligned, as O_DIRECT wants it
        position = zone * ZONE_SIZE + offset
        if action == "write":
            buffer[:] = pattern(arguments[3], length)
            return os.pwrite(disk, buffer, position)
        os.preadv(disk, [buffer], position)
        data = buffer[:]
        return "zeroes" if data == bytes(length) else data[0] if data == pattern(data[0], length) else "something else"

outcomes = []
for action, *arguments in json.load(sys.stdin):
    try:
        outcomes.append([0, perform(action, *arguments)])
    except OSError as error:
        outcomes.append([error.errno, None])
print(json.dumps(outcomes))
'''

# Lines of the guest's kernel that no test may leave behind, unless it provoked them.
COMPLAINT = re.compile(
    r"WARNING|BUG[: ]|Oops|Call Trace|I/O error|[Ee]rror, dev|hung task|blocked for more|"
    r"BTRFS (error|warning|critical)|F2FS-fs.*(rror|nconsisten)"
)
# About the file systems and not about the disk.
HARMLESS = re.compile(r"BTRFS warning.*(experimental|zoned: async discard)")

ZONE_LINE = re.compile(r"start: (\w+), len (\w+), cap (\w+), wptr (\w+) .*zcond:\s*\d+\((\w+)\) \[type: \d\((\w+)\)")


class Machine:
    """A guest and its zoned disk, with the verbs of these tests."""

    def __init__(self, guest: Guest, device: str = "/dev/vda") -> None:
        self.guest = guest
        self.device = device
        self.sh = guest.sh
        self.run = guest.run
        guest.sh(f"cat >/run/zones.py <<'END'\n{TOOL}\nEND")

    def outcomes(self, *actions: list) -> list:
        """For each action an errno and what was read: see TOOL."""
        return json.loads(self.sh(f"/usr/bin/python3 -IS /run/zones.py {self.device} {ZONE_SIZE} <<'END'\n{json.dumps(actions)}\nEND"))

    def errors(self, *actions: list) -> list[int]:
        return [error for error, _ in self.outcomes(*actions)]

    def do(self, *actions: list) -> list:
        """Actions that must succeed; returns what was read."""
        outcomes = self.outcomes(*actions)
        assert all(error == 0 for error, _ in outcomes), list(zip(actions, outcomes))
        return [value for _, value in outcomes]

    def zones(self) -> list[tuple[str, int]]:
        """State and bytes before the write pointer of each zone, by blkzone."""
        found = [ZONE_LINE.search(line) for line in self.sh(f"blkzone report {self.device}").splitlines()]
        return [(match[5], int(match[4], 16) * 512) for match in found]

    def complaints(self) -> list[str]:
        """What the kernel has complained of since the last call."""
        lines = self.sh("dmesg; dmesg -C").splitlines()
        return [line for line in lines if COMPLAINT.search(line) and not HARMLESS.search(line)]

    def errors_expected(self) -> None:
        """Drops the complaints about what a test provoked; anything but failed I/O stays a failure."""
        rest = [line for line in self.complaints() if not re.search(r"I/O error|[Ee]rror, dev", line)]
        assert rest == []

    def shutdown(self) -> None:
        assert self.complaints() == []
        self.guest.shutdown()


@pytest.fixture(scope="module", params=KERNELS)
def machine(cache, request, tmp_path_factory):
    """One guest for many tests: /dev/vda has limits and conventional zones, /dev/vdb is for fio."""
    directory = tmp_path_factory.mktemp("machine")
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(Daemon(create(directory / "a.zbd", "1G", OPTIONS)))
        second = stack.enter_context(Daemon(create(directory / "b.zbd", "512M", "zone.size=16M,zone.max_open_zones=8")))
        guest = stack.enter_context(Guest(kernel=request.param, disks=[first.disk(), second.disk()], log_dir=directory / "guest"))
        machine = Machine(guest)
        machine.daemons = (first, second)
        yield machine
        guest.shutdown()
        for daemon in (first, second):
            # What the guest's kernel refuses never arrives; what arrives has the right form.
            assert daemon.stop().refused == 0
            check(daemon.image)


@pytest.fixture
def disk(machine):
    """The machine with all zones of /dev/vda empty; whatever the test does, the kernel must not complain."""
    machine.sh("blkzone reset /dev/vda")
    yield machine
    assert machine.complaints() == []


# --- what the guest is told ---------------------------------------------------------------------------------------------


def test_geometry_and_limits_in_sysfs(disk):
    names = {
        "zoned": "host-managed",
        "chunk_sectors": str(ZONE_SIZE // 512),
        "nr_zones": str(ZONES),
        "max_open_zones": str(MAX_OPEN),
        "max_active_zones": str(MAX_ACTIVE),
        "zone_append_max_bytes": str(504 << 10),
        "zone_write_granularity": str(BLOCK),
        "logical_block_size": str(BLOCK),
        "physical_block_size": str(BLOCK),
        "write_cache": "write back",
    }
    lines = disk.sh("cd /sys/block/vda/queue; cat " + " ".join(names)).splitlines()
    assert dict(zip(names, lines)) == names
    assert disk.sh("blockdev --getsize64 /dev/vda; ls /sys/block/vda/mq; cat /sys/block/vda/serial") == f"{ZONES * ZONE_SIZE}\n0\n1\na.zbd"


def test_lsblk_shows_zones(disk):
    name, zoned, size, count = disk.sh("lsblk -dnz -o NAME,ZONED,ZONE-SZ,ZONE-NR /dev/vda").split()
    assert (name, zoned, size, count) == ("vda", "host-managed", "32M", str(ZONES))


def test_report_shows_types_and_capacity(disk):
    lines = disk.sh("blkzone report /dev/vda").splitlines()
    zones = [ZONE_LINE.search(line).groups() for line in lines]
    assert [int(zone[0], 16) for zone in zones] == [i * ZONE_SIZE // 512 for i in range(ZONES)]
    assert {int(zone[1], 16) for zone in zones} == {ZONE_SIZE // 512}
    for i, (_, _, capacity, pointer, state, kind) in enumerate(zones):
        if i < CONVENTIONAL:
            assert (int(capacity, 16), state, kind) == (ZONE_SIZE // 512, "nw", "CONVENTIONAL")
        else:
            assert (int(capacity, 16), int(pointer, 16), state, kind) == (CAPACITY // 512, 0, "em", "SEQ_WRITE_REQUIRED")


def test_rings_are_packed(disk):
    assert _features(disk)[RING_PACKED] == "1"


def _features(machine: Machine) -> str:
    """The feature bits the driver accepted, bit 0 first."""
    return machine.sh("cat /sys/block/vda/device/features")


# --- states -------------------------------------------------------------------------------------------------------------


def test_every_state_that_a_guest_can_make(disk):
    sectors = ZONE_SIZE // 512
    disk.sh(
        "set -e\n"
        f"dd if=/dev/zero of={disk.device} bs=4k count=3 seek={5 * ZONE_SIZE // BLOCK} oflag=direct\n"
        f"blkzone open -o {6 * sectors} -c 1 {disk.device}\n"
        f"blkzone open -o {7 * sectors} -c 1 {disk.device}\n"
        f"dd if=/dev/zero of={disk.device} bs=4k count=2 seek={7 * ZONE_SIZE // BLOCK} oflag=direct\n"
        f"blkzone close -o {7 * sectors} -c 1 {disk.device}\n"
        f"blkzone finish -o {8 * sectors} -c 1 {disk.device}\n"
        f"dd if=/dev/zero of={disk.device} bs=1M count={CAPACITY // MIB} seek={9 * ZONE_SIZE // MIB} oflag=direct\n"
        f"blkzone open -o {10 * sectors} -c 1 {disk.device}\n"
        f"blkzone close -o {10 * sectors} -c 1 {disk.device}\n"
    )
    zones = disk.zones()
    assert [state for state, _ in zones[:11]] == ["nw"] * 4 + ["em", "oi", "oe", "cl", "fu", "fu", "em"]
    assert [pointer for _, pointer in zones[4:8]] == [0, 3 * BLOCK, 0, 2 * BLOCK]
    assert {state for state, _ in zones[11:]} == {"em"}


def test_transitions_follow_the_rules(disk):
    assert disk.errors(["open", 4], ["open", 4], ["close", 4], ["close", 4]) == [0, 0, 0, EIO]  # closing an empty zone
    assert disk.errors(["finish", 5], ["finish", 5], ["open", 5], ["close", 5], ["reset", 5]) == [0, 0, EIO, EIO, 0]
    assert disk.errors(["write", 6, 0, BLOCK, 1], ["open", 6], ["close", 6], ["close", 6], ["write", 6, BLOCK, BLOCK, 1]) == [0] * 5
    assert disk.zones()[4:7] == [("em", 0), ("em", 0), ("oi", 2 * BLOCK)]
    # Management of conventional zones is an error; they take writes anywhere.
    assert disk.errors(["open", 0], ["close", 0], ["finish", 0], ["reset", 0]) == [EIO] * 4
    assert disk.errors(["write", 1, 5 * MIB, BLOCK, 7], ["write", 1, BLOCK, BLOCK, 8]) == [0, 0]
    assert disk.do(["read", 1, 5 * MIB, BLOCK], ["read", 1, BLOCK, BLOCK]) == [7, 8]
    disk.errors_expected()


# --- limits -------------------------------------------------------------------------------------------------------------


def test_open_limit(disk):
    first, *others = [["open", 4 + i] for i in range(MAX_OPEN)]
    assert disk.errors(first, *others) == [0] * MAX_OPEN
    # Explicitly open zones are never closed to make room.
    assert disk.errors(["open", 20], ["write", 20, 0, BLOCK, 1]) == [ETOOMANYREFS] * 2
    assert [state for state, _ in disk.zones()[4:21]].count("oe") == MAX_OPEN
    assert disk.errors(["close", 4], ["open", 20], ["open", 4]) == [0, 0, ETOOMANYREFS]
    assert disk.errors(["finish", 5], ["write", 4, 0, BLOCK, 1]) == [0, 0]
    disk.errors_expected()


def test_active_limit_and_implicit_close(disk):
    # The open limit alone never fails a write: an implicitly open zone is closed for it.
    assert disk.errors(*[["write", 4 + i, 0, BLOCK, 1] for i in range(MAX_ACTIVE)]) == [0] * MAX_ACTIVE
    states = [state for state, _ in disk.zones()[4 : 4 + MAX_ACTIVE]]
    assert sorted(states) == ["cl"] * (MAX_ACTIVE - MAX_OPEN) + ["oi"] * MAX_OPEN
    assert disk.errors(["write", 20, 0, BLOCK, 1], ["open", 20]) == [EOVERFLOW] * 2
    assert disk.zones()[20] == ("em", 0)
    # Zones that are active already go on; a reset or a finish makes room.
    assert disk.errors(*[["write", 4 + i, BLOCK, BLOCK, 1] for i in range(MAX_ACTIVE)]) == [0] * MAX_ACTIVE
    assert disk.errors(["reset", 4], ["write", 20, 0, BLOCK, 1], ["finish", 5], ["open", 21], ["open", 22]) == [0, 0, 0, 0, EOVERFLOW]
    disk.errors_expected()


def test_active_limit_comes_before_open_limit(disk):
    closed = MAX_ACTIVE - MAX_OPEN
    for i in range(closed):
        disk.do(["write", 4 + i, 0, BLOCK, 1], ["close", 4 + i])
    disk.do(*[["open", 10 + i] for i in range(MAX_OPEN)])
    assert disk.errors(["open", 20], ["open", 4]) == [EOVERFLOW, ETOOMANYREFS]
    disk.errors_expected()


# --- writes -------------------------------------------------------------------------------------------------------------


def test_writes_off_the_pointer_are_refused(disk):
    disk.do(["write", 4, 0, 2 * BLOCK, 1])
    above, below = ["write", 4, 3 * BLOCK, BLOCK, 2], ["write", 4, 0, BLOCK, 3]
    # The zone has to be looked at after a failed write before the guest's kernel writes to it again.
    for wrong in above, below:
        assert disk.errors(wrong) == [EIO]
        assert disk.zones()[4] == ("oi", 2 * BLOCK)
    assert disk.do(["read", 4, 0, 2 * BLOCK], ["read", 4, 2 * BLOCK, 2 * BLOCK]) == [1, "zeroes"]
    assert disk.errors(["write", 4, 2 * BLOCK, BLOCK, 4]) == [0]
    disk.errors_expected()


def test_full_zones_and_the_space_behind_the_capacity_take_nothing(disk):
    disk.do(["write", 4, 0, CAPACITY, 1], ["finish", 5])
    assert disk.errors(["write", 4, CAPACITY, BLOCK, 2]) == [EIO]
    assert disk.errors(["write", 4, 0, BLOCK, 2]) == [EIO]
    assert disk.errors(["write", 5, 0, BLOCK, 2]) == [EIO]
    assert [state for state, _ in disk.zones()[4:6]] == ["fu", "fu"]
    assert disk.do(["read", 4, 0, CAPACITY], ["read", 5, 0, MIB]) == [1, "zeroes"]
    disk.errors_expected()


def test_write_past_the_capacity_is_refused(disk):
    disk.do(["write", 4, 0, CAPACITY - BLOCK, 1])
    assert disk.errors(["write", 4, CAPACITY - BLOCK, 2 * BLOCK, 2]) == [EIO]
    assert disk.zones()[4] == ("oi", CAPACITY - BLOCK)
    disk.do(["write", 4, CAPACITY - BLOCK, BLOCK, 3])
    assert disk.zones()[4][0] == "fu"
    disk.errors_expected()


def test_reset_and_reuse(disk):
    disk.do(["write", 4, 0, CAPACITY, 1], ["write", 5, 0, MIB, 1])
    assert disk.do(["read", 4, 0, CAPACITY]) == [1]
    disk.do(["reset", 4])
    assert disk.zones()[4:6] == [("em", 0), ("oi", MIB)]
    assert disk.do(["read", 4, 0, CAPACITY], ["read", 5, 0, MIB]) == ["zeroes", 1]
    disk.do(["write", 4, 0, MIB, 2])
    assert disk.do(["read", 4, 0, MIB], ["read", 4, MIB, CAPACITY - MIB]) == [2, "zeroes"]


def test_reset_of_everything(disk):
    disk.do(["write", 0, 0, BLOCK, 9], ["write", 4, 0, BLOCK, 1], ["open", 5], ["finish", 6], ["write", 31, 0, CAPACITY, 1])
    disk.sh(f"blkzone reset {disk.device}")
    assert [state for state, _ in disk.zones()] == ["nw"] * CONVENTIONAL + ["em"] * (ZONES - CONVENTIONAL)
    assert disk.do(["read", 0, 0, BLOCK], ["read", 4, 0, BLOCK], ["read", 31, 0, MIB]) == [9, "zeroes", "zeroes"]


# --- load ---------------------------------------------------------------------------------------------------------------


def fio(machine: Machine, device: str, options: str) -> tuple[int, int]:
    """Runs fio, which checks what it reads; returns how many bytes were written and read."""
    output = machine.sh(
        f"fio --name=zones --filename={device} --direct=1 --zonemode=zbd --thread --group_reporting --verify=crc32c --verify_fatal=1 "
        f"--output-format=json {options}",
        timeout=120,
    )
    job = json.loads(output[output.index("{") :])["jobs"][0]
    return job["write"]["io_bytes"], job["read"]["io_bytes"]


@pytest.mark.parametrize("one_write_at_a_time", [True, False])
def test_fio_verifies_what_several_jobs_wrote(disk, one_write_at_a_time):
    attribute = "/sys/block/vdb/queue/zoned_qd1_writes"
    if disk.guest.kernel == "6.12":
        if one_write_at_a_time:
            pytest.skip("Linux 6.12 writes to many zones at a time, always")
    else:
        disk.sh(f"echo {int(one_write_at_a_time)} >{attribute}")
    disk.sh("blkzone reset /dev/vdb")
    # Four jobs in zones of their own, which they verify at the end.
    jobs = "--numjobs=4 --offset_increment=64M --size=64M --iodepth=8 --bs=64k --max_open_zones=8"
    written, read = fio(disk, "/dev/vdb", f"{jobs} --rw=write --io_size=32M --ioengine=libaio")
    assert (written, read) == (128 * MIB, 128 * MIB)
    # Once more in another order and with another engine.
    written, read = fio(disk, "/dev/vdb", f"{jobs} --rw=randread --io_size=8M --ioengine=io_uring")
    assert (written, read) == (0, 32 * MIB)


def test_fio_random_writes_and_resets(disk):
    # Not in shared zones: fio does not wait for one job's writes when another resets the zone.
    jobs = "--offset=256M --numjobs=2 --offset_increment=32M --size=32M --bs=16k --iodepth=8 --ioengine=libaio --max_open_zones=4"
    disk.sh("blkzone reset /dev/vdb")
    # Each job fills its zones, and resets one to go on.
    written, _ = fio(disk, "/dev/vdb", f"{jobs} --io_size=48M --rw=randwrite --verify=0")
    assert written == 96 * MIB
    disk.sh("blkzone reset /dev/vdb")
    # Where blocks are to be verified fio resets nothing. Each block says where it belongs.
    written, _ = fio(disk, "/dev/vdb", f"{jobs} --rw=randwrite --do_verify=0")
    _, read = fio(disk, "/dev/vdb", f"{jobs} --rw=read")
    assert (written, read) == (64 * MIB, 64 * MIB)


# --- persistence --------------------------------------------------------------------------------------------------------


def test_states_and_data_outlive_a_killed_daemon(boot, tmp_path):
    image = create(tmp_path / "disk.zbd", "1G", OPTIONS)
    with Daemon(image) as daemon:
        first = Machine(boot(kernel="6.12", disks=[daemon.disk()]))
        first.do(
            *[["write", 0, 0, MIB, 1], ["write", 4, 0, 3 * MIB, 2], ["write", 5, 0, MIB, 3], ["close", 5]],
            *[["write", 6, 0, CAPACITY, 4], ["write", 7, 0, MIB, 5], ["finish", 7], ["open", 8]],
            *[["write", 9, 0, MIB, 6], ["reset", 9], ["open", 10], ["write", 10, 0, MIB, 7]],
        )
        seen = first.zones()
        assert [state for state, _ in seen[4:11]] == ["oi", "cl", "fu", "fu", "oe", "em", "oe"]
        first.shutdown()
        before = report(image)
        daemon.kill()

        assert report(image) == before
        check(image)
        daemon.start()
        assert report(image) == before
        second = Machine(boot(kernel="7.2", disks=[daemon.disk()]))
        assert second.zones() == seen
        assert second.do(
            *[["read", 0, 0, MIB], ["read", 4, 0, 3 * MIB], ["read", 5, 0, MIB], ["read", 6, 0, CAPACITY], ["read", 7, 0, MIB]],
            *[["read", 9, 0, MIB], ["read", 10, 0, MIB], ["read", 4, 3 * MIB, MIB]],
        ) == [1, 2, 3, 4, 5, "zeroes", 7, "zeroes"]
        second.do(["write", 4, 3 * MIB, MIB, 8], ["write", 5, MIB, MIB, 8])
        # The four zones that were active still count.
        assert second.errors(*[["open", zone] for zone in range(11, 16)]) == [0, 0, 0, 0, EOVERFLOW]
        second.errors_expected()
        second.shutdown()
        daemon.stop()
    check(image)
    assert report(image)[4]["write_pointer"] == 4 * ZONE_SIZE + 4 * MIB


FILL = """
set -e
mkdir -p /run/m && mount /dev/vda /run/m && cd /run/m
mkdir d && for i in $(seq 24); do head -c $((i * 40000)) /dev/urandom >d/$i; done
head -c 24M /dev/urandom >large
rm d/7 d/8 && mv d/9 d/nine && sync
sha256sum large d/* >sums
cd / && umount /run/m
"""

VERIFY = "set -e; mkdir -p /run/m; mount /dev/vda /run/m; cd /run/m; sha256sum --quiet -c sums; cd /; umount /run/m"


def test_btrfs_moves_to_another_kernel(boot, tmp_path):
    image = create(tmp_path / "disk.zbd", "2G", "zone.size=64M,zone.max_open_zones=16,zone.max_active_zones=24")
    with Daemon(image) as daemon:
        first = Machine(boot(kernel="6.12", disks=[daemon.disk()]))
        first.guest.modprobe("btrfs")
        first.sh("mkfs.btrfs -q -O zoned -d single -m single /dev/vda", timeout=60)
        first.sh(FILL, timeout=120)
        first.sh(VERIFY, timeout=60)
        first.shutdown()
        summary = daemon.stop()
        # Data is appended: the disk, not the guest, decides where it goes.
        assert summary.appends > 0
        assert (summary.refused, summary.failed) == (0, 0)
        check(image)

        daemon.start()
        second = Machine(boot(kernel="7.2", disks=[daemon.disk()]))
        second.guest.modprobe("btrfs")
        second.sh(VERIFY, timeout=60)
        second.sh("mount /dev/vda /run/m && rm -r /run/m/d /run/m/large /run/m/sums && umount /run/m", timeout=60)
        second.sh(FILL, timeout=120)
        second.sh(VERIFY, timeout=60)
        assert second.run("btrfs check --readonly /dev/vda", timeout=60).ok
        second.shutdown()
        summary = daemon.stop()
        assert summary.appends > 0
        assert (summary.refused, summary.failed) == (0, 0)
    check(image)


def test_f2fs_on_conventional_and_sequential_zones(boot, tmp_path):
    image = create(tmp_path / "disk.zbd", "2G", "zone.size=16M,zone.conventional_zones=16")
    with Daemon(image) as daemon:
        machine = Machine(boot(kernel="6.12", disks=[daemon.disk()]))
        machine.guest.modprobe("f2fs")
        machine.sh("mkfs.f2fs -q -f -m /dev/vda", timeout=60)
        machine.sh(FILL, timeout=120)
        machine.sh(VERIFY, timeout=60)
        machine.sh("fsck.f2fs /dev/vda", timeout=60)
        machine.shutdown()
        assert daemon.stop().failed == 0
    check(image)


# --- front ends ---------------------------------------------------------------------------------------------------------


def test_split_rings(boot, tmp_path):
    image = create(tmp_path / "disk.zbd", "1G", OPTIONS)
    with Daemon(image) as daemon, FeatureFilter(daemon.socket, RING_PACKED) as filtered:
        disk = daemon.disk()
        disk.socket = filtered.socket
        machine = Machine(boot(kernel="7.2", disks=[disk]))
        assert filtered.hits > 0
        assert _features(machine)[RING_PACKED] == "0"
        assert machine.do(["write", 4, 0, MIB, 1], ["write", 4, MIB, MIB, 2], ["read", 4, 0, MIB], ["read", 4, MIB, MIB])[2:] == [1, 2]
        assert machine.errors(["open", 5], ["close", 5], ["close", 5], ["finish", 6]) == [0, 0, EIO, 0]
        assert machine.zones()[4:7] == [("oi", 2 * MIB), ("em", 0), ("fu", machine.zones()[6][1])]
        machine.sh("blkzone reset /dev/vda; echo 0 >/sys/block/vda/queue/zoned_qd1_writes")
        jobs = "--numjobs=3 --offset_increment=64M --size=64M --io_size=32M --iodepth=8 --bs=64k --max_open_zones=6"
        written, read = fio(machine, "/dev/vda", f"--offset={CONVENTIONAL * ZONE_SIZE} {jobs} --rw=write --ioengine=libaio")
        assert (written, read) == (96 * MIB, 96 * MIB)
        machine.errors_expected()
        machine.shutdown()
        assert daemon.stop().refused == 0
    check(image)


def test_front_end_that_hides_zones_cannot_touch_the_disk(boot, tmp_path):
    image = create(tmp_path / "disk.zbd", "1G", OPTIONS)
    empty = report(image)
    with Daemon(image) as daemon:
        machine = Machine(boot(kernel="6.12", disks=[daemon.plain_disk()]))
        assert machine.sh("cat /sys/block/vda/queue/zoned") == "none"
        for command in (
            "dd if=/dev/vda of=/dev/null bs=4k count=1 iflag=direct",
            "dd if=/dev/vda of=/dev/null bs=4k count=1 skip=100000 iflag=direct",
            "dd if=/dev/zero of=/dev/vda bs=4k count=1 oflag=direct",
            "dd if=/dev/zero of=/dev/vda bs=4k count=1 seek=100000 oflag=direct",
        ):
            result = machine.run(command)
            assert not result.ok and "Input/output error" in result.stderr
        machine.errors_expected()
        machine.shutdown()
        assert daemon.stop().refused >= 4
        refusals = [line for line in daemon.log().splitlines() if "refused" in line and "ZONED" in line]
        assert refusals, daemon.log()
        assert report(image) == empty
    check(image)


@pytest.mark.parametrize("packed", ["on", "off"])
def test_host_aware_disk_is_an_ordinary_one_where_zones_are_hidden(boot, tmp_path, packed):
    image = create(tmp_path / "disk.zbd", "512M", "zone.mode=host-aware,zone.size=32M")
    with Daemon(image) as daemon:
        machine = Machine(boot(kernel="6.12", disks=[daemon.plain_disk(options=f"packed={packed}")]))
        assert _features(machine)[RING_PACKED] == str(int(packed == "on"))
        machine.sh("set -e; modprobe ext4; mkfs.ext4 -q /dev/vda", timeout=60)
        machine.sh(FILL, timeout=120)
        machine.sh(VERIFY, timeout=60)
        machine.shutdown()
        summary = daemon.stop()
        assert (summary.refused, summary.failed) == (0, 0)
    check(image)
