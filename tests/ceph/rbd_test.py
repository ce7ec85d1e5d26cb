#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Tests the driver "rbd" by the command, as people use it, on a cluster that hangs, restarts and loses clients.

The build sets ZBDKIT, the command.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from cluster import SKIPPED, Cache, Cluster  # noqa: E402

ZBDKIT = os.environ.get("ZBDKIT", "zbdkit")
WAIT_S = 60
PROMPT = b"qemu-io> "
FENCED = "another client has taken the image over"

cluster: Cluster


def setUpModule():
    global cluster
    cluster = Cluster()
    cluster.start()


def tearDownModule():
    cluster.stop()


def zbdkit(*words) -> subprocess.CompletedProcess:
    return subprocess.run(
        [ZBDKIT, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WAIT_S, check=False
    )


def wait_until(condition, what: str) -> None:
    """For what another process does and nobody tells of."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {WAIT_S} s for {what}")
        time.sleep(0.01)


class Shell:
    """`zbdkit io` with a disk open, which does one command after the other."""

    def __init__(self, folder: pathlib.Path, *words: str) -> None:
        self._log = (folder / f"shell{len(list(folder.iterdir()))}.log").open("w+b")
        self.process = subprocess.Popen(
            [ZBDKIT, "io", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log
        )
        self._read_to_prompt()

    def _read_to_prompt(self) -> str:
        """What comes before the next prompt, or before the end."""
        output = b""
        while not output.endswith(PROMPT):
            piece = self.process.stdout.read1(65536)
            if not piece:
                break
            output += piece
        return output.decode(errors="replace").removesuffix(PROMPT.decode())

    def start(self, line: str) -> None:
        """Starts a command and does not wait for its end."""
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def finish(self) -> str:
        """Waits for the end of the command that was started. Returns what it printed."""
        return self._read_to_prompt()

    def run(self, line: str) -> str:
        self.start(line)
        return self.finish()

    def log(self) -> str:
        self._log.flush()
        return pathlib.Path(self._log.name).read_text()

    def is_open(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> int:
        """Ends it in good order, or as a whole if it does not. Returns its exit status."""
        try:
            self.process.stdin.close()
            return self.process.wait(WAIT_S)
        except BrokenPipeError:
            return self.process.wait(WAIT_S)
        finally:
            if self.is_open():
                self.kill()
            self.process.stdout.close()
            self._log.close()


class RbdTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="zbdkit-rbd-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.image = self.id().rsplit(".", 1)[-1]

    def name(self, image: str = "", conf: pathlib.Path | None = None) -> str:
        return f"rbd:rbd/{image or self.image}:conf={conf or cluster.conf}"

    def options(self, more: str = "", conf: pathlib.Path | None = None) -> str:
        return f"driver=rbd,pool=rbd,image={self.image},conf={conf or cluster.conf}{more}"

    def create(self) -> None:
        cluster.create_image(self.image, "64M")

    def create_zoned(self) -> None:
        """An image with zones, made as a file."""
        source = self.folder / "disk.zbd"
        made = zbdkit("create", source, "64M", "-o", "zone.size=4M")
        self.assertEqual(made.returncode, 0, made.stderr)
        cluster.import_image(source, self.image)

    def shell(self, *words: str) -> Shell:
        shell = Shell(self.folder, *words)
        self.addCleanup(shell.close)
        return shell

    def open(self, more: str = "") -> Shell:
        """The image without a format."""
        shell = self.shell("--image-opts", self.options(more))
        self.assertTrue(shell.is_open(), shell.log())
        return shell

    def refusal(self, more: str = "", conf: pathlib.Path | None = None) -> str:
        done = zbdkit("io", "--image-opts", self.options(more, conf), "-c", "length")
        self.assertNotEqual(done.returncode, 0, done.stdout)
        return done.stderr

    def opens(self, more: str = "") -> bool:
        return zbdkit("io", "--image-opts", self.options(more), "-c", "length").returncode == 0

    def foreign_conf(self, port: int) -> pathlib.Path:
        """A configuration of a cluster whose monitor is at another port."""
        conf = self.folder / "other.conf"
        conf.write_text(f"[global]\nmon host = v2:127.0.0.1:{port}\nauth client required = none\n")
        return conf


class Naming(RbdTest):
    def test_raw_image_by_its_name(self):
        self.create()
        done = zbdkit("io", "-f", "raw", self.name(), "-c", "write -P 7 1M 64k", "-c", "read -P 7 1M 64k")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_zoned_image_by_its_name(self):
        self.create_zoned()
        for words in (("info",), ("report",), ("check",)):
            with self.subTest(command=words[0]):
                done = zbdkit(*words, self.name())
                self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("host-managed", zbdkit("info", self.name()).stdout)

    def test_image_without_zones_is_refused_and_left_as_it_was(self):
        self.create()
        raw = self.options().split(",")
        for words, message in (
            (("info", self.name()), "no zbdkit image"),
            (("report", self.name()), "no zbdkit image"),
            (("check", self.name()), "no zbdkit image"),
            (("serve", self.name(), "--vhost-user", self.folder / "no.sock"), "no zbdkit image"),
            (("report", "--image-opts", "driver=raw," + ",".join(f"file.{option}" for option in raw)), "is not zoned"),
        ):
            with self.subTest(command=words[0]):
                done = zbdkit(*words)
                self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
                self.assertIn(message, done.stdout + done.stderr)
        self.assertEqual(cluster.watchers(self.image), 0)
        self.assertTrue(self.opens())

    def test_name_without_image_is_refused(self):
        done = zbdkit("info", "rbd:pool")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("expected rbd:POOL/IMAGE[@SNAPSHOT]", done.stderr)

    def test_missing_image_is_named(self):
        done = zbdkit("info", self.name("nothing"))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("there is no image 'nothing' in pool 'rbd'", done.stderr)


class NoCluster(RbdTest):
    def test_configuration_that_is_absent_is_named(self):
        message = self.refusal(conf=self.folder / "absent.conf")
        self.assertIn("option 'conf': cannot read", message)
        self.assertIn("absent.conf", message)

    def test_monitor_that_never_answers_ends_in_the_timeout(self):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            message = self.refusal(",connect-timeout=1", self.foreign_conf(listener.getsockname()[1]))
        self.assertIn("no monitor of the cluster", message)
        self.assertIn("has answered within 1 s (option 'connect-timeout')", message)

    def test_monitor_that_is_gone_ends_in_the_timeout(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            message = self.refusal(",connect-timeout=1", self.foreign_conf(unused.getsockname()[1]))
        self.assertIn("has answered within 1 s (option 'connect-timeout')", message)


class HangingCluster(RbdTest):
    def setUp(self):
        super().setUp()
        self.addCleanup(cluster.continue_osd)
        self.create()

    def test_requests_fail_in_time_and_work_again_afterwards(self):
        shell = self.open(",op-timeout=1")
        self.assertIn("wrote 4096/4096", shell.run("write -P 7 0 4k"))

        cluster.stop_osd()
        self.assertIn("write failed", shell.run("write -P 9 0 4k"))
        self.assertIn("read failed", shell.run("read 4k 4k"))
        cluster.continue_osd()

        self.assertIn("wrote 4096/4096", shell.run("write -P 8 0 4k"))
        self.assertIn("read 4096/4096", shell.run("read -P 8 0 4k"))
        self.assertEqual(shell.close(), 1)  # some commands failed

    def test_request_without_a_limit_waits_until_it_is_answered(self):
        shell = self.open(",op-timeout=0")
        cluster.stop_osd()
        shell.start("write -P 7 0 4k")
        # Longer than the shortest limit there is.
        self.assertIn("has not answered within 1 s", self.refusal(",op-timeout=1"))
        cluster.continue_osd()
        self.assertIn("wrote 4096/4096", shell.finish())

    def test_close_ends_in_time(self):
        shell = self.open(",op-timeout=1")
        cluster.stop_osd()
        self.assertIsNotNone(shell.close())


class Lock(RbdTest):
    def setUp(self):
        super().setUp()
        self.create()

    def owner(self) -> str:
        """The address of the lock's owner as the cluster's own tool sees it."""
        listing = cluster.rbd("lock", "ls", f"rbd/{self.image}")
        return re.search(r"127\.0\.0\.1:\S+", listing)[0]

    def test_second_process_is_told_who_has_the_lock(self):
        shell = self.open()
        message = self.refusal()
        self.assertIn(f"in use by the client at {self.owner()}:", message)
        self.assertIn("wrote 512/512", shell.run("write 0 512"))

    def test_readers_need_no_lock(self):
        self.open()
        done = zbdkit("io", "-r", "--image-opts", self.options(), "-c", "read 0 512")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_takeover_cuts_the_old_process_off(self):
        old = self.open()
        old.run("write -P 7 0 4k")
        new = self.open(",force-takeover=on")
        self.assertIn("taken from the client at 127.0.0.1:", new.log())

        self.assertIn("write failed", old.run("write -P 9 0 4k"))

        self.assertIn(f"now in use by the client at {self.owner()}", self.log_with(old, "now in use"))
        self.assertIn("read 4096/4096", new.run("read -P 7 0 4k"))
        self.assertIn("wrote 4096/4096", new.run("write -P 8 0 4k"))
        old.close()
        self.assertIn("read 4096/4096", new.run("read -P 8 0 4k"))

    def log_with(self, shell: Shell, text: str) -> str:
        """Its log, once it has the text. Its loop runs while it waits for a command."""
        wait_until(lambda: text in shell.log(), f"'{text}' in the log: {shell.log()}")
        return shell.log()

    def test_killed_owner_is_replaced_by_force(self):
        shell = self.open()
        shell.run("write -P 7 0 4k")
        shell.kill()

        self.assertIn("in use by the client at", self.refusal())
        new = self.open(",force-takeover=on")
        self.assertIn("read 4096/4096", new.run("read -P 7 0 4k"))

    def test_killed_owner_is_replaced_once_the_cluster_misses_it(self):
        self.open().kill()
        wait_until(self.opens, "the lock of a killed client to be free")

    def test_resize_is_noticed_without_a_request(self):
        shell = self.open()
        cluster.rbd("resize", "--no-progress", "--allow-shrink", "--size", "32M", f"rbd/{self.image}")
        self.assertIn("from 64 MiB to 32 MiB", self.log_with(shell, "made smaller"))
        self.assertIn("write failed", shell.run("write 32M 512"))
        self.assertIn("wrote 512/512", shell.run("write 0 512"))


class Restart(unittest.TestCase):
    def test_request_outlives_a_restart_of_the_osd(self):
        with tempfile.TemporaryDirectory() as folder, Cluster("bluestore") as own:
            own.create_image("disk", "16M")
            options = f"driver=rbd,pool=rbd,image=disk,conf={own.conf},op-timeout=0"
            shell = Shell(pathlib.Path(folder), "--image-opts", options)
            self.addCleanup(shell.kill)  # with no end to its patience it would wait for the cluster
            self.assertIn("wrote 4096/4096", shell.run("write -P 7 0 4k"))
            own.kill_osd()
            shell.start("write -P 8 4k 4k")
            own.start_osd()
            self.assertIn("wrote 4096/4096", shell.finish())
            self.assertIn("read 4096/4096", shell.run("read -P 7 0 4k"))
            self.assertIn("read 4096/4096", shell.run("read -P 8 4k 4k"))
            self.assertEqual(shell.close(), 0)


class Zones(RbdTest):
    def setUp(self):
        super().setUp()
        self.create_zoned()

    def zoned_options(self, more: str = "") -> str:
        below = ",".join(f"file.{option}" for option in self.options(more).split(","))
        return f"driver=zoned,{below}"

    def test_zones_are_kept_over_opens(self):
        shell = self.shell(self.name())
        self.assertIn("wrote 8192/8192", shell.run("write -P 7 0 8k"))
        self.assertIn("append sector is 0x2000", shell.run("zap -p 4M 4k"))
        shell.run("write -P 9 8M 4k")
        self.assertEqual(shell.run("zrs 8M 4M").strip(), "")
        self.assertEqual(shell.close(), 0)

        again = self.shell(self.name())
        zones = again.run("zrp 0 3").splitlines()
        self.assertIn("wptr 0x10", zones[0])
        self.assertIn("wptr 0x2008", zones[1])
        self.assertIn("wptr 0x4000", zones[2])
        self.assertIn("read 8192/8192", again.run("read -P 7 0 8k"))
        self.assertIn("read 4096/4096", again.run("read -P 0 8M 4k"))
        self.assertEqual(again.close(), 0)

    def test_image_is_made_in_the_cluster(self):
        name = self.name("new")
        made = zbdkit("create", name, "32M", "-o", "zone.size=4M")
        self.assertEqual(made.returncode, 0, made.stdout + made.stderr)
        again = zbdkit("create", name, "32M", "-o", "zone.size=4M")
        self.assertIn("has data: --force overwrites it", again.stderr)
        larger = zbdkit("create", "--force", name, "64M", "-o", "zone.size=4M")
        self.assertIn("and the image needs", larger.stderr)
        self.assertIn("8 zones of 4 MiB", zbdkit("info", name).stdout)
        self.assertEqual(zbdkit("create", "--force", name, "16M", "-o", "zone.size=4M").returncode, 0)
        self.assertIn("4 zones of 4 MiB", zbdkit("info", name).stdout)

    def test_daemon_takes_the_disk_over_from_one_that_lives(self):
        shell = self.shell(self.name())
        self.assertIn("wrote 8192/8192", shell.run("write -P 7 0 8k"))
        self.assertIn("in use by the client at", zbdkit("serve", self.name(), "--vhost-user", self.folder / "no.sock").stderr)

        path = self.folder / "disk.sock"
        daemon = subprocess.Popen(
            [ZBDKIT, "serve", self.name(), "--force-takeover", "--vhost-user", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.addCleanup(daemon.stdout.close)
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.kill)
        wait_until(lambda: path.exists() or daemon.poll() is not None, "the daemon's socket")
        self.assertIn("write failed", shell.run("write -P 9 8k 4k"))
        shell.kill()
        daemon.send_signal(signal.SIGTERM)
        self.assertEqual(daemon.wait(WAIT_S), 0, daemon.stdout.read())
        # What completed is there, what was refused is not.
        self.assertIn("wptr 0x10", zbdkit("io", "-r", self.name(), "-c", "zrp 0 1").stdout)

    def test_snapshot_is_a_disk_to_read(self):
        shell = self.shell(self.name())
        self.assertIn("wrote 8192/8192", shell.run("write -P 7 0 8k"))
        self.assertEqual(shell.close(), 0)
        cluster.rbd("snap", "create", "--no-progress", f"rbd/{self.image}@before")
        again = self.shell(self.name())
        again.run("zrs 0 4M")
        self.assertEqual(again.close(), 0)

        done = zbdkit("io", "-r", self.name(f"{self.image}@before"), "-c", "read -P 7 0 8k")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("1 implicitly open", zbdkit("info", self.name(f"{self.image}@before")).stdout)

    def test_what_was_acknowledged_outlives_a_kill(self):
        shell = self.shell("--image-opts", self.zoned_options())
        # More than will be done: the kill comes while one of them is in flight.
        for number in range(1000):
            shell.start(f"write -P {number % 250 + 1} {number * 4096} 4k")
        acknowledged = 0
        while acknowledged < 100:
            acknowledged += shell.finish().count("wrote 4096/4096")
        shell.kill()

        again = self.shell("--image-opts", self.zoned_options(",force-takeover=on"))
        self.assertTrue(again.is_open(), again.log())
        for number in range(acknowledged):
            line = again.run(f"read -P {number % 250 + 1} {number * 4096} 4k")
            self.assertIn("read 4096/4096", line)
            self.assertNotIn("failed", line)
        self.assertEqual(again.close(), 0)
        checked = zbdkit("check", self.name())
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_daemon_serves_it_and_gives_the_lock_back(self):
        path = self.folder / "disk.sock"
        daemon = subprocess.Popen(
            [ZBDKIT, "serve", self.name(), "--vhost-user", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.addCleanup(daemon.stdout.close)
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.kill)
        wait_until(lambda: path.exists() or daemon.poll() is not None, "the daemon's socket")
        loaded = zbdkit("bench", path, "--op", "append", "--verify", "--wait", "event", "--seconds", "1")
        daemon.send_signal(signal.SIGTERM)
        self.assertEqual(daemon.wait(WAIT_S), 0, daemon.stdout.read())
        self.assertEqual(loaded.returncode, 0, loaded.stderr)
        self.assertIn("state:     clean", zbdkit("info", self.name()).stdout)
        self.assertTrue(self.opens())


if __name__ == "__main__":
    reason = Cache().missing()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(SKIPPED)
    unittest.main()
