# SPDX-License-Identifier: Apache-2.0
"""Power loss under a real file system: the image is a file on ext4, xfs or btrfs in a guest, on a disk that logs every write. The disk is
rebuilt as the power could have left it at some moment: all that was flushed is there, and of the rest whatever chance wants. Then a
second guest (another boot) mounts it, and the image must keep the crash contract.

What was owed at each moment is known exactly: the client of the first guest (tests/crash) keeps its ledger on a second partition of
the same disk, so the log says which of its records were there when the power went.

ZBDKIT_POWER_CUTS is how many moments are tried for each file system (default 4), ZBDKIT_SEED chooses them.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import random
import struct
import subprocess

import pytest

from daemon import Daemon, program
from guest import FileDisk

CUTS = int(os.environ.get("ZBDKIT_POWER_CUTS", "4"))
SEED = int(os.environ.get("ZBDKIT_SEED", "0")) or random.randrange(1 << 32)
REQUESTS = 2500
# Disks of a guest at a time.
MOST_DISKS = 12

MIB = 1 << 20
SECTOR = 512
DISK_SIZE = 512 * MIB
# The file system is on the first partition, the ledger on the second.
PARTITIONS = ((1 * MIB, 400 * MIB), (401 * MIB, 111 * MIB))
LEDGER = PARTITIONS[1][0]
RECORD = 4096

LAYOUT = "block_size=512,zone.size=256K,zone.capacity=240K,zone.conventional_zones=1,zone.max_open_zones=4,zone.max_active_zones=7,zone.max_append_bytes=32K"

# What makes and mounts the file systems, and the kernel to try them with.
FILE_SYSTEMS = {
    "ext4": ("7.2", "mkfs.ext4 -q -F"),
    "xfs": ("6.12", "newer mkfs.xfs -q -f"),
    "btrfs": ("7.2", "newer mkfs.btrfs -q -f"),
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


def run_load(boot, folder: pathlib.Path, file_system: str) -> WriteLog:
    """Drives an image on a file system in a guest. What the disk was told is in the log, the ledger in folder/ledger."""
    kernel, mkfs = FILE_SYSTEMS[file_system]
    disk, log = folder / "disk.raw", folder / "disk.log"
    make_disk(disk)
    with open(log, "wb") as file:
        file.truncate(8 * DISK_SIZE)
    options = f"driver=write_log,file.driver=file,file.filename={disk},log.driver=file,log.filename={log}"
    with Daemon(f"--image-opts={options}") as daemon:
        guest = boot(kernel=kernel, disks=[daemon.plain_disk()], tools=True)
        guest.modprobe(file_system)
        guest.sh(
            f"""{mkfs} /dev/vda1 && mount -t {file_system} /dev/vda1 /mnt
            {program()} create /mnt/disk.zbd 5M --any-guest -o {LAYOUT} && sync""",
            timeout=60,
        )
        guest.sh(f"{program()} serve /mnt/disk.zbd --vhost-user /run/disk.sock >/run/serve.log 2>&1 &")
        guest.sh(f"{crash_client()} load --socket /run/disk.sock --ledger /dev/vda2 --requests {REQUESTS} --seed {SEED}", timeout=120)
        guest.kill()
    with open(disk, "rb") as whole, open(folder / "ledger", "wb") as ledger:
        whole.seek(LEDGER)
        ledger.write(whole.read(PARTITIONS[1][1]))
    return WriteLog(log)


def judge(guest, file_system: str, index: int, records: int):
    """What the checker says of a guest's disk; the file system and the image on it must be sound."""
    partition = f"/dev/vd{chr(ord('a') + index)}1"
    guest.sh(f"mount -t {file_system} {partition} /mnt && {program()} check /mnt/disk.zbd", timeout=60)
    result = guest.run(
        f"""{program()} serve /mnt/disk.zbd --vhost-user /run/disk.sock >/run/serve.log 2>&1 & daemon=$!
        {crash_client()} judge --socket /run/disk.sock --ledger /exchange/ledger --records {records}
        status=$?
        kill $daemon && wait $daemon || cat /run/serve.log
        exit $status""",
        timeout=60,
    )
    guest.sh("umount /mnt")
    return result


@pytest.mark.parametrize("file_system", FILE_SYSTEMS)
def test_what_was_flushed_survives_and_nothing_stale_is_seen(boot, tmp_path, file_system):
    print(f"reproduce the choices with ZBDKIT_SEED={SEED}")
    chance = random.Random(SEED)
    log = run_load(boot, tmp_path, file_system)
    records = [number for number, entry in enumerate(log.entries) if entry.is_record()]
    rebuilder = Rebuilder(log, tmp_path, chance)
    moments = log.moments(chance, CUTS)
    for first in range(0, CUTS, MOST_DISKS):
        batch = moments[first : first + MOST_DISKS]
        disks = [rebuilder.cut(moment) for moment in batch]
        guest = boot(kernel=FILE_SYSTEMS[file_system][0], disks=[FileDisk(disk) for disk in disks], exchange=tmp_path)
        guest.modprobe(file_system)
        for index, moment in enumerate(batch):
            there = sum(number < moment for number in records)
            result = judge(guest, file_system, index, there)
            print(f"{file_system}, cut after {moment} of {len(log.entries)} writes, {there} records: {result.output.strip()}")
            assert result.ok, f"cut after {moment} of {len(log.entries)} writes: {result.output}"
        # A disk of an earlier moment does not have what was flushed later: that the checker would say so must be seen.
        if first == 0:
            result = judge(guest, file_system, 0, len(records))
            assert result.exit_code == 1 and "violation of the crash contract" in result.output
        guest.shutdown()
        for disk in disks:
            disk.unlink()
    log.close()
