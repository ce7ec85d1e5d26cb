#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A Ceph cluster for tests: one monitor and one OSD of this machine, on 127.0.0.1, without root.

    with Cluster() as cluster:
        cluster.create_image("disk", "64M")
        ... cluster.conf ...
        cluster.stop_osd()      # it hangs, its connections stay
        cluster.continue_osd()

With Cluster(auth="cephx") clients need keys, and add_user() makes them.

As a program it runs a command beside a cluster, whose configuration is ZBDKIT_TEST_CEPH_CONF there:

    tests/ceph/cluster.py run -- COMMAND [ARGUMENT]...

The programs are those of dev/ceph-cache. No process outlives the one that made the cluster, however that
one ends. The folder with the logs is removed at the end, unless keep() was called.
"""

from __future__ import annotations

import argparse
import atexit
import base64
import ctypes
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
POOL = "rbd"

START_SECONDS = 60
TOOL_SECONDS = 60
START_ATTEMPTS = 5
# What ctest takes for "skipped".
SKIPPED = 77

# Ports of a cluster: two for the monitor, the others for the OSD. Below those that the kernel gives away.
FIRST_PORT, LAST_PORT, PORTS = 20000, 32000, 100

# A client that is gone is known to be gone after this time.
WATCH_SECONDS = 5

CONF = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{port},v1:127.0.0.1:{v1_port}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
ms bind port min = {osd_port}
ms bind port max = {last_port}
auth cluster required = {auth}
auth service required = {auth}
auth client required = {auth}
keyring = {keyring}
run dir = {run}
log file = {run}/log/$name.log
mon cluster log file = {run}/log/cluster.log
admin socket =
crash dir = {run}/log
erasure code dir = {lib}/ceph/erasure-code
osd class dir = {lib}/rados-classes
plugin dir = {lib}/ceph
osd pool default size = 1
osd pool default min size = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon allow pool delete = true
mon warn on pool no redundancy = false
mon data avail crit = 1
paxos propose interval = 0.05
osd objectstore = {store}
memstore device bytes = 4294967296
bluestore block size = 4294967296
osd client watch timeout = {watch}
mon data = {run}/mon
osd data = {run}/osd
[osd]
keyring = {run}/osd/keyring
[client]
log file = {run}/log/client.log
"""

# The monitor's first key, and that of client.admin, which is whoever does not say another name.
FIRST_KEYS = """\
[mon.]
key = {monitor}
caps mon = "allow *"
[client.admin]
key = {admin}
caps mon = "allow *"
caps osd = "allow *"
caps mgr = "allow *"
"""
# What an OSD may do.
OSD_CAPS = ("mon", "allow profile osd", "osd", "allow *")


class ClusterError(Exception):
    """The cluster does not do what a test needs of it; says so with the ends of the logs."""


class Cache:
    """What dev/ceph-cache made."""

    def __init__(self) -> None:
        asked = subprocess.run([ROOT / "dev/ceph-cache", "--print-path"], capture_output=True, text=True, check=True)
        self.path = pathlib.Path(asked.stdout.strip())

    def missing(self) -> str:
        """Why there can be no cluster here; "" if there can be."""
        if not (self.path / "stamp").exists():
            return f"no {self.path}: dev/setup --guest makes it"
        return ""

    @property
    def lib(self) -> pathlib.Path:
        return self.path / "lib"

    def program(self, name: str) -> pathlib.Path:
        return self.path / "bin" / name


class Cluster:
    """A running cluster with a pool named "rbd", until stop(), the end of `with` or of this process."""

    def __init__(self, store: str = "memstore", auth: str = "none") -> None:
        """store: memstore, or bluestore, whose data outlives the OSD's process.
        auth: none, or cephx, with which nobody gets in without a key."""
        self.cache = Cache()
        self._store = store
        self._auth = auth
        self._keep = False
        self._processes: dict[str, subprocess.Popen] = {}
        self._fsid = str(uuid.uuid4())
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="zbdkit-ceph-"))
        self.conf = self.folder / "ceph.conf"
        self.port = 0
        atexit.register(self.stop)

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(self, kind, error, traceback) -> None:
        self.stop()

    def start(self) -> None:
        reason = self.cache.missing()
        if reason:
            raise ClusterError(reason)
        self._start_monitor()
        self._make_osd()
        self.start_osd()
        self.create_pool(POOL)

    def stop(self) -> None:
        """Kills all and removes the folder."""
        atexit.unregister(self.stop)
        for name in list(self._processes):
            self._kill(name)
        if self._keep:
            print(f"logs of the cluster: {self.folder}/log", file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def keep(self) -> None:
        """The folder with the logs stays."""
        self._keep = True

    # --- the monitor -----------------------------------------------------------------------------

    def _start_monitor(self) -> None:
        for _ in range(START_ATTEMPTS):
            self._write_conf(_free_ports())
            self._tool(
                "monmaptool", "--create", "--clobber", "--fsid", self._fsid, "--addv", "a",
                f"[v2:127.0.0.1:{self.port},v1:127.0.0.1:{self.port + 1}]", self.folder / "monmap",
            )  # fmt: skip
            self._tool(
                "ceph-mon", "--conf", self.conf, "--id", "a", "--mkfs", "--monmap", self.folder / "monmap",
                "--keyring", self.folder / "keyring",
            )  # fmt: skip
            self._spawn("mon", "ceph-mon", "--id", "a", "--foreground")
            if self._monitor_answers():
                return
            # Somebody else took a port in between.
            self._kill("mon")
            shutil.rmtree(self.folder / "mon")
        raise ClusterError(f"no monitor comes up:\n{self.logs()}")

    def _write_conf(self, port: int) -> None:
        self.port = port
        for name in ("log", "mon", "osd"):
            (self.folder / name).mkdir(exist_ok=True)
        (self.folder / "keyring").write_text(FIRST_KEYS.format(monitor=new_key(), admin=new_key()))
        self.write_conf(self.conf, self.folder / "keyring")

    def write_conf(self, path: pathlib.Path, keyring: pathlib.Path, auth: str = "") -> None:
        """A configuration of this cluster, for who has the keys in `keyring`, which need not be there.

        auth: what the client takes for the cluster's, if it errs.
        """
        path.write_text(
            CONF.format(
                fsid=self._fsid, port=self.port, v1_port=self.port + 1, osd_port=self.port + 10,
                last_port=self.port + PORTS - 1, run=self.folder, lib=self.cache.lib, store=self._store,
                watch=WATCH_SECONDS, auth=auth or self._auth, keyring=keyring,
            )
        )  # fmt: skip

    def _monitor_answers(self) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._processes["mon"].poll() is None:
            try:
                self.command("mon stat", seconds=5)
                return True
            except ClusterError:
                continue
        return False

    def kill_monitor(self) -> None:
        self._kill("mon")

    # --- the OSD ---------------------------------------------------------------------------------

    def _make_osd(self) -> None:
        identity = str(uuid.uuid4())
        self.command("osd new", uuid=identity)
        # Who asks no keys does not mind one.
        keys = self.command("auth get-or-create", entity="osd.0", caps=OSD_CAPS)
        (self.folder / "osd" / "keyring").write_text(keys)
        self._tool(
            "ceph-osd", "--conf", self.conf, "--id", "0", "--mkfs", "--osd-uuid", identity, "--keyring",
            self.folder / "osd" / "keyring",
        )  # fmt: skip

    def start_osd(self) -> None:
        """Starts it and waits until it serves: a client that asks before that tries again only seconds later."""
        log = self.folder / "log" / "osd.0.log"
        seen = log.stat().st_size if log.exists() else 0
        process = self._spawn("osd", "ceph-osd", "--id", "0", "--foreground")

        def is_active() -> bool:
            if process.poll() is not None:
                raise ClusterError(f"the OSD has ended:\n{self.logs()}")
            return log.exists() and b"state: booting -> active" in log.read_bytes()[seen:]

        self._wait_until(is_active, "the OSD to become active")

    def kill_osd(self) -> None:
        self._kill("osd")

    def stop_osd(self) -> None:
        """It does nothing any more, and nobody is told."""
        self._processes["osd"].send_signal(signal.SIGSTOP)

    def continue_osd(self) -> None:
        self._processes["osd"].send_signal(signal.SIGCONT)

    # --- users -----------------------------------------------------------------------------------

    def add_user(self, name: str, **caps: str) -> pathlib.Path:
        """A user who may do that: mon="profile rbd", osd="profile rbd pool=rbd". Returns a configuration with
        the keys of nobody else."""
        words = [word for service in caps.items() for word in service]
        keyring = self.folder / f"{name}.keyring"
        keyring.write_text(self.command("auth get-or-create", entity=f"client.{name}", caps=words))
        conf = self.folder / f"{name}.conf"
        self.write_conf(conf, keyring)
        return conf

    # --- pools and images ------------------------------------------------------------------------

    def command(self, prefix: str, seconds: int = 30, **arguments) -> str:
        """A command to the monitor, as the program `ceph` gives them. Returns what it answers."""
        return _monitor_command(self.conf, {"prefix": prefix, **arguments}, seconds)

    def create_pool(self, name: str) -> None:
        self.command("osd pool create", pool=name, pg_num=8)
        self.command("osd pool application enable", pool=name, app="rbd")

    def rbd(self, *arguments: str | os.PathLike) -> str:
        """Runs the program `rbd`, which must succeed, and returns what it printed."""
        return self._tool("rbd", "--conf", self.conf, *arguments)

    def create_image(self, name: str, size: str, *options: str) -> None:
        self.rbd("create", f"{POOL}/{name}", "--size", size, *options)

    def import_image(self, source: pathlib.Path, name: str) -> None:
        self.rbd("import", "--no-progress", source, f"{POOL}/{name}")

    def watchers(self, name: str) -> int:
        """How many clients have the image open for writing."""
        return len(json.loads(self.rbd("status", "--format", "json", f"{POOL}/{name}"))["watchers"])

    # --- processes -------------------------------------------------------------------------------

    def logs(self) -> str:
        """The end of each log, for a message about a failure."""
        parts = []
        for log in sorted((self.folder / "log").glob("*")):
            if log.is_file():
                text = log.read_text(errors="replace")
                parts.append(f"--- {log.name}\n" + "\n".join(text.splitlines()[-20:]))
        return "\n".join(parts)

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "LD_LIBRARY_PATH": str(self.cache.lib)}

    def _tool(self, program: str, *arguments: str | os.PathLike) -> str:
        done = subprocess.run(
            [self.cache.program(program), *arguments], capture_output=True, text=True, timeout=TOOL_SECONDS,
            check=False, env=self._environment(),
        )  # fmt: skip
        if done.returncode != 0:
            words = " ".join(map(str, arguments))
            raise ClusterError(f"{program} {words}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def _spawn(self, name: str, program: str, *arguments: str) -> subprocess.Popen:
        output = (self.folder / "log" / f"{name}.output").open("ab")
        with output:
            self._processes[name] = subprocess.Popen(
                # The kernel ends it when this process is gone, however it went.
                ["setpriv", "--pdeathsig", "KILL", self.cache.program(program), "--conf", self.conf, *arguments],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self._environment(),
                start_new_session=True,
            )  # fmt: skip
        return self._processes[name]

    def _kill(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is not None:
            process.kill()
            process.wait()

    def _wait_until(self, condition, what: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise ClusterError(f"waited {START_SECONDS} s for {what}:\n{self.logs()}")
            time.sleep(0.02)


def new_key() -> str:
    """A key as a keyring has them: type 1 (AES), when it was made, its length, the key."""
    secret = os.urandom(16)
    return base64.b64encode(struct.pack("<HIIH", 1, int(time.time()), 0, len(secret)) + secret).decode()


def _free_ports() -> int:
    """The first of a row of ports, of which at least those that must be free are."""
    for _ in range(100):
        port = random.randrange(FIRST_PORT, LAST_PORT, PORTS)
        try:
            for offset in (0, 1):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + offset))
            return port
        except OSError:
            continue
    raise ClusterError("no free ports")


def _monitor_command(conf: pathlib.Path, command: dict, seconds: int) -> str:
    """Through librados, which the driver under test needs as well: the program `ceph` needs much more."""
    rados = ctypes.CDLL("librados.so.2")
    handle = ctypes.c_void_p()

    def check(result: int, what: str) -> None:
        if result < 0:
            raise ClusterError(f"{command['prefix']}: {what}: {os.strerror(-result)}")

    check(rados.rados_create(ctypes.byref(handle), None), "rados_create")
    try:
        check(rados.rados_conf_read_file(handle, os.fsencode(conf)), str(conf))
        for option in ("client_mount_timeout", "rados_mon_op_timeout"):
            check(rados.rados_conf_set(handle, option.encode(), str(seconds).encode()), option)
        check(rados.rados_connect(handle), "rados_connect")
        words = (ctypes.c_char_p * 1)(json.dumps(command).encode())
        answer, answer_size = ctypes.c_void_p(), ctypes.c_size_t()
        status, status_size = ctypes.c_void_p(), ctypes.c_size_t()
        result = rados.rados_mon_command(
            handle, words, ctypes.c_size_t(1), None, ctypes.c_size_t(0), ctypes.byref(answer),
            ctypes.byref(answer_size), ctypes.byref(status), ctypes.byref(status_size),
        )  # fmt: skip
        text = ctypes.string_at(answer, answer_size.value).decode(errors="replace") if answer else ""
        why = ctypes.string_at(status, status_size.value).decode(errors="replace") if status else ""
        rados.rados_buffer_free(answer)
        rados.rados_buffer_free(status)
        check(result, why)
        return text
    finally:
        rados.rados_shutdown(handle)


def run(command: list[str], store: str, auth: str) -> int:
    reason = Cache().missing()
    if reason:
        print(f"skipped: {reason}")
        return SKIPPED
    with Cluster(store, auth) as cluster:
        environment = {**os.environ, "ZBDKIT_TEST_CEPH_CONF": str(cluster.conf)}
        status = subprocess.run(command, env=environment, check=False).returncode
        if status != 0:
            print(cluster.logs(), file=sys.stderr)
        return status if status >= 0 else 128 - status


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Runs a command beside a Ceph cluster for tests.")
    commands = parser.add_subparsers(required=True)
    runner = commands.add_parser("run")
    runner.add_argument("--store", default="memstore", choices=("memstore", "bluestore"))
    runner.add_argument("--auth", default="none", choices=("none", "cephx"))
    runner.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)
    # An exit runs what takes the cluster down.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    return run(options.command, options.store, options.auth)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
