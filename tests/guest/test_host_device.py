# SPDX-License-Identifier: Apache-2.0
"""driver=host_device on real zoned devices of Linux: null_blk, scsi_debug and QEMU's NVMe disk with zones."""

import re
import shlex

import pytest

import daemon
from guest import Guest
from host_devices import HostDevice, NullBlk, scsi_debug, zns, zns_arguments

MIB = 1 << 20
KIB = 1 << 10

# 16 zones of 4 MiB with room for 3; the first two conventional; 3 open and 5 active at most.
SMALL = {"size": 64, "zone_size": 4, "zone_capacity": 3, "zone_nr_conv": 2, "zone_max_open": 3, "zone_max_active": 5}
FIRST = 2  # the first sequential zone


@pytest.fixture(scope="module", params=["6.12", "7.2"])
def host(cache, request, tmp_path_factory):
    """A guest in which zbdkit runs. It also has an NVMe disk with zones."""
    folder = tmp_path_factory.mktemp("host")
    image = folder / "zns.img"
    image.write_bytes(b"")
    with open(image, "r+b") as file:
        file.truncate(64 * MIB)
    nvme = zns_arguments(str(image), zone_size="4M", zone_capacity="3M", max_open=3, max_active=5)
    with Guest(kernel=request.param, tools=True, extra_qemu=nvme, log_dir=folder / "guest") as guest:
        yield guest


@pytest.fixture
def small(host):
    with NullBlk(host, **SMALL) as device:
        yield device


def at(zone: int, offset: int = 0) -> int:
    return zone * 4 * MIB + offset


def says(result, text: str) -> bool:
    return not result.ok and text in result.output


# --- Commands, states and limits --------------------------------------------------------------------------------------


def check_commands_and_states(device: HostDevice, first: int) -> None:
    zone = at(first)
    device.io(f"zo {zone} 4M").check()
    assert device.state(first) == "oe"
    device.io(f"zap -p {zone} 8k", f"zap -p {zone} 4k").check()
    assert device.zones()[first] == ("oe", 12 * KIB)
    device.io(f"zc {zone} 4M").check()
    assert device.zones()[first] == ("cl", 12 * KIB)
    result = device.io(f"write -P 0x5a {zone + 12 * KIB} 4k", f"read -P 0x5a {zone + 12 * KIB} 4k").check()
    assert "Pattern verification failed" not in result.output
    assert device.zones()[first] == ("oi", 16 * KIB)
    device.io(f"zf {zone} 4M").check()
    assert device.state(first) == "fu"
    device.io(f"zrs {zone} 4M").check()
    assert device.zones()[first] == ("em", 0)
    assert says(device.io(f"zo {zone + 4096} 4M"), "zone open failed")


def check_appends(device: HostDevice, first: int) -> None:
    output = device.io(f"zap -p {at(first)} 4k 8k", f"zap -p {at(first)} 4k").check().stdout
    places = [int(place, 16) for place in re.findall(r"append sector is (0x[0-9a-f]+)", output)]
    assert places == [at(first) // 512, at(first) // 512 + 24]
    assert device.pointer(first) == 16 * KIB
    device.reset()


def check_capacity(device: HostDevice, first: int) -> None:
    """Zones have room for 3 of their 4 MiB: that is where a zone is full."""
    zone = at(first)
    device.io(f"write {zone} 2M", f"write {zone + 2 * MIB} 1020k").check()
    assert says(device.io(f"zap {zone} 8k"), "zone append failed: Input/output error")
    assert says(device.io(f"write {zone + 3 * MIB - 4096} 8k"), "write failed: Input/output error")
    assert device.pointer(first) == 3 * MIB - 4096
    device.io(f"zap {zone} 4k").check()
    assert device.state(first) == "fu"
    assert says(device.io(f"zap {zone} 4k"), "zone append failed: Input/output error")
    assert device.state(first + 1) == "em"
    device.reset()


OPEN_LIMIT = "Too many references"
ACTIVE_LIMIT = "Value too large"


def check_open_limit(device: HostDevice, first: int) -> None:
    device.io(*(f"zo {at(first + i)} 4M" for i in range(3))).check()
    assert says(device.io(f"zo {at(first + 3)} 4M"), OPEN_LIMIT)
    assert says(device.io(f"zap {at(first + 3)} 4k"), OPEN_LIMIT)
    assert says(device.io(f"write {at(first + 3)} 4k"), OPEN_LIMIT)
    device.io(f"zap {at(first)} 4k").check()
    device.reset()


def check_active_limit(device: HostDevice, first: int) -> None:
    for i in range(5):
        device.io(f"zap {at(first + i)} 4k", f"zc {at(first + i)} 4M").check()
    assert says(device.io(f"zo {at(first + 5)} 4M"), ACTIVE_LIMIT)
    assert says(device.io(f"zap {at(first + 5)} 4k"), ACTIVE_LIMIT)
    assert says(device.io(f"write {at(first + 5)} 4k"), ACTIVE_LIMIT)
    device.io(f"zap {at(first)} 4k").check()
    device.reset()


def check_everything(device: HostDevice, first: int) -> None:
    check_commands_and_states(device, first)
    check_appends(device, first)
    check_capacity(device, first)
    check_open_limit(device, first)


def test_null_blk(small):
    check_everything(small, FIRST)
    check_active_limit(small, FIRST)


def test_nvme_disk_with_zones(host):
    device = zns(host)
    check_everything(device, 0)
    check_active_limit(device, 0)


def test_scsi_disk_with_zones(host):
    device = scsi_debug(host, dev_size_mb=64, zone_size_mb=4, zone_cap_mb=3, zone_nr_conv=2, zone_max_open=3, sector_size=4096)
    check_everything(device, FIRST)


def test_report_is_that_of_qemu(small):
    small.guest.sh(f"blkzone open -o 24576 -c 1 {small.path}; blkzone finish -o 32768 -c 1 {small.path}")
    small.io(f"zap {at(5)} 12k").check()
    ours = [line for line in small.io("zrp 0 16").check().stdout.splitlines() if "type: 1" not in line]
    theirs = [line for line in small.qemu_io("zrp 0 16").check().stdout.splitlines() if "type: 1" not in line]
    assert ours == theirs


def test_conventional_zones_are_written_anywhere_and_refuse_actions(small):
    small.io(f"write -P 1 {4 * MIB - 4096} 8k", "write -P 2 64k 4k", f"read -P 1 {4 * MIB - 4096} 8k").check()
    for command in ("zo", "zc", "zf", "zrs"):
        assert says(small.io(f"{command} 0 4M"), "failed: Input/output error")
    assert says(small.io("zap 0 4k"), "zone append failed: Input/output error")
    assert says(small.io(f"write {8 * MIB - 4096} 8k"), "write failed")


def test_reset_of_everything_passes_over_worn_out_and_conventional_zones(small):
    small.io(*(f"zap {at(zone)} 4k" for zone in (2, 3, 4, 5))).check()
    small.wear_out(3, "readonly")
    small.wear_out(4, "offline")
    small.io(f"zrs 0 {64 * MIB}").check()
    states = [state for state, _ in small.zones()]
    assert states[:6] == ["nw", "nw", "em", "ro", "of", "em"]


# --- Zones that change under a node in use -----------------------------------------------------------------------------

# Commands of the shell go to a running `zbdkit io`; `io CMD` waits for what it prints, up to an answer to `length`.
CONVERSATION = """
coproc IO { %s io --image-opts -n %s 2>&1; }
io() {
    echo "$1" >&"${IO[1]}"; echo length >&"${IO[1]}"
    while read -r -t 20 line <&"${IO[0]}"; do
        case $line in *MiB) return;; esac
        echo "$line"
    done
    echo "no answer to: $1"
}
"""


def converse(device: NullBlk, steps: str) -> str:
    """Runs a shell script in which `io` talks to one process that has the device open all the time."""
    start = CONVERSATION % (daemon.program(), shlex.quote(device.options()))
    end = '\necho quit >&"${IO[1]}"; wait "$IO_PID"; echo "status $?"\n'
    return device.guest.sh(start + steps + end, timeout=60)


def test_zone_that_wears_out_in_use_is_noticed(small):
    output = converse(
        small,
        f"""
        io 'zap {at(2)} 4k'; io 'zap {at(3)} 4k'
        echo {2 * 8192} >{small.folder}/zone_readonly; echo {3 * 8192} >{small.folder}/zone_offline
        echo == append; io 'zap {at(2)} 4k'; io 'zap {at(3)} 4k'
        echo == write; io 'write {at(2, 4096)} 4k'; io 'write {at(3, 4096)} 4k'
        echo == read; io 'read -q {at(2)} 4k'; io 'read -q {at(3)} 4k'
        echo == reset; io 'zrs {at(2)} 4M'; io 'zrs {at(3)} 4M'
        echo == other; io 'zap -p {at(4)} 4k'
        echo == report; io 'zrp {at(2)} 2'
        """,
    )
    words = re.split(r"^== (\w+)\n", output, flags=re.M)
    said = dict(zip(words[1::2], words[2::2]))
    assert said["append"].count("zone append failed: Input/output error") == 2, output
    assert said["write"].count("write failed: Input/output error") == 2, output
    assert said["read"].count("read failed: Input/output error") == 1, output
    assert said["reset"].count("zone reset failed: Input/output error") == 2, output
    assert f"append sector is {hex(at(4) // 512)}" in said["other"], output
    assert "zcond:13" in said["report"] and "zcond:15" in said["report"], output


def test_changes_by_others_are_noticed(small):
    output = converse(
        small,
        f"""
        io 'zap {at(2)} 4k'; io 'zap {at(3)} 4k'; io 'zap {at(4)} 4k'
        blkzone reset -f -o {2 * 8192} -c 1 {small.path}
        blkzone finish -f -o {3 * 8192} -c 1 {small.path}
        dd if=/dev/zero of={small.path} bs=4k seek={4 * 1024 + 1} count=2 oflag=direct conv=notrunc status=none
        io 'zap -p {at(2)} 4k'; io 'zap -p {at(3)} 4k'; io 'zap -p {at(4)} 4k'; io 'write -q {at(4, 16384)} 4k'
        """,
    )
    places = re.findall(r"append sector is (0x[0-9a-f]+)", output)
    assert [int(place, 16) * 512 for place in places] == [at(2), at(4, 12288)], output
    assert output.count("zone append failed: Input/output error") == 1, output
    assert "write failed" not in output, output
    assert [small.zones()[zone] for zone in (2, 4)] == [("oi", 4096), ("oi", 20480)]


def test_device_that_vanishes_fails_requests_and_nothing_hangs(host):
    device = NullBlk(host, **SMALL)
    output = converse(
        device,
        f"""
        io 'zap {at(2)} 4k'
        echo 0 >{device.folder}/power
        echo gone; io 'zap {at(2)} 4k'; io 'write {at(3)} 4k'; io 'read {at(2)} 4k'; io 'zrs {at(2)} 4M'; io 'zrp 0 1'; io flush
        """,
    )
    assert output.split("gone")[1].count(" failed: ") >= 4, output
    assert "no answer" not in output, output
    assert re.search(r"status [01]$", output), output
    device.remove()


# --- What is refused ---------------------------------------------------------------------------------------------------


def test_cache_on_a_zoned_device_is_refused(small):
    assert small.qemu_io("zrp 0 1", options=small.options("cache.direct=off")).ok
    assert says(small.io("length", more="cache.direct=off"), "does not keep the order of writes")


def test_file_driver_on_a_zoned_device_is_refused(small):
    assert says(small.io("length", options=f"driver=file,filename={small.path}"), "expected driver=host_device")


def test_regular_file_is_refused(small):
    small.guest.sh("truncate -s 1M /tmp/regular")
    assert says(small.io("length", options="driver=host_device,filename=/tmp/regular"), "is a regular file")


def test_read_only_device_is_opened_for_reading_only(small):
    small.guest.sh(f"blockdev --setro {small.path}")
    assert says(small.io("length"), "is a read-only device: expected read-only=on")
    assert small.io("zrp 0 1", more="read-only=on").ok
    assert says(small.io("zap 8M 4k", more="read-only=on"), "failed")


def test_mounted_device_is_refused(host):
    with NullBlk(host, size=256, zone_size=4) as device:
        host.modprobe("btrfs")
        host.sh(f"mkfs.btrfs -q -O zoned -d single -m single {device.path}; mkdir -p /run/m; mount {device.path} /run/m", timeout=60)
        assert says(device.io("length"), "is in use: it is mounted")
        assert device.io("zrp 0 1", more="read-only=on").ok
        host.sh("umount /run/m")
        assert device.io("length").ok


CLAIM = "import os, time; os.open('%s', os.O_RDWR | os.O_EXCL); print(1, flush=True); time.sleep(60)"


def test_claimed_device_is_refused(small):
    claim = shlex.quote(CLAIM % small.path)
    small.guest.sh(f"python3 -c {claim} >/tmp/claimed & echo $! >/tmp/claimer; until [ -s /tmp/claimed ]; do sleep 0.1; done")
    assert says(small.io("length"), "is in use")
    assert small.io("length", more="locking=off").ok
    small.guest.sh("kill $(cat /tmp/claimer); rm /tmp/claimed; while [ -d /proc/$(cat /tmp/claimer) ]; do sleep 0.1; done")
    assert small.io("length").ok


def test_device_without_zones_is_plain_storage(host):
    with NullBlk(host, zoned=0, size=16) as device:
        device.io("write -P 3 4k 8k", "read -P 3 4k 8k", "flush").check()
        device.io("write -P 4 0 4k", "read -P 4 0 4k", more="cache.direct=off").check()
        assert says(device.io("zrp 0 1"), "zone report failed: Operation not supported")
        assert says(device.io("zap 0 4k"), "zone append failed: Operation not supported")


# --- Defects of QEMU's zoned block layer, and that they are not ours -----------------------------------------------------

SLOW = {"size": 64, "zone_size": 4, "irqmode": 2, "completion_nsec": 100_000_000, "memory_backed": 0}


def write_seconds(result) -> list[float]:
    """How long each write took, as the shells print it."""
    seconds = [float(found) for found in re.findall(r"1 ops; (?:00:00:)?([0-9.]+) sec", result.check().stdout)]
    assert len(seconds) == 8, result.output
    return seconds


EIGHT_WRITES = [*(f"aio_write {at(zone)} 4k" for zone in range(8)), "aio_flush"]


def is_parallel(seconds: list[float]) -> bool:
    return max(seconds) < 3 * min(seconds)


def test_zones_are_written_in_parallel(host):
    with NullBlk(host, **SLOW) as device:
        theirs = write_seconds(device.qemu_io(*EIGHT_WRITES))
        device.reset()
        ours = write_seconds(device.io(*EIGHT_WRITES))
    print(f"qemu-io {theirs}\nzbdkit io {ours}")
    assert not is_parallel(theirs)
    assert is_parallel(ours)


LAYERS = {
    "raw": "driver=raw,file.{0}",
    "throttle": "driver=throttle,x-iops-total=1000000,file.{0}",
    "two filters": "driver=throttle,x-iops-total=1000000,file.driver=throttle,file.x-iops-total=1000000,file.file.{1}",
}


def layered(device: HostDevice, layers: str) -> str:
    below = device.options()
    return layers.format(below.replace(",", ",file."), below.replace(",", ",file.file."))


@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS.keys())
def test_zones_are_written_in_parallel_through_layers(host, layers):
    with NullBlk(host, **SLOW) as device:
        assert is_parallel(write_seconds(device.io(*EIGHT_WRITES, options=layered(device, layers))))


@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS.keys())
def test_layers_keep_the_zones(small, layers):
    node = layered(small, layers)
    output = small.io(f"zrp {at(2)} 1", f"zo {at(2)} 4M", f"zap -p {at(2)} 4k", options=node).check().stdout
    assert "type: 2" in output and f"append sector is {hex(at(2) // 512)}" in output
    assert small.zones()[2] == ("oe", 4096)


def test_qemu_loses_the_zones_in_raw_and_throttle(small):
    direct = small.options("cache.direct=on").replace(",", ",file.")
    raw = small.qemu_io("zrp 0 1", options=f"driver=raw,file.{direct}")
    assert says(raw, "zone report failed: Operation not supported")
    throttle = small.guest.run(
        f"newer qemu-io --object throttle-group,id=g --image-opts -n driver=throttle,throttle-group=g,file.{direct} -c 'zrp 0 1'", 60
    )
    assert says(throttle, "zone report failed: Operation not supported")


def test_append_to_a_full_zone_does_not_land_in_the_next(small):
    zone = at(FIRST)
    small.qemu_io(f"zf {zone} 4M").check()
    theirs = small.qemu_io(f"zap -p {zone} 4k")
    assert f"append sector is {hex(at(FIRST + 1) // 512)}" in theirs.output
    small.reset()
    small.io(f"zf {zone} 4M").check()
    assert says(small.io(f"zap -p {zone} 4k"), "zone append failed: Input/output error")
    assert small.zones()[FIRST + 1] == ("em", 0)


def test_append_and_write_do_not_cross_the_end_of_a_zone(host):
    with NullBlk(host, size=64, zone_size=4) as device:
        nearly = f"write {at(2)} {4 * MIB - 4096}"
        for command in (f"zap -p {at(2)} 8k", f"write {at(3, -4096)} 8k"):
            device.io(nearly).check()
            assert says(device.io(command), "failed: Input/output error")
            assert device.zones()[2:4] == [("oi", 4 * MIB - 4096), ("em", 0)]
            device.reset()
            device.qemu_io(nearly, command).check()
            assert device.zones()[2:4] == [("fu", 4 * MIB), ("oi", 4096)]
            device.reset()


def test_short_last_zone_is_reset_and_appended_to(host):
    with NullBlk(host, size=62, zone_size=4) as device:
        zone = at(15)
        steps = (f"zap -p {zone} 4k", f"zrs {zone} 2M", f"zap -p {zone} 8k")
        assert says(device.qemu_io(*steps), "zone append failed: Input/output error")
        device.reset()
        output = device.io(*steps, f"zap -p {zone} 32k", f"zo {zone} 2M", f"write {zone + 40 * KIB} 2004k").check()
        places = re.findall(r"append sector is (0x[0-9a-f]+)", output.stdout)
        assert [int(place, 16) * 512 for place in places] == [zone, zone, zone + 8 * KIB], output.output
        assert device.zones()[15] == ("oe", 2044 * KIB)
        device.io(f"zap {zone} 4k").check()
        assert device.state(15) == "fu"


def test_misaligned_action_is_one_line(small):
    for command in (f"zo {at(2, 4096)} 4M", f"zrs {at(2)} 1M"):
        ours = small.io(command)
        theirs = small.qemu_io(command)
        assert not ours.ok and len(ours.output.splitlines()) == 1, ours.output
        assert "is not aligned to zone size" in theirs.output
        assert "is not aligned to zone size" not in ours.output


# --- Tools that are given the device's name ------------------------------------------------------------------------------


def test_tools_look_at_a_device_in_use(small):
    output = converse(small, f"io 'zap {at(2)} 4k'; {daemon.program()} info {small.path}; {daemon.program()} report {small.path} -f blkzone")
    assert f"{small.path} (zoned block device)" in output and "2 conventional, 13 empty, 1 implicitly open" in output, output
    assert output.count("(em)") == 13 and output.count("(oi)") == 1, output


def test_image_on_a_plain_device_is_found_by_its_name(host):
    with NullBlk(host, zoned=0, size=64) as device:
        host.sh(f"{daemon.program()} create --force {device.path} 32M -o zone.size=4M")
        assert "zoned image" in host.sh(f"{daemon.program()} info {device.path}")


# --- Appends of one zone, and the whole chain to a guest's ring ------------------------------------------------------------


def serve_script(arguments: str, then: str) -> str:
    return (
        f"{daemon.program()} serve {arguments} --vhost-user /run/z.sock >/run/serve.log 2>&1 & server=$!\n"
        "for i in $(seq 100); do grep -q 'serving ' /run/serve.log && break; sleep 0.1; done\n"
        f"{then}\nstatus=$?\nkill -TERM $server; wait $server || {{ cat /run/serve.log; exit 1; }}\nexit $status"
    )


def bench(options: str) -> str:
    return f"{daemon.program()} bench /run/z.sock --warm-up 0 {options}"


def test_device_is_served_to_a_ring(host):
    with NullBlk(host, size=512, zone_size=32) as device:
        host.sh(serve_script(device.path, bench("--op append --seconds 1")), timeout=60)
        assert sum(pointer for _, pointer in device.zones()) > 0
        host.sh(serve_script(device.path, bench("--op randread --zones 2 --seconds 1")), timeout=60)


def test_device_that_vanishes_below_a_ring_leaves_the_server_in_order(host):
    device = NullBlk(host, size=64, zone_size=4, irqmode=2, completion_nsec=50_000_000)
    load = f"{bench('--op append --seconds 20')} & bench=$!; sleep 1; echo 0 >{device.folder}/power; ! wait $bench"
    result = host.run(serve_script(device.path, load), timeout=60)
    assert result.ok and "the server answered IOERR (1)" in result.output, result.output
    device.remove()


def test_waiting_appends_become_few_writes(host):
    with NullBlk(host, size=64, zone_size=4, irqmode=2, completion_nsec=50_000_000) as device:
        before = device.writes()
        host.sh(serve_script(device.path, bench("--op append --zones 1 --seconds 1")), timeout=60)
        writes = device.writes() - before
        appends = sum(pointer for _, pointer in device.zones()) // 4096
    print(f"{appends} appends in {writes} writes")
    assert appends >= 64
    assert writes <= appends / 8
