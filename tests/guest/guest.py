# SPDX-License-Identifier: Apache-2.0
"""Boots Linux in a virtual machine within seconds and runs commands in it.

    with Guest(kernel="7.2", disks=[VhostUserDisk("disk.sock")]) as guest:
        print(guest.run("blkzone report /dev/vda").check().stdout)

The guest's root file system is a directory of this machine, by default "/", seen through a layer in memory: it has every
program of this machine under the same path, and nothing it writes is kept. dev/setup --guest prepares what is needed.
README.md, beside this file, says how it works.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
import os
import pathlib
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import typing

HERE = pathlib.Path(__file__).resolve().parent

# The layout of the cache that this file understands: LAYOUT in dev/guest-cache.
CACHE_LAYOUT = "2"

KERNELS = ("6.12", "7.2")

# How long a back end may take to make its socket.
SOCKET_SECONDS = 10


class GuestError(Exception):
    """The guest or its harness failed."""


class CacheMissing(GuestError):
    """dev/setup --guest has not been run."""


class GuestDied(GuestError):
    """The machine is gone, or never came up."""


class CommandTimeout(GuestError):
    """A command took longer than its limit. It has been killed; the guest goes on working."""


class GuestStuck(GuestError):
    """A command took longer than its limit and could not be killed: it is stuck in the guest's kernel."""


class CommandFailed(GuestError):
    """A command ended with a status other than zero."""


# --- the cache ---------------------------------------------------------------------------------------------------------


class Cache:
    """What dev/guest-cache has built."""

    def __init__(self) -> None:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        self.path = pathlib.Path(os.environ.get("ZBDKIT_CACHE") or f"{base}/zbdkit") / "guest"

    @property
    def tree(self) -> pathlib.Path:
        """Debian 13 with QEMU 11 and newer file system tools; can be a guest's root."""
        return self.path / "tree"

    def missing(self) -> str | None:
        """Why the cache cannot be used, or None."""
        try:
            layout = (self.path / "stamp").read_text().strip()
        except OSError:
            return f"no guest cache in {self.path}: run dev/setup --guest"
        if layout != CACHE_LAYOUT:
            return f"the guest cache in {self.path} is outdated: run dev/setup --guest"
        return None

    def require(self) -> None:
        reason = self.missing()
        if reason:
            raise CacheMissing(reason)

    def kernel(self, name: str) -> pathlib.Path:
        path = self.path / "kernel" / name
        if not path.is_dir():
            raise GuestError(f"no kernel {name!r}; there are {', '.join(KERNELS)}")
        return path

    def release(self, kernel: str) -> str:
        """What uname -r prints."""
        return (self.kernel(kernel) / "release").read_text().strip()

    def command(self, program: str) -> list[str]:
        """Runs a program of the tree on this machine, whose C library may be older: by the tree's own loader."""
        tree = self.tree
        libraries = tree / "usr/lib/x86_64-linux-gnu"
        return [
            "/usr/bin/env",
            f"QEMU_MODULE_DIR={libraries}/qemu",
            f"{tree}/usr/lib64/ld-linux-x86-64.so.2",
            "--library-path",
            str(libraries),
            f"{tree}/usr/bin/{program}",
        ]

    def qemu(self) -> list[str]:
        tree = self.tree
        firmware = [tree / "usr/share/qemu", tree / "usr/share/seabios", tree / "usr/lib/ipxe/qemu"]
        return self.command("qemu-system-x86_64") + [arg for path in firmware for arg in ("-L", str(path))]


# --- disks and shared directories --------------------------------------------------------------------------------------


@dataclasses.dataclass
class VhostUserDisk:
    """A vhost-user back end behind QEMU's generic device: the only one that lets a zoned disk through.

    num_queues must be the number in the back end's config space. There is no reconnection.
    """

    socket: str | os.PathLike
    num_queues: int = 2
    queue_size: int = 128
    config_size: int = 96
    options: str = ""  # more device properties, as in "a=b,c=d"

    def arguments(self, name: str) -> list[str]:
        device = (
            f"vhost-user-test-device-pci,id={name},chardev={name}-socket,virtio-id=2,"
            f"num_vqs={self.num_queues},vq_size={self.queue_size},config_size={self.config_size}"
        )
        return ["-chardev", f"socket,id={name}-socket,path={self.socket}", "-device", _join(device, self.options)]


@dataclasses.dataclass
class VhostUserBlkDisk:
    """A vhost-user back end behind QEMU's vhost-user-blk-pci, which hides the zones: for plain disks."""

    socket: str | os.PathLike
    num_queues: int = 2
    queue_size: int = 128
    reconnect_ms: int = 0
    options: str = ""

    def arguments(self, name: str) -> list[str]:
        chardev = f"socket,id={name}-socket,path={self.socket}"
        if self.reconnect_ms:
            chardev += f",reconnect-ms={self.reconnect_ms}"
        device = f"vhost-user-blk-pci,id={name},chardev={name}-socket,num-queues={self.num_queues},queue-size={self.queue_size}"
        return ["-chardev", chardev, "-device", _join(device, self.options)]


@dataclasses.dataclass
class FileDisk:
    """A raw image, served by QEMU itself."""

    path: str | os.PathLike
    options: str = ""

    socket = None

    def arguments(self, name: str) -> list[str]:
        device = f"virtio-blk-pci,id={name},drive={name}-file"
        return ["-blockdev", f"driver=file,node-name={name}-file,filename={self.path}", "-device", _join(device, self.options)]


@dataclasses.dataclass
class Share:
    """A directory of this machine that the guest sees as `guest_path`. With writable, both sides see changes at once."""

    host_path: str | os.PathLike
    guest_path: str
    writable: bool = False

    def arguments(self, tag: str) -> list[str]:
        return _share_arguments(tag, self.host_path, self.writable)

    def mount_script(self, tag: str) -> str:
        options = "cache=none" if self.writable else "cache=loose,ro"
        path = shlex.quote(self.guest_path)
        return f"mkdir -p {path}; mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,{options} {tag} {path}"


def _join(*parts: str) -> str:
    return ",".join(part for part in parts if part)


def _share_arguments(tag: str, path: str | os.PathLike, writable: bool) -> list[str]:
    readonly = "" if writable else ",readonly=on"
    fsdev = f"local,id={tag}-dir,path={path},security_model=none,multidevs=remap{readonly}"
    return ["-fsdev", fsdev, "-device", f"virtio-9p-pci,fsdev={tag}-dir,mount_tag={tag}"]


# --- results -----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Result:
    """How a command ended. exit_code is as in a shell: 128 + N when killed by signal N."""

    script: str
    exit_code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def ok(self) -> bool:
        return self.exit_code == 0

    @property
    def output(self) -> str:
        return self.stdout + self.stderr

    def check(self) -> Result:
        """Raises CommandFailed, with everything that was printed, unless the command succeeded."""
        if self.ok:
            return self
        raise CommandFailed(f"status {self.exit_code} from the guest command:\n{self.script}\n--- it printed:\n{self.output}")


class Job:
    """A command that is running in the guest."""

    def __init__(self, guest: Guest, number: int, script: str) -> None:
        self._guest = guest
        self.number = number
        self._script = script
        self._started = time.monotonic()

    def done(self) -> bool:
        return self._guest._peek(self.number)

    def kill(self) -> None:
        self._guest._send(f"kill {self.number}\n".encode())

    def wait(self, timeout: float | None = 30) -> Result:
        """Waits for the end. Kills the command and raises CommandTimeout when that takes longer than `timeout` seconds."""
        guest = self._guest
        answer = guest._take(self.number, timeout)
        if answer is None:
            self.kill()
            answer = guest._take(self.number, 5)
            if answer is None:
                guest._send(b"blocked\n")
                time.sleep(1)
                raise GuestStuck(guest._explain(f"no end within {timeout} s, and cannot be killed:\n{self._script}"))
            _, out, err = answer
            raise CommandTimeout(f"no end within {timeout} s:\n{self._script}\n--- it printed:\n{_text(out)}{_text(err)}")
        status, out, err = answer
        return Result(self._script, status, _text(out), _text(err), time.monotonic() - self._started)


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")


# --- the guest ---------------------------------------------------------------------------------------------------------


class Guest:
    """A virtual machine; use it in a `with` statement, which boots it and makes sure it is gone afterwards.

    kernel       "6.12" or "7.2"
    disks        VhostUserDisk and the like: /dev/vda, /dev/vdb, ... in this order
    share        the directory of this machine that is the guest's root; Cache().tree for one with newer tools
    shares       more directories (Share)
    tools        adds the command `newer`, which runs a program of the cache's tree: `newer fio --version`
    exchange     a directory of this machine, shared as /exchange, writable from both sides
    probe_disks  load virtio_blk at boot; otherwise the caller does, after preparing something
    append       more kernel parameters
    extra_qemu   more QEMU arguments
    log_dir      where console.log and qemu.log go; otherwise a temporary directory, kept only upon failure
    boot_timeout seconds until the guest must be ready for commands
    """

    def __init__(
        self,
        kernel: str = "6.12",
        disks: collections.abc.Sequence = (),
        memory: str = "1G",
        smp: int = 2,
        share: str | os.PathLike = "/",
        shares: collections.abc.Sequence[Share] = (),
        tools: bool = False,
        exchange: str | os.PathLike | None = None,
        probe_disks: bool = True,
        append: str = "",
        extra_qemu: collections.abc.Sequence[str] = (),
        log_dir: str | os.PathLike | None = None,
        boot_timeout: float = 120,
        interactive: bool = False,
    ) -> None:
        self.cache = Cache()
        self.kernel = kernel
        self.disks = list(disks)
        self.memory = memory
        self.smp = smp
        self.share = share
        self.shares = list(shares)
        self.probe_disks = probe_disks
        self.append = append
        self.extra_qemu = list(extra_qemu)
        self.boot_timeout = boot_timeout
        self.interactive = interactive
        self.boot_seconds = 0.0
        self.tools = tools
        if exchange is not None:
            self.shares.append(Share(exchange, "/exchange", writable=True))
        if tools:
            self.shares.append(Share(self.cache.tree, "/newer"))
        self._log_dir = pathlib.Path(log_dir) if log_dir else None
        self._dir: pathlib.Path | None = None
        self._process: subprocess.Popen | None = None
        self._port: socket.socket | None = None
        self._stream: socket.socket | None = None
        self._send_lock = threading.Lock()
        self._numbers = itertools.count(1)
        # Written by the reader threads, under _changed.
        self._changed = threading.Condition()
        self._answers: dict[int, tuple[int, bytes, bytes]] = {}
        self._ready = False
        self._gone = False
        self._sink: typing.BinaryIO | None = None
        self._stream_job: Job | None = None
        self._streamed = 0  # the last script all of whose output has been passed on

    # -- life --

    def __enter__(self) -> Guest:
        self.start()
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if error is not None:
            # A failed check says little without what the kernel said.
            print(self._explain(f"guest {self.kernel} failed"), file=sys.stderr)
        self._stop(keep_logs=error is not None)

    @property
    def console_path(self) -> pathlib.Path:
        return (self._log_dir or self._dir) / "console.log"

    @property
    def pid(self) -> int:
        """QEMU's process, for tests that stop or kill it."""
        return self._process.pid

    def start(self) -> None:
        self.cache.require()
        started = time.monotonic()
        # Not in pytest's own directories: the paths of sockets may have no more than 107 bytes.
        self._dir = pathlib.Path(tempfile.mkdtemp(prefix="zbdkit-guest-", dir="/tmp"))
        if self._log_dir:
            self._log_dir.mkdir(parents=True, exist_ok=True)
        try:
            self._boot(started + self.boot_timeout)
            self.boot_seconds = time.monotonic() - started
            self._prepare()
        except BaseException as error:
            message = self._explain(str(error) or "interrupted") if isinstance(error, GuestError) else None
            self._stop(keep_logs=True)
            if message:
                raise type(error)(message) from None
            raise

    def shutdown(self, timeout: float = 20) -> None:
        """Orderly: file system caches are written, the disks' drivers let go of them."""
        if self._process and self._process.poll() is None:
            try:
                self._send(b"quit\n")
                self._process.wait(timeout)
            except (GuestDied, subprocess.TimeoutExpired):
                raise GuestStuck(self._explain(f"no power-off within {timeout} s")) from None

    def kill(self) -> None:
        """A power cut."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Makes sure that nothing is left; `with` does this."""
        self._stop(keep_logs=False)

    def _stop(self, keep_logs: bool) -> None:
        try:
            self.kill()
        finally:
            for port in (self._port, self._stream):
                if port:
                    port.close()
            if self._dir and not keep_logs:
                shutil.rmtree(self._dir, ignore_errors=True)

    def _boot(self, deadline: float) -> None:
        for disk in self.disks:
            if disk.socket:
                _wait_for_path(disk.socket, min(deadline, time.monotonic() + SOCKET_SECONDS))
        initramfs = self._dir / "initramfs.cpio"
        with open(initramfs, "wb") as file:
            file.write((self.cache.kernel(self.kernel) / "initramfs.cpio").read_bytes())
            # The kernel unpacks archives that follow one another.
            file.write(_cpio({"init": (HERE / "init").read_bytes(), "agent": (HERE / "agent").read_bytes()}))

        with _Listener(self._dir / "agent.sock") as agent, _Listener(self._dir / "stream.sock") as stream, open(
            self.console_path.with_name("qemu.log"), "wb"
        ) as log:
            self._process = subprocess.Popen(
                self._command(initramfs),
                stdin=None if self.interactive else subprocess.DEVNULL,
                stdout=None if self.interactive else log,
                stderr=log,
            )
            self._port = agent.accept(self._process, deadline)
            self._stream = stream.accept(self._process, deadline)
        for reader in (self._read_port, self._read_stream):
            threading.Thread(target=reader, daemon=True).start()
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._gone, deadline - time.monotonic())
            if not self._ready:
                raise GuestDied("the guest went off" if self._gone else f"no sign of life within {self.boot_timeout} s")

    def _prepare(self) -> None:
        """What a shell can do is done here and not in the initramfs, where it would be harder to follow."""
        script = [share.mount_script(f"share{i}") for i, share in enumerate(self.shares)]
        if self.tools:
            script.append(
                "for dir in proc sys dev run tmp; do mount --rbind /$dir /newer/$dir; done\n"
                "mkdir -p /usr/local/bin\n"
                "printf '#!/bin/sh\\nexec chroot /newer \"$@\"\\n' >/usr/local/bin/newer\n"
                "chmod +x /usr/local/bin/newer"
            )
        if self.disks and self.probe_disks:
            script.append("modprobe virtio_blk")
        if script:
            self.run("set -e\n" + "\n".join(script), timeout=30).check()

    def _command(self, initramfs: pathlib.Path) -> list[str]:
        kernel = self.cache.kernel(self.kernel)
        # KVM makes a guest faster where it works; emulation works everywhere.
        accelerator = os.environ.get("ZBDKIT_GUEST_ACCEL", "tcg,thread=multi")
        # loglevel=5: warnings and worse. A serial line is slow, and dmesg has the rest.
        # A kernel that has gone wrong should fail a test at once, with its trace, and not by some limit later.
        append = _words(
            "console=ttyS0 loglevel=5 panic=-1 random.trust_cpu=on no_timer_check tsc=reliable mitigations=off",
            "nokaslr audit=0 cryptomgr.notests oops=panic",
            self.append,
        )
        command = self.cache.qemu() + ["-accel", accelerator, "-cpu", "max", "-smp", str(self.smp), "-m", self.memory]
        # A vhost-user back end maps the guest's memory, which must be shared for that.
        command += ["-object", f"memory-backend-memfd,id=mem,size={self.memory},share=on", "-machine", "q35,memory-backend=mem"]
        command += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        command += ["-kernel", str(kernel / "vmlinux"), "-initrd", str(initramfs), "-append", append]
        command += ["-serial", f"file:{self.console_path}", "-qmp", f"unix:{self._dir}/qmp.sock,server=on,wait=off"]
        command += ["-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,path={self._dir}/agent.sock"]
        command += ["-device", "virtserialport,chardev=agent,name=zbdkit.agent"]
        command += ["-chardev", f"socket,id=stream,path={self._dir}/stream.sock"]
        command += ["-device", "virtserialport,chardev=stream,name=zbdkit.stream"]
        if self.interactive:
            command += ["-chardev", "stdio,id=terminal,signal=off", "-device", "virtconsole,chardev=terminal"]
        command += _share_arguments("root", self.share, writable=False)
        command += _share_arguments("modules", kernel / "lib/modules" / self.cache.release(self.kernel), writable=False)
        for i, share in enumerate(self.shares):
            command += share.arguments(f"share{i}")
        for i, disk in enumerate(self.disks):
            command += disk.arguments(f"disk{i}")
        return command + self.extra_qemu

    # -- commands --

    def run(self, script: str, timeout: float | None = 30, stream: typing.BinaryIO | None = None) -> Result:
        """Runs a shell script (bash if the root has it) in "/" and waits for its end; see Job.wait for the limit.

        What it leaves running in the background goes on, and can be met again by the next script.
        With `stream`, what it prints is written there at once instead of being returned; for one script at a time.
        """
        if stream is None:
            return self.start_job(script).wait(timeout)
        self._sink = stream
        try:
            job = self._stream_job = self._submit("stream", script)
            result = job.wait(timeout)
            with self._changed:
                self._changed.wait_for(lambda: self._streamed == job.number or self._gone, 5)
            return result
        finally:
            self._sink = None

    def sh(self, script: str, timeout: float | None = 30) -> str:
        """Runs a script that must succeed, and returns what it printed, without the last end of line."""
        return self.run(script, timeout).check().stdout.rstrip("\n")

    def start_job(self, script: str) -> Job:
        """Starts a script and does not wait. Any number may run at a time."""
        return self._submit("run", script)

    def modprobe(self, *modules: str) -> None:
        """Loads kernel modules. A module may come with its parameters: modprobe("null_blk nr_devices=0")."""
        self.sh("set -e\n" + "\n".join(f"modprobe {module}" for module in modules))

    def start_udev(self) -> None:
        """Starts udevd, without which device-mapper tools hang waiting for it."""
        self.sh(
            "mkdir -p /run/udev; for d in /usr/lib/systemd/systemd-udevd /lib/systemd/systemd-udevd; do\n"
            '[ -x "$d" ] && { "$d" --daemon && udevadm trigger --action=add --subsystem-match=block\n'
            "udevadm settle --timeout=20; exit; }; done; echo 'no udevd in this root' >&2; exit 1"
        )

    def dmesg(self) -> str:
        return self.sh("dmesg")

    def qmp(self, command: str, **arguments) -> object:
        """One command to QEMU's monitor, such as qmp("device_del", id="disk0"); returns its answer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as monitor:
            monitor.settimeout(10)
            monitor.connect(str(self._dir / "qmp.sock"))
            with monitor.makefile("rw") as stream:
                stream.readline()  # the greeting
                for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                    stream.write(json.dumps(request) + "\n")
                    stream.flush()
                    answer = {"event": ""}
                    while "event" in answer:
                        line = stream.readline()
                        if not line:
                            raise GuestDied("QEMU's monitor is gone")
                        answer = json.loads(line)
                    if "error" in answer:
                        raise GuestError(f"{command}: {answer['error']['desc']}")
        return answer["return"]

    # -- the agent's ports --

    def _submit(self, request: str, script: str) -> Job:
        number = next(self._numbers)
        data = script.encode() + b"\n"
        self._send(f"{request} {number} {len(data)}\n".encode() + data)
        return Job(self, number, script)

    def _send(self, data: bytes) -> None:
        try:
            with self._send_lock:
                self._port.sendall(data)
        except OSError:
            raise GuestDied(self._explain("the guest is gone")) from None

    def _read_port(self) -> None:
        """Runs in a thread of its own, until the machine goes."""
        try:
            with self._port.makefile("rb") as stream:
                while line := stream.readline():
                    if line == b"ready\n":
                        with self._changed:
                            self._ready = True
                            self._changed.notify_all()
                        continue
                    number, status, out, err = (int(word) for word in line.split())
                    answer = (status, stream.read(out), stream.read(err))
                    with self._changed:
                        self._answers[number] = answer
                        self._changed.notify_all()
        except (OSError, ValueError):
            pass
        finally:
            with self._changed:
                self._gone = True
                self._changed.notify_all()

    def _read_stream(self) -> None:
        """Passes output on until the mark that the agent puts at the end of a script's: NUL, number, NUL."""
        held = b""
        try:
            while data := self._stream.recv(65536):
                held += data
                while mark := re.search(rb"\0(\d+)\0", held):
                    self._pass_on(held[: mark.start()])
                    held = held[mark.end() :]
                    with self._changed:
                        self._streamed = int(mark[1])
                        self._changed.notify_all()
                # What may be the beginning of a mark has to wait for the rest.
                start = re.search(rb"\0\d*\Z", held)
                end = start.start() if start else len(held)
                self._pass_on(held[:end])
                held = held[end:]
        except OSError:
            pass

    def _pass_on(self, data: bytes) -> None:
        sink = self._sink
        if data and sink:
            try:
                sink.write(data)
                sink.flush()
            except OSError:
                # Nobody reads it any more. As with a pipe, that is the end of the command.
                self._sink = None
                self._stream_job.kill()

    def _peek(self, number: int) -> bool:
        with self._changed:
            return number in self._answers

    def _take(self, number: int, timeout: float | None) -> tuple[int, bytes, bytes] | None:
        """The answer for one script; None when there is none in time."""
        with self._changed:
            self._changed.wait_for(lambda: number in self._answers or self._gone, timeout)
            answer = self._answers.pop(number, None)
            if answer is None and self._gone:
                raise GuestDied(self._explain("the guest went off during a command"))
            return answer

    def _explain(self, what: str) -> str:
        """An error's text with the ends of the logs."""
        parts = [what]
        for path in (self.console_path.with_name("qemu.log"), self.console_path) if self._dir else ():
            try:
                tail = path.read_text(errors="replace").splitlines()[-80:]
            except OSError:
                continue
            if tail:
                parts.append(f"--- end of {path}:\n" + "\n".join(tail))
        return "\n".join(parts)


class _Listener:
    """A socket to which QEMU connects once."""

    def __init__(self, path: pathlib.Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen(1)
        self._socket.settimeout(0.2)

    def __enter__(self) -> _Listener:
        return self

    def __exit__(self, *_) -> None:
        self._socket.close()

    def accept(self, process: subprocess.Popen, deadline: float) -> socket.socket:
        while True:
            try:
                connection, _ = self._socket.accept()
                connection.settimeout(None)
                return connection
            except TimeoutError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise GuestDied("QEMU did not start") from None


def _words(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _wait_for_path(path: str | os.PathLike, deadline: float) -> None:
    """A back end that has just been started needs a moment to make its socket."""
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise GuestError(f"no socket {path}: is the back end running?")
        time.sleep(0.02)


def _cpio(files: dict[str, bytes]) -> bytes:
    """An archive in the form that the kernel unpacks at boot ("newc"), of executable files."""
    archive = bytearray()
    for number, (name, data) in enumerate([*files.items(), ("TRAILER!!!", b"")], start=1):
        mode = 0o100755 if data else 0
        # inode, mode, uid, gid, links, mtime, size, device (2), special device (2), length of the name, checksum
        fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        archive += b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        archive += bytes(-len(archive) % 4) + data
        archive += bytes(-len(archive) % 4)
    return bytes(archive)
