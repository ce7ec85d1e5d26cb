#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Tests `zbdkit serve` with disks on several threads: the command itself, with `zbdkit bench` as load.

The build sets ZBDKIT, the command.
"""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

ZBDKIT = os.environ["ZBDKIT"]
WAIT_S = 60


def zbdkit(*words, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [ZBDKIT, *words], capture_output=True, text=True, timeout=WAIT_S, check=False, **options
    )


class ServeTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="zbdkit-serve-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def image(self, name: str) -> pathlib.Path:
        path = self.folder / f"{name}.zbd"
        made = zbdkit("create", path, "64M")
        self.assertEqual(made.returncode, 0, made.stderr)
        return path

    def disk(self, name: str, thread: str, socket: pathlib.Path | None = None) -> list[str]:
        """The arguments of a disk on an image that is there: one --blockdev for each node."""
        return [
            "--blockdev", f"driver=file,node-name={name}-file,filename={self.folder}/{name}.zbd",
            "--blockdev", f"driver=zoned,node-name={name},file={name}-file",
            "--export", f"vhost-user-blk,id={name},node-name={name},writable=on,num-queues=2,"
            f"addr.type=unix,addr.path={socket or self.socket(name)},iothread={thread}",
        ]  # fmt: skip

    def socket(self, name: str) -> pathlib.Path:
        return self.folder / f"{name}.sock"

    def start(self, *words: str) -> subprocess.Popen:
        daemon = subprocess.Popen(
            [ZBDKIT, "serve", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.addCleanup(daemon.stdout.close)
        self.addCleanup(daemon.stderr.close)
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.kill)
        return daemon

    def assert_clean(self, *names: str) -> None:
        for name in names:
            image = self.folder / f"{name}.zbd"
            self.assertIn("state:     clean", zbdkit("info", image).stdout, name)
            checked = zbdkit("check", image)
            self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def thread_names(self, daemon: subprocess.Popen) -> set[str]:
        return {
            path.read_text().strip() for path in pathlib.Path(f"/proc/{daemon.pid}/task").glob("*/comm")
        }

    def served_requests(self, line: str) -> int:
        return int(line.split(": ", 1)[1].split(" request", 1)[0])

    def test_four_disks_on_two_threads_are_stopped_under_load_and_left_clean(self):
        names = ("a", "b", "c", "d")
        words = ["--object", "iothread,id=t0", "--object", "iothread,id=t1"]
        for number, name in enumerate(names):
            self.image(name)
            words += self.disk(name, f"t{number % 2}")
        daemon = self.start(*words)
        serving = [daemon.stdout.readline() for _ in range(2 * len(names))][::2]
        self.assertEqual([line.split()[1] for line in serving], [f"{self.folder}/{n}.zbd:" for n in names])
        self.assertLessEqual({"zbdkit/t0", "zbdkit/t1"}, self.thread_names(daemon))

        # All four at a time: a load that ends, and is verified, and one that is cut off.
        measured = [
            subprocess.Popen(
                [ZBDKIT, "bench", self.socket(name), "--op", "append", "--verify", "--wait", "event",
                 "--seconds", "0.3", "--queues", "2"],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
            for name in names
        ]  # fmt: skip
        for bench in measured:
            output = bench.communicate(timeout=WAIT_S)[0]
            self.assertEqual(bench.returncode, 0, output)
        loads = [
            subprocess.Popen(
                [ZBDKIT, "bench", self.socket(name), "--op", "append", "--wait", "event",
                 "--seconds", "100", "--queues", "2"],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
            for name in names
        ]  # fmt: skip
        for bench in loads:
            bench.stdout.readline()  # it has begun
        daemon.send_signal(signal.SIGTERM)
        output, log = daemon.communicate(timeout=WAIT_S)
        self.assertEqual(daemon.returncode, 0, output + log)
        for bench in loads:
            bench.communicate(timeout=WAIT_S)
            self.assertEqual(bench.returncode, 1)

        served = output.splitlines()
        self.assertEqual([line.split()[1] for line in served], [f"{self.folder}/{n}.zbd:" for n in names])
        for line in served:
            self.assertGreater(self.served_requests(line), 100, line)
            self.assertIn("on 2 connections", line)
            self.assertIn("; 0 refused, 0 failed", line)
        for name in names:
            self.assertFalse(self.socket(name).exists())
        self.assert_clean(*names)

    def start_fails(self, words: list[str], message: str) -> None:
        """Fails, having said that only, and leaves the disks a and b alone."""
        done = zbdkit("serve", "--object", "iothread,id=t0", "--object", "iothread,id=t1", *words)
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertIn(message, done.stderr)
        self.assertFalse(self.socket("a").exists())
        self.assertFalse(self.socket("b").exists())

    def test_start_that_fails_on_one_thread_leaves_nothing_behind(self):
        for name in ("a", "b"):
            self.image(name)
        for first, second in (("t0", "t1"), ("t1", "t0")):
            bad = self.folder / "nowhere/b.sock"
            with self.subTest("a socket that cannot be", threads=(first, second)):
                words = self.disk("a", first) + self.disk("b", second, bad)
                self.start_fails(words, f"cannot bind socket {bad}: No such file or directory")
                self.assert_clean("a", "b")

    def test_start_on_an_image_that_is_in_use_leaves_the_others_clean(self):
        for name in ("a", "b"):
            self.image(name)
        other = self.start(self.folder / "b.zbd", "--vhost-user", self.folder / "other.sock")
        other.stdout.readline()
        self.start_fails(self.disk("a", "t0") + self.disk("b", "t1"), "b.zbd' is in use by process")
        self.assert_clean("a")
        other.send_signal(signal.SIGTERM)
        self.assertEqual(other.wait(WAIT_S), 0)

    def test_service_manager_is_told_once_all_sockets_are_there(self):
        for name in ("a", "b"):
            self.image(name)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(self.folder / "notify"))
            manager.settimeout(WAIT_S)
            os.environ["NOTIFY_SOCKET"] = str(self.folder / "notify")
            self.addCleanup(os.environ.pop, "NOTIFY_SOCKET")
            daemon = self.start(
                "--object", "iothread,id=t0", "--object", "iothread,id=t1",
                *self.disk("a", "t0"), *self.disk("b", "t1"),
            )  # fmt: skip
            self.assertEqual(manager.recv(100), b"READY=1")
            self.assertTrue(self.socket("a").exists() and self.socket("b").exists())
            daemon.send_signal(signal.SIGHUP)
            self.assertEqual(manager.recv(100), b"STOPPING=1")
            self.assertEqual(daemon.wait(WAIT_S), 0)


if __name__ == "__main__":
    unittest.main()
