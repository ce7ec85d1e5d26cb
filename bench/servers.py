# SPDX-License-Identifier: Apache-2.0
"""What bench/run and bench/growth share: servers, the storage behind them, and one measurement."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent
ZBDKIT = ROOT / "build/release/zbdkit"
RING_LOOP = ROOT / "build/release/bench/ring_loop"
SIZE = 256 << 20
QUEUE_SIZE = 512
# Servers are on the first processor, the client is on the second one.
SERVER_CPU = "0"
CLIENT_CPU = "1"


def die(message: str) -> None:
    sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {message}")


def need_two_processors() -> None:
    if (os.cpu_count() or 1) < 2:
        die("expected two processors, one for servers and one for the client")


def need_programs(*programs: pathlib.Path) -> None:
    for program in programs:
        if not program.exists():
            die(f"no {program}: cmake --build --preset release --target bench")


def host(rounds: int, seconds: float) -> str:
    """What figures are of, for the head of a result."""
    text = f"{os.cpu_count()} processors, Linux {platform.release()}"
    return f"{text}, {rounds} rounds of {seconds} s"


# --- storage -------------------------------------------------------------------------------------


@dataclasses.dataclass
class Storage:
    """Where a case's bytes are. Files hold data, so that no read finds a hole."""

    folder: pathlib.Path
    memory: pathlib.Path

    def file(self, storage: str) -> pathlib.Path:
        path = (self.memory if storage == "tmpfs" else self.folder) / "plain.img"
        if not path.exists():
            with path.open("wb") as file:
                for _ in range(SIZE >> 20):
                    file.write(os.urandom(1 << 20))
                os.fsync(file.fileno())
        return path

    def zoned(self, size: str = "1G", zone_size: str = "64M") -> str:
        """A new zoned image in memory. @return the node options of zbdkit"""
        path = self.memory / "disk.zbd"
        options = f"zone.size={zone_size}"
        command = [ZBDKIT, "create", "--force", "--any-guest", path, size, "-o", options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return f"driver=zoned,file.driver=file,file.filename={path}"

    def zbdkit_options(self, storage: str) -> str:
        if storage in ("null", "memory"):
            return f"driver={storage},size={SIZE}"
        if storage == "zoned-tmpfs":
            return self.zoned()
        if storage == "zoned-memory":
            memory = f"file.driver=memory,file.size={2 * SIZE}"
            return f"driver=zoned,create={SIZE},zone.size=16M,{memory}"
        direct = "on" if storage == "direct" else "off"
        return f"driver=file,filename={self.file(storage)},locking=off,cache.direct={direct}"

    def qemu_options(self, storage: str) -> str | None:
        if storage == "null":
            return f"driver=null-co,node-name=n,size={SIZE},read-zeroes=off"
        if storage in ("tmpfs", "ext4", "direct"):
            direct = "on" if storage == "direct" else "off"
            return (
                f"driver=file,node-name=n,filename={self.file(storage)},aio=io_uring,"
                f"cache.direct={direct},locking=off"
            )
        return None

    def ring_loop_options(self, storage: str) -> list | None:
        """Of the least possible server; None where there is none worth to compare with."""
        known = {
            "null": ["--null", "--size", SIZE],
            "memory": ["--size", SIZE],
            "tmpfs": ["--file", self.memory / "plain.img"],
        }
        return known.get(storage)


# --- servers -------------------------------------------------------------------------------------


@dataclasses.dataclass
class Server:
    name: str
    socket: pathlib.Path
    process: subprocess.Popen
    open_s: float  # from the start of the process until the socket was there


@contextlib.contextmanager
def serving(
    name: str, command: list, socket: pathlib.Path, cpus: str = SERVER_CPU
) -> Iterator[Server]:
    """Runs a server until the end of the context. Other sockets of it are there with this one."""
    log = socket.with_suffix(".log")
    with log.open("wb") as output:
        begin = time.monotonic()
        process = subprocess.Popen(
            ["taskset", "-c", cpus, *map(str, command)], stdout=output, stderr=output
        )
        try:
            while not socket.exists():
                if process.poll() is not None or time.monotonic() > begin + 20:
                    die(f"{name} does not serve:\n{log.read_text()}")
                time.sleep(0.001)
            yield Server(name, socket, process, time.monotonic() - begin)
        finally:
            process.terminate()
            process.wait()


def guest_cache_qemu() -> list[str] | None:
    """qemu-storage-daemon of the guest cache, run with its own libraries."""
    cache = os.environ.get("ZBDKIT_CACHE")
    base = pathlib.Path(cache) if cache else pathlib.Path.home() / ".cache/zbdkit"
    tree = base / "guest/tree"
    loader = tree / "usr/lib64/ld-linux-x86-64.so.2"
    if not loader.exists():
        return None
    libraries = str(tree / "usr/lib/x86_64-linux-gnu")
    daemon = str(tree / "usr/bin/qemu-storage-daemon")
    return [str(loader), "--library-path", libraries, daemon]


# --- the client ----------------------------------------------------------------------------------


def client_command(socket: pathlib.Path, *options: object) -> list[str]:
    words = ["taskset", "-c", CLIENT_CPU, ZBDKIT, "bench", socket, "--warm-up", "0.2", "--json"]
    return [str(word) for word in [*words, *options]]


def load(socket: pathlib.Path, *options: object) -> dict:
    """One run of zbdkit bench. @return what it found"""
    done = subprocess.run(client_command(socket, *options), capture_output=True, text=True)
    if done.returncode != 0:
        die(f"{socket.name}: {done.stderr}")
    return json.loads(done.stdout)


def fill(socket: pathlib.Path) -> None:
    """Writes all of a plain disk, so that no read finds memory that was never touched."""
    block, seconds = 128 << 10, 0.2
    options = ["--op", "write", "--block-size", block, "--depth", 8, "--queue-size", QUEUE_SIZE]
    while load(socket, *options, "--range", SIZE, "--seconds", seconds)["requests"] * block < SIZE:
        seconds *= 2


def summary(found: list[dict]) -> dict:
    """Medians over rounds; of the IOPS also the least and the most."""

    def median(key: str) -> float:
        return statistics.median(one[key] or 0 for one in found)

    iops = [one["iops"] for one in found]
    return {
        "iops": statistics.median(iops),
        "iops_least": min(iops),
        "iops_most": max(iops),
        "p50_ns": statistics.median(one["latency_ns"]["p50"] for one in found),
        "p99_ns": statistics.median(one["latency_ns"]["p99"] for one in found),
        "server_cpu_ns": median("server_cpu_ns_per_request"),
        "switches_per_1000": median("server_voluntary_switches_per_1000_requests"),
    }


def thousands(value: float) -> str:
    return f"{value / 1000:,.0f} k"


def markdown(head: list[str], rows: list[list]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)
