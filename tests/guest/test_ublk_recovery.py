# SPDX-License-Identifier: Apache-2.0
"""Daemons of ublk disks that are killed under load, and short of memory: others take their disks over, and nobody above notices."""

import re

import pytest

from guest import KERNELS, FileDisk, Guest
from host_devices import NullBlk
from ublk_disk import UblkDisk

# Slow enough for requests to be in flight when a daemon dies.
SLOW = "driver=zoned,file.driver=delay,file.delay-write=3ms,file.file.driver=file,file.file.filename={image}"
GEOMETRY = "zone.size=16M,zone.conventional_zones=2,zone.max_open_zones=8,zone.max_active_zones=8"
CAME_BACK = re.compile(r"all (\d+) requests that were in flight have come back")


@pytest.fixture(scope="module", params=KERNELS)
def host(cache, request, tmp_path_factory):
    """A guest whose kernel has ublk."""
    with Guest(kernel=request.param, log_dir=tmp_path_factory.mktemp("recovery")) as guest:
        guest.modprobe("ublk_drv", "btrfs", "ext4", "mq_deadline", "null_blk nr_devices=0")
        yield guest


@pytest.fixture
def disk(host):
    with UblkDisk(host, "recovered") as disk:
        disk.create("512M", GEOMETRY)
        disk.node = SLOW.format(image=disk.image)
        yield disk


def kill_and_recover(disk: UblkDisk, pause: float, *options: str) -> int:
    """Lets the load run for a while and kills the daemon. Returns how many requests the daemon before had left that came back."""
    disk.guest.sh(f"sleep {pause}")
    disk.kill()
    came_back = sum(int(count) for count in CAME_BACK.findall(disk.daemon.log()))
    disk.recover(*options)
    return came_back


def pauses(kills: int) -> list[float]:
    """Some daemons die as soon as they serve, while requests still come back."""
    return [(0, 0.1, 0.4, 0.25)[i % 4] for i in range(kills)]


FIO = "fio --filename={path} --direct=1 --ioengine=io_uring --iodepth=8 --rw=randwrite --verify=crc32c --verify_backlog=128 --verify_fatal=1 "

# Each run fills a part of its zones, and the next one begins with their reset. One that fills them all and goes on reads what it
# has reset, and writes where the pointer is not: on null_blk as well.
FIO_IN_ZONES = FIO + "--zonemode=zbd --bsrange=4k-64k --max_open_zones=3 --size=128M --io_size=64M --name=zones --offset={offset}"
FIO_ANYWHERE = FIO + "--bs=4k --size=32M --name=anywhere"


def again_and_again(command: str) -> str:
    return f"while [ ! -e /run/enough ]; do {command} || exit; done"


# With a scheduler requests come back under other tags.
SCHEDULERS = {"6.12": "mq-deadline", "7.2": "none"}


def test_fio_verifies_while_the_daemon_is_killed_20_times(host, disk):
    disk.start("--num-queues", "2")
    host.sh(f"rm -f /run/enough; echo {SCHEDULERS[host.kernel]} >/sys/block/{disk.name}/queue/scheduler")
    commands = [FIO_IN_ZONES.format(path=disk.path, offset="32M"), FIO_IN_ZONES.format(path=disk.path, offset="160M"), FIO_ANYWHERE.format(path=disk.path)]
    loads = [host.start_job(again_and_again(command)) for command in commands]
    host.sh(f"until [ $(awk '{{print $5}}' /sys/block/{disk.name}/stat) -gt 100 ]; do sleep 0.1; done")
    came_back = 0
    for kill, pause in enumerate(pauses(20)):
        came_back += kill_and_recover(disk, pause)
        for load in loads:
            assert not load.done(), f"fio ended after {kill} kills:\n{load.wait().output}"
    host.sh("touch /run/enough")
    for load in loads:
        assert "err= 0" in load.wait(120).check().output
    print(f"{came_back} requests came back")
    assert came_back > 0
    assert disk.stop()["failed"] == 0
    disk.check()


WRITER = """
cd /run/fs
for i in $(seq 400); do
    head -c $((RANDOM * 20)) /dev/urandom >file$i && sha256sum file$i >>/run/sums || exit 1
    [ $((i % 5)) -ne 0 ] || sync
    [ $((i % 7)) -ne 0 ] || { rm file$((i - 3)) && sed -i "/file$((i - 3))\\$/d" /run/sums; }
    [ ! -e /run/enough ] || exit 0
done
exit 3
"""


def test_mounted_btrfs_lives_on(host, disk):
    """All its data goes by zone appends: one that was done twice, or lost, would not have its checksum."""
    disk.start("--num-queues", "2")
    host.sh(f"mkfs.btrfs -q -O zoned -d single -m single {disk.path}; mkdir -p /run/fs; mount {disk.path} /run/fs; rm -f /run/sums /run/enough", timeout=60)
    writer = host.start_job(WRITER)
    for pause in pauses(6):
        kill_and_recover(disk, pause)
    host.sh("sleep 0.5; touch /run/enough")
    writer.wait(120).check()
    host.sh("sync; echo 3 >/proc/sys/vm/drop_caches; cd /run/fs; [ $(wc -l </run/sums) -gt 5 ]; sha256sum --quiet -c /run/sums", timeout=60)
    scrub = host.sh("btrfs scrub start -B /run/fs", timeout=60)
    assert "no errors found" in scrub, scrub
    host.sh("umount /run/fs")
    assert "BTRFS error" not in host.dmesg() and "I/O error" not in host.dmesg()
    summary = disk.stop()
    assert summary["failed"] == 0
    disk.check()


LENT = "data written without a copy (AUTO_BUF_REG), read by USER_COPY"
COPIED = "data by USER_COPY"
COPIES = {"6.12": COPIED, "7.2": LENT}


@pytest.fixture
def ext4(host):
    """A file system whose files are read and written past the page cache."""
    with NullBlk(host, size=640, zoned=0, blocksize=4096) as device:
        host.sh(f"mkfs.ext4 -q {device.path}; mkdir -p /run/ext4; mount {device.path} /run/ext4")
        yield "/run/ext4"
        host.sh("umount /run/ext4")


def test_data_goes_to_o_direct_storage_without_a_copy_where_the_kernel_lends_it(host, ext4):
    """Writes of fio and appends of btrfs; with a daemon that is killed, and one that goes on with O_DIRECT or without."""
    with UblkDisk(host, "direct") as disk:
        disk.image = f"{ext4}/direct.zbd"
        disk.create("512M", GEOMETRY).start("--num-queues", "2", "--direct")
        assert COPIES[host.kernel] in disk.daemon.log()
        host.sh(FIO_IN_ZONES.format(path=disk.path, offset="32M"), timeout=60)
        # Fetched data is read by system calls, and nothing else of that size is.
        fetched = int(re.search(r"rchar: (\d+)", host.sh(f"cat /proc/{disk.daemon.pid}/io"))[1])
        assert (fetched > 64 << 20) == (COPIES[host.kernel] == COPIED)
        host.sh(f"mkfs.btrfs -q -f -O zoned -d single -m single {disk.path}; mkdir -p /run/fs; mount {disk.path} /run/fs; rm -f /run/sums /run/enough", timeout=60)
        writer = host.start_job(WRITER)
        for options, copies in (("", COPIED), ("--direct", COPIES[host.kernel]), ("--direct", COPIES[host.kernel])):
            kill_and_recover(disk, 0.3, options)
            assert copies in disk.daemon.log()
        host.sh("sleep 0.5; touch /run/enough")
        writer.wait(120).check()
        host.sh("sync; echo 3 >/proc/sys/vm/drop_caches; cd /run/fs; [ $(wc -l </run/sums) -gt 5 ]; sha256sum --quiet -c /run/sums", timeout=60)
        host.sh("umount /run/fs")
        assert disk.stop()["failed"] == 0
        disk.check()


def test_serve_goes_on_with_its_own_disk(host, disk):
    """What a service manager does: the same command again."""
    disk.start("--ublk-id", "7")
    host.sh(f"dd if=/dev/urandom of=/run/data bs=64k count=4 status=none; dd if=/run/data of={disk.path} bs=64k seek=512 oflag=direct conv=notrunc status=none")
    disk.kill()
    reader = host.start_job(f"dd if={disk.path} bs=64k skip=512 count=4 iflag=direct status=none | cmp - /run/data")
    disk.start("--ublk-id", "7")
    assert "again as /dev/ublkb7" in disk.daemon.log()
    reader.wait(30).check()
    assert disk.zones()[2][1] == 256 << 10
    disk.stop()


# --- Short of memory ------------------------------------------------------------------------------------------------------

LIMITED = """
set -e
mkdir -p /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
for group in writer:48M daemon:96M; do
    mkdir /sys/fs/cgroup/${group%:*}; echo ${group#*:} >/sys/fs/cgroup/${group%:*}/memory.max
done
mkfs.ext4 -q /dev/vda; mkdir -p /run/ext4 /run/fs; mount /dev/vda /run/ext4
"""

# PF_MEMALLOC_NOIO and PF_LOCAL_THROTTLE of include/linux/sched.h.
IO_FLUSHER = 0x00080000 | 0x00100000


@pytest.mark.parametrize("kernel", KERNELS)
def test_dirty_pages_are_written_though_memory_is_short(cache, boot, tmp_path, kernel):
    """The image lies on ext4, whose pages the daemon dirties while others wait for theirs to be written: by a writer with little memory, a daemon with
    little memory, and then by two writers that have all that the machine has left."""
    image = tmp_path / "plain.img"
    image.touch()
    with open(image, "r+b") as file:
        file.truncate(1 << 30)
    guest = boot(kernel=kernel, memory="512M", disks=[FileDisk(image)])
    guest.modprobe("ublk_drv", "btrfs", "ext4")
    guest.sh(LIMITED, timeout=60)
    disk = UblkDisk(guest, "limited")
    disk.image = "/run/ext4/limited.zbd"
    disk.create("768M", "zone.size=16M").start()
    pid = disk.daemon.pid
    guest.sh(f"echo {pid} >/sys/fs/cgroup/daemon/cgroup.procs")

    locked = int(re.search(r"VmLck:\s+(\d+) kB", guest.sh(f"cat /proc/{pid}/status"))[1])
    assert locked > 32 << 10
    flags = [int(words.split()[8]) for words in guest.sh(f"cat /proc/{pid}/task/*/stat").splitlines()]
    assert all(each & IO_FLUSHER == IO_FLUSHER for each in flags)

    guest.sh(f"mkfs.btrfs -q -O zoned -d single -m single {disk.path}; mount {disk.path} /run/fs", timeout=60)
    guest.sh(
        "echo $$ >/sys/fs/cgroup/writer/cgroup.procs; head -c 80M /dev/urandom | tee /run/fs/first | sha256sum | sed 's/-/first/' >/run/sums; sync",
        timeout=180,
    )
    guest.sh(
        "for i in 1 2; do { head -c 120M /dev/zero | tr '\\0' $i >/run/fs/zero$i; } & done; wait; sync; "
        "for i in 1 2; do [ $(tr -d $i </run/fs/zero$i | wc -c) -eq 0 ] && [ $(stat -c %s /run/fs/zero$i) -eq $((120 << 20)) ]; done",
        timeout=300,
    )
    guest.sh("echo 3 >/proc/sys/vm/drop_caches; cd /run/fs; sha256sum --quiet -c /run/sums", timeout=60)
    assert "oom_kill 0" in guest.sh("cat /sys/fs/cgroup/daemon/memory.events")
    guest.sh("umount /run/fs", timeout=60)
    assert disk.stop()["failed"] == 0
    assert "blocked for more than" not in guest.dmesg()
