# SPDX-License-Identifier: Apache-2.0
"""Makes zoned images and serves them to guests with the program under test.

    image = create(tmp_path / "disk.zbd", "1G", "zone.size=32M")
    with Daemon(image) as daemon:
        with Guest(disks=[daemon.disk()]) as guest:
            ...
        assert daemon.stop().failed == 0

The program is build/release/zbdkit, or what the variable ZBDKIT names.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

from guest import VhostUserBlkDisk, VhostUserDisk

ROOT = pathlib.Path(__file__).resolve().parents[2]

START_SECONDS = 10
STOP_SECONDS = 20

# A feature bit of virtio.
RING_PACKED = 34


def program() -> pathlib.Path:
    path = pathlib.Path(os.environ.get("ZBDKIT") or ROOT / "build/release/zbdkit")
    assert path.exists(), f"no {path}: build it, or name another with ZBDKIT"
    return path


def zbdkit(*arguments: str | os.PathLike) -> str:
    """Runs a command that must succeed and returns what it printed."""
    done = subprocess.run([program(), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"zbdkit {' '.join(map(str, arguments))}: status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def create(image: pathlib.Path, size: str, options: str = "") -> pathlib.Path:
    zbdkit("create", image, size, *(("-o", options) if options else ()))
    return image


def check(image: pathlib.Path) -> None:
    """Fails if the image is damaged."""
    zbdkit("check", image)


def report(image: pathlib.Path) -> list[dict]:
    """The zones as the host sees them."""
    return json.loads(zbdkit("report", image, "--format", "json"))["zones"]


@dataclasses.dataclass
class Summary:
    """What a daemon said about its work when it ended."""

    requests: int
    appends: int
    zone_actions: int
    refused: int
    failed: int
    connections: int


_SUMMARY = re.compile(r"^served .*: (\d+ requests?\b.*)$", re.MULTILINE)


def _parse_summary(log: str) -> Summary:
    """The last one in a log."""
    found = _SUMMARY.findall(log)
    assert found, f"no summary:\n{log}"
    numbers = {}
    for field in dataclasses.fields(Summary):
        word = field.name.replace("_", " ").removesuffix("s")
        match = re.search(rf"(\d+) {word}s?\b", found[-1])
        assert match, f"no {word} in the summary: {found[-1]}"
        numbers[field.name] = int(match[1])
    return Summary(**numbers)


class Daemon:
    """`zbdkit serve` on one image. Leaving the `with` statement stops it and requires that it ends well."""

    def __init__(self, image: pathlib.Path, *options: str, num_queues: int = 2) -> None:
        self.image = image
        self.num_queues = num_queues
        self._options = options
        self._dir: pathlib.Path | None = None
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(self, kind, error, traceback) -> None:
        try:
            if error is None and self.running():
                self.stop()
            elif error is not None:
                print(f"--- daemon of {self.image}:\n{self.log()}")
        finally:
            self.kill()
            shutil.rmtree(self._dir, ignore_errors=True)

    @property
    def socket(self) -> pathlib.Path:
        return self._dir / "disk.sock"

    def disk(self, **options) -> VhostUserDisk:
        """The disk for a guest, with its zones."""
        return VhostUserDisk(self.socket, num_queues=self.num_queues, **options)

    def plain_disk(self, **options) -> VhostUserBlkDisk:
        """The disk for a guest, through a device that hides the zones."""
        return VhostUserBlkDisk(self.socket, num_queues=self.num_queues, **options)

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """May be called again after the end."""
        # Not beside the image: the paths of sockets may have no more than 107 bytes.
        self._dir = self._dir or pathlib.Path(tempfile.mkdtemp(prefix="zbdkit-daemon-", dir="/tmp"))
        command = [program(), "serve", self.image, "--vhost-user", self.socket, "--num-queues", str(self.num_queues), *self._options]
        with open(self._dir / "log", "ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        # The line comes when everything is ready; the socket of a killed daemon may still be there.
        announced = self.log().count("serving ")
        while self.log().count("serving ") == announced or not self.socket.exists():
            if not self.running() or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"zbdkit serve did not start:\n{self.log()}")
            time.sleep(0.02)

    def stop(self) -> Summary:
        """Asks it to end, which it must do in time and with status 0."""
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"zbdkit serve did not end within {STOP_SECONDS} s:\n{self.log()}") from None
        assert status == 0, f"zbdkit serve ended with status {status}:\n{self.log()}"
        return _parse_summary(self.log())

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        try:
            return (self._dir / "log").read_text(errors="replace")
        except FileNotFoundError:
            return ""


class FeatureFilter:
    """Stands between a front end and a back end and hides feature bits that the back end offers.

    QEMU's generic device passes on every bit, whatever its properties say.
    """

    _HEADER = struct.Struct("=III")  # request, flags, size of what follows
    _GET_FEATURES = 1
    _REPLY = 1 << 2
    _MOST_FDS = 32

    def __init__(self, back_end: os.PathLike, *hidden: int) -> None:
        self._back_end = back_end
        self._mask = ~sum(1 << bit for bit in hidden) & (1 << 64) - 1
        self._dir = tempfile.mkdtemp(prefix="zbdkit-filter-", dir="/tmp")
        self.socket = pathlib.Path(self._dir) / "disk.sock"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.socket))
        self._listener.listen(1)
        self._ends: list[socket.socket] = []
        self.hits = 0

    def __enter__(self) -> FeatureFilter:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        for end in (self._listener, *self._ends):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()
        shutil.rmtree(self._dir, ignore_errors=True)

    def _serve(self) -> None:
        try:
            front, _ = self._listener.accept()
            self._ends.append(front)
            back = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._ends.append(back)
            back.connect(str(self._back_end))
        except OSError:
            return
        threading.Thread(target=self._pump, args=(front, back), daemon=True).start()
        self._pump(back, front)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        """One message at a time, so that descriptors stay with theirs."""
        try:
            while True:
                data, fds, _, _ = socket.recv_fds(source, self._HEADER.size, self._MOST_FDS)
                try:
                    if not data:
                        break
                    data += self._exactly(source, self._HEADER.size - len(data))
                    request, flags, size = self._HEADER.unpack(data)
                    payload = self._exactly(source, size)
                    if request == self._GET_FEATURES and flags & self._REPLY:
                        payload = struct.pack("=Q", struct.unpack("=Q", payload)[0] & self._mask)
                        self.hits += 1
                    socket.send_fds(sink, [data + payload], fds)
                finally:
                    for fd in fds:
                        os.close(fd)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    @staticmethod
    def _exactly(source: socket.socket, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = source.recv(size - len(data))
            if not more:
                raise OSError("the connection ended within a message")
            data += more
        return data
