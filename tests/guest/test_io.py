# SPDX-License-Identifier: Apache-2.0
"""`zbdkit io` beside QEMU's qemu-io: the same commands, on the same files and zoned devices, must print the same lines and end with
the same status. Times and rates are left out of the comparison, nothing else."""

import collections.abc
import dataclasses
import difflib
import pathlib
import re
import shlex
import subprocess

import pytest

import daemon
from guest import KERNELS, Guest, Result
from host_devices import NullBlk

# --- ordinary files, on this machine ------------------------------------------------------------------------------------

# One command line each; several commands of one line are separated by " ;; ". All on a raw file of 1 MiB.
FILE_COMMANDS = """
read 0 4k
write 0 4096
write -P 0xab 4k 4k ;; read -P 0xab 4k 4k ;; read -P 0xac 4k 4k ;; read -P 0xac -s 512 -l 512 4k 4k
write 3 60 ;; read -v 0 70 ;; read -v -q 0 4 ;; readv -v 0 16 5
write -P 5 1000 5000 ;; read -P 5 1000 5000 ;; read -v 990 20
read -C 0 4k ;; write -C 0 4k ;; readv -C 0 512 512 ;; writev -C 0 512 ;; discard -C 0 4k
read -q 0 4k ;; write -q 0 4k ;; discard -q 0 4k
read -p 0 4k ;; read -r 0 4k ;; write -r 0 4k
read 0 1.5k ;; read 0 0x200 ;; read 0 010 ;; read 0 +512 ;; read 0 .5k ;; read 0 1b ;; read 0 1.1k
read 0 0 ;; write 0 0 ;; readv 0 0 ;; writev 0 0 512 0 ;; discard 0 0 ;; read 1M 0 ;; read 2M 0 ;; write 2M 0
read 1M 1 ;; read 1048575 2 ;; write 1M 1 ;; readv 0 1M 512 ;; writev 1M 512 ;; discard 1M 4k ;; read 0 2147483136
write -z 0 4k ;; write -zu 0 4k ;; write -zn 0 4k ;; write -c -z 0 4k ;; write -zn 0 3G
write -P 1 0 64k ;; write -zu 0 4k ;; write -z 8k 3 ;; read -P 1 4k 4k ;; read -P 0 0 4k
write -f 0 4k ;; writev -f 0 512 ;; flush
write -s source 0 64k ;; write -s source 5 100 ;; read -v 0 110
write -s nowhere 0 8k
write -s /dev/null 0 4k
write -s source -P 1 0 8k
writev 0 512 1k ;; writev -P 9 0 512 513 ;; readv -v 500 10 30 ;; readv -P 0 0 512 1k
write 0 64k ;; discard 0 4k ;; read -P 0 0 4k ;; read -P 0xcd 4k 60k
read ;; read 0 ;; readv 0 ;; aio_write ;; discard 1M ;; length 1 ;; alloc ;; zrp 0 ;; zo 0 ;; sleep ;; open ;; help a b
read 0 4k 4k ;; discard 0 1 2 ;; aio_discard 0 1 2 ;; write -P 0 4k ;; read -P 1
read 0 x
read x 4k
read -- -1 4k
read 0 -1
read 0 -- -0
read 0 -- -1k
read 0 9E ;; read 8E 1 ;; read 9999999999999999999999 1 ;; read 0 0xffffffffffffffff
read 0 1.5 ;; read 0 1kk ;; read 0 1kB ;; read 0 0x1k ;; read 0 1e3 ;; read 0 1.5b ;; read 0 .k ;; read 0 inf
read 0 3G ;; write 0 3G ;; write 0 2147483136 ;; discard 0 3G ;; readv 0 3G ;; readv 0 9E ;; readv 0 1G 1G 1G
read -k 0 512 ;; readv -k 0 512 ;; writev -z 0 1 ;; discard -x 0 1 ;; aio_write -P 1
read -s 0 4k 4k ;; read -l 5 0 512 ;; read -P 1 -s 8k 4k 4k ;; read -P 1 -l 8k 4k 4k ;; read -s x -P 1 0 1 ;; read -l x -P 1 0 1
write -P 300 0 4k ;; write -P x 0 4k ;; write -P -1 0 4k ;; write -P 08 0 1 ;; write -q -P -0 0 1
write -u 0 4k ;; write -n 0 4k ;; write -z -P 1 0 4k ;; write -bz 0 4k ;; write -f -c 0 4k ;; write -zr 0 4k ;; write -c 1 512
read -b 1 512 ;; read -b 0 513 ;; write -c 0 513
aio_read 0 4k ;; aio_flush ;; aio_read -C 0 512 512 ;; aio_flush ;; aio_read -v 0 32 ;; aio_flush ;; aio_read -P 1 0 4k
aio_write 0 512 ;; aio_flush ;; aio_write 0 512 512 ;; aio_flush ;; aio_write -C 0 512 ;; aio_flush ;; aio_write -f 0 4k
aio_write -q 0 4k ;; aio_write -q 4k 4k ;; aio_flush ;; read -P 0xcd 0 8k
aio_write -z 0 4k
aio_write -u 0 4k ;; aio_write -z 0 4k 4k ;; aio_write -z x 4k ;; aio_write -zr 0 512 ;; aio_write -i 0 4k ;; aio_write -iz 0 x
aio_read x 512 ;; aio_read 0 x ;; aio_read -i 0 512
aio_read 1M 512
aio_write 1M 512
aio_discard 1M 512
aio_discard 0 4k ;; aio_flush ;; aio_discard 0 x
aio_discard 0 3G
length ;; info ;; map ;; flush ;; sleep 1 ;; sleep x ;; sleep 1x ;; sleep -5
alloc 0 ;; alloc 0 4k ;; alloc 0 2M ;; alloc 2M ;; alloc 1M ;; alloc x ;; alloc 0 x ;; alloc 1.5k 513 ;; alloc 7.9E
truncate ;; truncate x
help nope ;; help aio_flush ;; help length
? sleep
close ;; close ;; length ;; map ;; zrp 0 1
close ;; open -o driver=raw disk.img ;; length ;; write 0 1k ;; read -P 0xcd 0 1k
close ;; open -r -o driver=raw disk.img ;; write 0 1 ;; aio_write 0 1 ;; discard 0 1 ;; flush ;; length
close ;; open -n -o driver=raw disk.img ;; write 7 1000 ;; read -v 0 40
close ;; open -t nope a ;; open -d nope a ;; open a b ;; open -q a ;; open -U -o driver=raw a
open disk.img
quit ;; foo
q 1 2 3
foo ;; Read 0 512 ;; h read
break ;; remove_break ;; sigraise ;; abort x
zrp 0 1 ;; zo 0 512 ;; zc 0 1 ;; zf 0 1 ;; zrs 0 0 ;; zap -p 0 512 ;; zone_report 0 1 ;; zone_append -p 0 512 512
zrp x 1 ;; zrp 0 x ;; zrp 0 1 2 ;; zrp 0 4G ;; zo x 1 ;; zap -p x 512 ;; zap -p 0 x ;; zap -p 0 4G
w 0 512 ;; r 0 512 ;; l ;; i ;; f ;; d 0 512 ;; t x ;; a 0
""".strip().splitlines()

# Options of the program, and then commands.
OPTIONS = [
    ["-f", "raw", "-r", "disk.img", "-c", "write 0 512", "-c", "length"],
    ["-f", "raw", "-n", "disk.img", "-c", "write 100 4096", "-c", "read -P 0xcd 100 4096", "-c", "read -v 90 20"],
    ["-f", "raw", "-n", "-m", "disk.img", "-c", "write 100 4096", "-c", "readv -P 0xcd 100 96 4000"],
    ["-f", "raw", "-t", "directsync", "disk.img", "-c", "write 0 512", "-c", "flush"],
    ["-f", "raw", "-t", "writethrough", "disk.img", "-c", "write 0 512", "-c", "aio_write 0 1k"],
    ["-f", "raw", "-t", "unsafe", "disk.img", "-c", "write 0 512", "-c", "flush"],
    ["-f", "raw", "-d", "ignore", "disk.img", "-c", "write 0 4k", "-c", "discard 0 4k", "-c", "read -P 0xcd 0 4k"],
    ["-f", "raw", "-d", "unmap", "-i", "io_uring", "disk.img", "-c", "write 0 4k", "-c", "discard 0 4k", "-c", "read -P 0 0 4k"],
    ["-f", "raw", "-U", "disk.img", "-c", "length"],
    ["-f", "raw", "-U", "-r", "disk.img", "-c", "length"],
    ["--cmd", "length", "--format", "raw", "--read-only", "disk.img"],
    ["--image-opts", "driver=file,filename=disk.img", "-c", "length"],
    ["--image-opts", "driver=raw,file.driver=file,file.filename=disk.img,offset=64k,size=64k", "-c", "length", "-c", "write 0 1k", "-c", "read 64k 1"],
    ["--image-opts", "-f", "raw", "driver=file,filename=disk.img"],
    ["-t", "nope", "disk.img"],
    ["-d", "nope", "disk.img"],
    ["-i", "nope", "disk.img"],
    ["-c", "length", "-c", "read 0 1", "-c", "quit", "-c", "foo"],
]

# What is read from stdin.
INPUTS = ["length\nread 0 512\n", "length", "\n\nfoo\nquit\nlength\n", "read 0 x\n", "aio_read 0 512\nsleep 10\naio_flush\n", "", "\n"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    exit_code: int
    stdout: str
    stderr: str
    content: bytes


TIMES = re.compile(r"ops; [\d:.]+( sec)? \([\d.]+ \w+/sec and [\d.]+ ops/sec\)$|(?<=,1,)\d+:\d\d:\d\d\.\d\d,[\d.]+,[\d.]+$", re.MULTILINE)


def without_times(text: str) -> str:
    return TIMES.sub("TIMES", text)


def run_on_file(command: list[str], arguments: list[str], folder: pathlib.Path, stdin: str = "") -> Outcome:
    """Runs a program in a folder of its own with a new disk.img and source."""
    folder.mkdir()
    with open(folder / "disk.img", "wb") as disk:
        disk.truncate(1 << 20)
    (folder / "source").write_bytes(bytes(range(1, 255)) * 40)
    done = subprocess.run([*command, *arguments], cwd=folder, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    content = (folder / "disk.img").read_bytes()
    return Outcome(done.returncode, without_times(done.stdout), without_times(done.stderr), content)


@pytest.fixture
def compare(cache, tmp_path):
    """compare(arguments, stdin=...) runs both programs; what qemu-io calls itself is what ours is called."""
    (tmp_path / "qemu-io").symlink_to(daemon.program().resolve())

    def run(arguments: list[str], stdin: str = "") -> None:
        theirs = cache.command("qemu-io")
        theirs[-1:-1] = ["--argv0", "qemu-io"]
        expected = run_on_file(theirs, arguments, tmp_path / "theirs", stdin)
        ours = run_on_file([str(tmp_path / "qemu-io")], arguments, tmp_path / "ours", stdin)
        assert (ours.exit_code, ours.stdout, ours.stderr) == (expected.exit_code, expected.stdout, expected.stderr)
        assert ours.content == expected.content, "the files differ"

    return run


@pytest.mark.parametrize("line", FILE_COMMANDS)
def test_commands_on_a_file_are_those_of_qemu_io(compare, line):
    compare(["-f", "raw", "disk.img"] + [word for command in line.split(" ;; ") for word in ("-c", command)])


@pytest.mark.parametrize("arguments", OPTIONS, ids=shlex.join)
def test_options_are_those_of_qemu_io(compare, arguments):
    compare(arguments)


@pytest.mark.parametrize("text", INPUTS, ids=repr)
def test_lines_of_stdin_are_taken_as_by_qemu_io(compare, text):
    compare(["-f", "raw", "disk.img"], stdin=text)


# --- a terminal ---------------------------------------------------------------------------------------------------------


def test_terminal_completes_and_remembers(tmp_path, monkeypatch):
    pexpect = pytest.importorskip("pexpect")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TERM", "xterm")
    image = daemon.create(tmp_path / "disk.zbd", "8M", "zone.size=4M")

    def session():
        return pexpect.spawn(str(daemon.program()), ["io", str(image)], encoding="utf-8", timeout=30)

    shell = session()
    shell.expect_exact("qemu-io> ")
    shell.send("len\t\r")
    shell.expect_exact("8 MiB")
    shell.expect_exact("qemu-io> ")
    shell.send("aio_write 0 4k\r")
    shell.expect_exact("wrote 4096/4096 bytes at offset 0")  # while the shell waits for a key
    shell.send("zone_rep\t0 1\r")
    shell.expect_exact("wptr 0x8, zcond:2")
    shell.expect_exact("qemu-io> ")
    shell.sendeof()
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 0

    shell = session()
    shell.expect_exact("qemu-io> ")
    shell.send("\x1b[A\x1b[A\x1b[A\r")  # the line before the line before the last
    shell.expect_exact("8 MiB")
    shell.send("quit\r")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 0
    assert (tmp_path / "state/zbdkit/io_history").exists()


# --- zoned devices, in guests -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=KERNELS)
def host(cache, request, tmp_path_factory):
    """A guest that plays the host of a zoned device."""
    with Guest(kernel=request.param, tools=True, log_dir=tmp_path_factory.mktemp("guest")) as guest:
        yield guest


# Settings of null_blk; sizes in MiB.
LARGE = {"size": 256000, "zone_size": 256}
SMALL = {"size": 544, "zone_size": 64, "zone_nr_conv": 1, "zone_max_open": 3, "zone_max_active": 4}


def transcript(run: collections.abc.Callable[..., Result], sessions: list[list[str]]) -> list[str]:
    """What the commands of each session print on stdout, and its status. On stderr qemu-io has more to say, out of its I/O path."""
    lines = []
    for commands in sessions:
        result = run(*commands, timeout=60)
        lines += [f"$ {' | '.join(commands)}", *without_times(result.stdout).splitlines(), f"[{result.exit_code}]"]
    return lines


def assert_same_transcript(host: Guest, settings: dict[str, int], sessions: list[list[str]]) -> None:
    with NullBlk(host, **settings) as device:
        theirs = transcript(device.qemu_io, sessions)
    with NullBlk(host, **settings) as device:
        ours = transcript(device.io, sessions)
    difference = "\n".join(difflib.unified_diff(theirs, ours, "qemu-io", "zbdkit io", lineterm=""))
    assert not difference, difference


ZONE = 256 << 20
LAST = 999 * ZONE


def test_zone_operations_are_those_of_qemu_io(host):
    """Reports, then each operation on chosen zones of a large device, with a report after each."""
    sessions = [["zrp 0 1"], ["zrp 0 10"], [f"zrp {LAST:#x} 2"]]
    for operation, zones in [("zo", [0, ZONE, LAST]), ("zc", [0, LAST]), ("zf", [ZONE]), ("zrs", [ZONE])]:
        sessions += [[f"{operation} {start} {ZONE}", f"zrp {start} 2"] for start in zones]
    for start in (0, 0, ZONE, ZONE):
        sessions.append([f"zap -p {start} 0x1000 0x2000", f"zrp {start} 1"])
    assert_same_transcript(host, LARGE, sessions)


# On a device with a conventional zone, a short last zone, and at most three open and four active zones. Each line is a session.
STATES_AND_ERRORS = """
zrp 64M 20|zrp 64M 0|zrp 544M 1|zrp 1G 1|zrp 64M 2|zrp 70M 1|zrp 0 4G|zrp 64M x
zo 64M 64M|zo 64M 128M|zo 512M 32M|zrp 512M 1|zc 512M 32M|zrs 512M 32M
zo 64M 0
zo 64M 1|zo 65M 64M|zo 480M 64M|zo 512M 64M|zrs 512M 64M|zrs 0 576M|zo 544M 64M|zo 1G 64M
zo 0 64M|zc 0 64M|zf 0 64M|zrs 0 64M
zap -p 512M 4k|zap -p 512M 4k|zrp 512M 1|zrs 512M 32M
zrs 0 544M|zrp 64M 9|zrs 64M 480M
zap -p 64M 4k|zap -p 64M 4k 8k|zap 64M 4k 4k|zap -p 64M 512|zrp 64M 1
zap -p 65M 4k
zap -p 64M 513|zap -p 64M x|zap -p 64M 4G
read -P 0xcd 64M 20k|read -v 64M 20|read 127M 2M|read 60M 8M|read 544M 1|read 0 544M
zf 128M 64M|zrp 128M 1|zf 128M 64M
write 128M 4k
zo 128M 64M|zc 128M 64M|zrs 128M 64M|zrp 128M 1
write 64M 4k
write 256M 4k|write 268439552 4k|write 320M 512|zrp 64M 9
write 384M 4k
write 448M 4k|aio_write 384M 4k|aio_flush|zrp 64M 9
zo 256M 64M|zo 320M 64M|zo 384M 64M|zo 448M 64M|zrp 64M 9|zc 320M 64M|zrp 64M 9
writev 0 4k 4k|write -z 8k 4k|aio_write 0 4k|aio_flush|aio_write -q -z 4k 4k|aio_flush|discard 64M 4k|read -P 0xcd 64M 4k|flush
length|map|alloc 64M 4k|zrs 0 544M|zrp 64M 9
""".strip()


def test_states_limits_and_errors_are_those_of_qemu_io(host):
    assert_same_transcript(host, SMALL, [line.split("|") for line in STATES_AND_ERRORS.splitlines()])


APPENDED = "After zap done, the append sector is"
REFUSED = "zone append failed: Input/output error"


@dataclasses.dataclass(frozen=True)
class Defect:
    """What qemu-io does wrong: where it shows, what it prints there, and what is right."""

    before: tuple[str, ...]
    command: str
    theirs: list[str]
    ours: list[str]


DEFECTS = {
    "append_to_a_full_zone_lands_in_the_next": Defect(("zf 64M 64M",), "zap -p 64M 4k", [f"{APPENDED} 0x40000"], [REFUSED]),
    "append_over_the_end_of_its_zone_spills": Defect(("write -q 64M 65532k",), "zap -p 64M 8k", [f"{APPENDED} 0x3fff8"], [REFUSED]),
    "misalignment_is_reported_twice": Defect(
        (),
        "zo 64M 1",
        ["zone open failed: Invalid argument", "qemu-io: number of sectors 0 is not aligned to zone size 131072"],
        ["zone open failed: Invalid argument"],
    ),
}


@pytest.mark.parametrize("defect", DEFECTS.values(), ids=DEFECTS.keys())
def test_defects_of_qemu_io_are_absent(host, defect):
    for name, expected in (("qemu_io", defect.theirs), ("io", defect.ours)):
        with NullBlk(host, **SMALL) as device:
            run = getattr(device, name)
            if defect.before:
                run(*defect.before).check()
            assert run(defect.command).output.splitlines() == expected


def test_writes_to_several_zones_overlap(host):
    """A device that takes 50 ms for each request: eight writes to eight zones take about as long as one."""
    with NullBlk(host, size=1024, zone_size=64, irqmode=2, completion_nsec=50_000_000) as device:
        if host.kernel == "7.2":
            host.sh("echo 0 >/sys/block/nullb0/queue/zoned_qd1_writes")

        def longest_seconds(run: collections.abc.Callable[..., Result], zones: int) -> float:
            printed = run("zrs 0 1G", *(f"aio_write -C {zone * 64}M 4k" for zone in range(zones))).check().stdout
            rates = [float(line.split(",")[3]) for line in printed.splitlines()]
            assert len(rates) == zones, printed
            return 4096 / min(rates)

        alone = longest_seconds(device.io, 1)
        together = longest_seconds(device.io, 8)
        theirs = longest_seconds(device.qemu_io, 8)
    print(f"one write {alone * 1000:.0f} ms, the last of eight {together * 1000:.0f} ms; of qemu-io {theirs * 1000:.0f} ms")
    assert together < 3 * alone
