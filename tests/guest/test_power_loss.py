# SPDX-License-Identifier: Apache-2.0
"""Power loss under a real file system: a guest has an image on ext4, one on xfs and one on btrfs, each on a disk that logs every write. The
disk is rebuilt as the power could have left it at some moment: all that was flushed is there, and of the rest whatever chance wants. Then
a second guest (another boot) mounts it, and the image must keep the crash contract.

Before that the daemon is killed and started again, and every other of its lives is without a write cache. What was owed
at each moment is known exactly: the client of the first guest (tests/crash) keeps its ledger on a second partition of the same disk, so
the log says which of its records were there when the power went.

ZBDKIT_POWER_CUTS is how many moments are tried for each file system (default 4), ZBDKIT_SEED chooses them and the kernel.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import pathlib
import random
import struct
import subprocess
from collections.abc import Iterator

from daemon import Daemon, program
from guest import KERNELS, FileDisk

CUTS = int(os.environ.get("ZBDKIT_POWER_CUTS", "4"))
SEED = int(os.environ.get("ZBDKIT_SEED", "0")) or random.randrange(1 << 32)
# Of each file system's load, which the lives of its daemon share.
REQUESTS = 2500
LIVES = 3
# Disks of a guest at a time.
MOST_DISKS = 12

MIB = 1 << 20
SECTOR = 512
# The file system is on the first partition, the ledger on the second.
PARTITIONS = ((1 * MIB, 400 * MIB), (401 * MIB, 16 * MIB))
DISK_SIZE = 417 * MIB
LEDGER = PARTITIONS[1][0]
RECORD = 4096

LAYOUT = "block_size=512,zone.size=256K,zone.capacity=240K,zone.conventional_zones=1,zone.max_open_zones=4,zone.max_active_zones=7,zone.max_append_bytes=32K"

# What makes the file systems.
FILE_SYSTEMS = {
    "ext4": "mkfs.ext4 -q -F",
    "xfs": "newer mkfs.xfs -q -f",
    "btrfs": "newer mkfs.btrfs -q -f",
}


def crash_client() -> pathlib.Path:
    path = program().parent / "zbdkit-crash"
    assert path.exists(), f"no {path}: build it"
    return path


def make_disk(path: pathlib.Path) -> None:
    """An empty disk with two partitions."""
    table = bytearray(SECTOR)
    for number, (start, length) in enumerate(PARTITIONS):
        # Not bootable, type Linux; the addresses of old (C/H/S) are not used.
        table[446 + 16 * number : 462 + 16 * number] = struct.pack("<4xB3xII", 0x83, start // SECTOR, length // SECTOR)
    table[510:] = b"\x55\xaa"
    with open(path, "wb") as disk:
        disk.write(table)
        disk.truncate(DISK_SIZE)


# --- the log of writes ------------------------------------------------------------------------------------------------------


FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8


@dataclasses.dataclass
class Entry:
    """A completed request; `data` is where its bytes are in the log."""

    offset: int
    length: int
    flags: int
    data: int

    def is_record(self) -> bool:
        return self.length == RECORD and self.offset >= LEDGER and not self.flags & (DISCARD | MARK)


class WriteLog:
    """What the filter write_log has written: docs in src/node/filter/write_log_format.h."""

    def __init__(self, path: pathlib.Path) -> None:
        self._file = open(path, "rb")
        _, version, count, sector = struct.unpack("<QQQI", self._file.read(28))
        assert (version, sector) == (1, SECTOR)
        self.entries: list[Entry] = []
        position = sector
        for _ in range(count):
            self._file.seek(position)
            first, sectors, flags, _ = struct.unpack("<QQQQ", self._file.read(32))
            position += sector
            self.entries.append(Entry(first * sector, sectors * sector, flags, position))
            if not flags & (DISCARD | MARK):
                position += sectors * sector

    def close(self) -> None:
        self._file.close()

    def bytes_of(self, entry: Entry) -> bytes:
        if entry.flags & DISCARD:
            return bytes(entry.length)
        self._file.seek(entry.data)
        return self._file.read(entry.length)

    def moments(self, chance: random.Random, count: int) -> list[int]:
        """Numbers of entries after which the power may go, in rising order: anywhere in the load, every other one around a flush."""
        first = next(number for number, entry in enumerate(self.entries) if entry.is_record())
        flushes = [number for number, entry in enumerate(self.entries) if number > first and entry.flags & FLUSH]
        chosen = set()
        while len(chosen) < count:
            if len(chosen) % 2:
                chosen.add(min(chance.choice(flushes) + chance.randrange(3), len(self.entries)))
            else:
                chosen.add(chance.randrange(first + 1, len(self.entries) + 1))
        return sorted(chosen)


class Rebuilder:
    """Makes the disk as a power loss may leave it, for rising moments."""

    def __init__(self, log: WriteLog, folder: pathlib.Path, chance: random.Random) -> None:
        self._log = log
        self._chance = chance
        self._folder = folder
        self._durable = folder / "durable.raw"
        self._done = 0
        self._volatile: list[Entry] = []
        make_disk(self._durable)

    def cut(self, moment: int) -> pathlib.Path:
        """The disk of which the first `moment` entries had completed."""
        with open(self._durable, "r+b") as disk:
            for entry in self._log.entries[self._done : moment]:
                if entry.flags & FLUSH:
                    self._write(disk, self._volatile)
                    self._volatile = []
                if entry.flags & FUA:
                    self._write(disk, [entry])
                elif entry.length and not entry.flags & MARK:
                    self._volatile.append(entry)
        self._done = moment
        path = self._folder / f"cut{moment}.raw"
        subprocess.run(["cp", "--sparse=always", self._durable, path], check=True)
        kept = self._chance.choice((0, 0.5, 0.9))
        with open(path, "r+b") as disk:
            for entry in self._volatile:
                fate = self._chance.random()
                if fate < kept:
                    self._write(disk, [entry])
                elif fate < kept + 0.05:
                    self._tear(disk, entry)
        return path

    def _write(self, disk, entries: list[Entry]) -> None:
        for entry in entries:
            disk.seek(entry.offset)
            disk.write(self._log.bytes_of(entry))

    def _tear(self, disk, entry: Entry) -> None:
        """Some sectors of a write reach the medium."""
        data = self._log.bytes_of(entry)
        for start in range(0, entry.length, SECTOR):
            if self._chance.random() < 0.5:
                disk.seek(entry.offset + start)
                disk.write(data[start : start + SECTOR])


# --- the test ---------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Cut:
    """A disk as a power loss left it."""

    file_system: str
    disk: pathlib.Path
    moment: int
    # Records of the ledger that were there.
    records: int

    def __str__(self) -> str:
        return f"{self.file_system}, cut after {self.moment} writes, {self.records} records"


def ledger_of(folder: pathlib.Path) -> pathlib.Path:
    return folder / "ledger"


def load(guest, partition: str, file_system: str) -> None:
    """Drives an image on a file system of its own."""
    place = f"/{file_system}"
    guest.sh(
        f"""mkdir {place} && {FILE_SYSTEMS[file_system]} {partition}1 && mount -t {file_system} {partition}1 {place}
        {program()} create {place}/disk.zbd 3M --any-guest -o {LAYOUT} && sync
        {crash_client()} load --zbdkit {program()} --image {place}/disk.zbd --ledger {partition}2 \
            --requests {REQUESTS} --lives {LIVES} --seed {SEED}""",
        timeout=120,
    )


def run_loads(boot, kernel: str, folders: dict[str, pathlib.Path]) -> dict[str, WriteLog]:
    """One guest with a disk for each file system. What a disk was told is in its log, the ledger in its folder."""
    with contextlib.ExitStack() as daemons:
        disks = []
        for folder in folders.values():
            disk, log = folder / "disk.raw", folder / "disk.log"
            make_disk(disk)
            with open(log, "wb") as file:
                file.truncate(8 * DISK_SIZE)
            options = f"driver=write_log,file.driver=file,file.filename={disk},log.driver=file,log.filename={log}"
            disks.append(daemons.enter_context(Daemon(f"--image-opts={options}")).plain_disk())
        guest = boot(kernel=kernel, disks=disks, tools=True)
        guest.modprobe(*folders)
        for letter, file_system in zip("abc", folders):
            load(guest, f"/dev/vd{letter}", file_system)
        guest.kill()
    logs = {}
    for file_system, folder in folders.items():
        with open(folder / "disk.raw", "rb") as whole, open(ledger_of(folder), "wb") as ledger:
            whole.seek(LEDGER)
            ledger.write(whole.read(PARTITIONS[1][1]))
        logs[file_system] = WriteLog(folder / "disk.log")
    return logs


def cuts_of(file_system: str, log: WriteLog, folder: pathlib.Path, chance: random.Random) -> Iterator[Cut]:
    rebuilder = Rebuilder(log, folder, chance)
    records = [number for number, entry in enumerate(log.entries) if entry.is_record()]
    for moment in log.moments(chance, CUTS):
        yield Cut(file_system, rebuilder.cut(moment), moment, sum(number < moment for number in records))


def judge(guest, cut: Cut, index: int, records: int):
    """What the judge says of a guest's disk, if the file system and the image on it are sound."""
    partition = f"/dev/vd{chr(ord('a') + index)}1"
    ledger = f"/exchange/{ledger_of(pathlib.Path(cut.file_system))}"
    return guest.run(
        f"""set -e
        mount -t {cut.file_system} {partition} /mnt
        {program()} check /mnt/disk.zbd >/run/check || {{ cat /run/check; exit 3; }}
        status=0
        {crash_client()} judge --zbdkit {program()} --image /mnt/disk.zbd --ledger {ledger} --records {records} || status=$?
        umount /mnt
        exit $status""",
        timeout=120,
    )


def test_what_was_flushed_survives_and_nothing_stale_is_seen(boot, tmp_path):
    print(f"reproduce the choices with ZBDKIT_SEED={SEED}")
    chance = random.Random(SEED)
    kernel = chance.choice(KERNELS)
    folders = {file_system: tmp_path / file_system for file_system in FILE_SYSTEMS}
    for folder in folders.values():
        folder.mkdir()
    logs = run_loads(boot, kernel, folders)
    cuts = itertools.chain.from_iterable(cuts_of(name, log, folders[name], chance) for name, log in logs.items())
    is_first = True
    while batch := list(itertools.islice(cuts, MOST_DISKS)):
        guest = boot(kernel=kernel, disks=[FileDisk(cut.disk) for cut in batch], exchange=tmp_path)
        guest.modprobe(*FILE_SYSTEMS)
        for index, cut in enumerate(batch):
            result = judge(guest, cut, index, cut.records)
            print(f"{kernel}, {cut}: {result.output.strip()}")
            assert result.ok, f"{cut}: {result.output}"
        # A disk of an earlier moment does not have what was flushed later: that the checker would say so must be seen.
        if is_first:
            everything = sum(entry.is_record() for entry in logs[batch[0].file_system].entries)
            result = judge(guest, batch[0], 0, everything)
            assert result.exit_code == 1 and "violation of the crash contract" in result.output
        is_first = False
        guest.shutdown()
        for cut in batch:
            cut.disk.unlink()
    for log in logs.values():
        log.close()
