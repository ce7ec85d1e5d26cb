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

from cluster import SKIPPED, Cache, Cluster, new_key  # noqa: E402

ZBDKIT = os.path.abspath(shutil.which(os.environ.get("ZBDKIT", "zbdkit")) or "zbdkit")
WAIT_S = 60
PROMPT = b"qemu-io> "
# What comes before the bytes of the zones in the images here.
DATA_START = 1 << 20
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


class Daemon:
    """`zbdkit serve` as another host would have it: nothing of its folders is another one's."""

    def __init__(self, folder: pathlib.Path, *words: str) -> None:
        folder.mkdir()
        self.socket = folder / "disk.sock"
        self._log = folder / "log"
        folders = {name: str(folder) for name in ("XDG_RUNTIME_DIR", "TMPDIR", "HOME")}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [ZBDKIT, "serve", *words, "--vhost-user", self.socket], cwd=folder, env={**os.environ, **folders},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def serves(self) -> bool:
        """Whether it does; waits until that is known."""
        wait_until(lambda: self.socket.exists() or self.process.poll() is not None, "the daemon's socket")
        return self.process.poll() is None

    def log(self) -> str:
        return self._log.read_text()

    def log_with(self, text: str) -> str:
        wait_until(lambda: text in self.log(), f"'{text}' in the log: {self.log()}")
        return self.log()

    def stop(self) -> int:
        """As a service manager does. Returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


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

    def daemon(self, name: str, *words: str) -> Daemon:
        daemon = Daemon(self.folder / name, self.name(), *words)
        self.addCleanup(daemon.kill)
        return daemon

    def bench(self, daemon: Daemon, *words: str) -> subprocess.Popen:
        """A guest's load on the daemon, which checks what it reads."""
        load = subprocess.Popen(
            [ZBDKIT, "bench", daemon.socket, "--verify", "--wait", "event", "--depth", "16", *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.addCleanup(load.stderr.close)
        self.addCleanup(load.wait)
        self.addCleanup(load.kill)
        return load

    def owner(self) -> str:
        """The address of the lock's owner as the cluster's own tool sees it."""
        listing = cluster.rbd("lock", "ls", f"rbd/{self.image}")
        return re.search(r"127\.0\.0\.1:\S+", listing)[0]

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

        daemon = self.daemon("daemon", "--force-takeover")
        self.assertTrue(daemon.serves(), daemon.log())
        self.assertIn("write failed", shell.run("write -P 9 8k 4k"))
        shell.kill()
        self.assertEqual(daemon.stop(), 0, daemon.log())
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
        daemon = self.daemon("daemon")
        self.assertTrue(daemon.serves(), daemon.log())
        load = self.bench(daemon, "--op", "append", "--seconds", "1")
        self.assertEqual(load.wait(WAIT_S), 0, load.stderr.read())
        self.assertEqual(daemon.stop(), 0, daemon.log())
        self.assertIn("state:     clean", zbdkit("info", self.name()).stdout)
        self.assertTrue(self.opens())


class Handover(RbdTest):
    """Two daemons that share nothing but the cluster, one after the other."""

    def setUp(self):
        super().setUp()
        self.create_zoned()

    def bytes(self) -> bytes:
        """All that the image has in the cluster."""
        path = self.folder / "exported"
        path.unlink(missing_ok=True)
        cluster.rbd("export", "--no-progress", f"rbd/{self.image}", path)
        return path.read_bytes()

    def report(self) -> str:
        done = zbdkit("report", self.name())
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def fill(self, daemon: Daemon) -> None:
        load = self.bench(daemon, "--op", "append", "--seconds", "1", "--zones", "3")
        self.assertEqual(load.wait(WAIT_S), 0, load.stderr.read())

    def test_next_daemon_goes_on_at_once_where_the_last_one_stopped(self):
        first = self.daemon("first")
        self.assertTrue(first.serves(), first.log())
        self.fill(first)
        self.assertEqual(first.stop(), 0, first.log())
        left, zones = self.bytes(), self.report()

        second = self.daemon("second")
        self.assertTrue(second.serves(), second.log())

        self.assertNotIn("taken from", second.log())
        self.assertIn("OPEN", zones.upper())
        self.assertEqual(self.report(), zones)
        self.assertEqual(self.bytes()[DATA_START:], left[DATA_START:])
        self.fill(second)
        self.assertEqual(second.stop(), 0, second.log())

    def test_next_daemon_is_refused_while_the_last_one_lives(self):
        first = self.daemon("first")
        self.assertTrue(first.serves(), first.log())
        load = self.bench(first, "--op", "append", "--seconds", "1")

        second = self.daemon("second")

        self.assertFalse(second.serves())
        self.assertIn(f"in use by the client at {self.owner()}: if that has died", second.log())
        self.assertEqual(load.wait(WAIT_S), 0, load.stderr.read())

    def test_daemon_that_hung_writes_nothing_after_the_takeover(self):
        first = self.daemon("first")
        self.assertTrue(first.serves(), first.log())
        before = self.report()
        load = self.bench(first, "--op", "append", "--seconds", "60", "--timeout", "60")
        wait_until(lambda: self.report() != before, "the load to write")
        first.process.send_signal(signal.SIGSTOP)  # with requests in flight

        second = self.daemon("second", "--force-takeover")
        self.assertTrue(second.serves(), second.log())
        self.fill(second)
        theirs, zones = self.bytes(), self.report()
        first.process.send_signal(signal.SIGCONT)

        self.assertNotEqual(load.wait(WAIT_S), 0)
        self.assertIn("the server answered IOERR", load.stderr.read())
        log = first.log_with("now in use by the client at")
        self.assertIn("the cluster has cut this client off", log)
        self.assertIn(f"now in use by the client at {self.owner()}", log)
        self.assertEqual(self.report(), zones)
        first.stop()
        self.assertEqual(self.bytes(), theirs)
        self.fill(second)
        self.assertEqual(second.stop(), 0, second.log())
        self.assertEqual(zbdkit("check", self.name()).returncode, 0)


class Keys(RbdTest):
    """Who a cluster that asks for keys lets in, and what others are told."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(auth="cephx")
        cls.addClassCleanup(cls.cluster.stop)
        cls.cluster.start()
        cls.cluster.create_image("disk", "16M")
        cls.cluster.create_pool("other")
        cls.alice = cls.cluster.add_user("alice", mon="profile rbd", osd="profile rbd pool=rbd")

    def name_for(self, user: str, conf: pathlib.Path, image: str = "disk") -> str:
        return f"rbd:rbd/{image}:id={user}:conf={conf}"

    def options_for(self, user: str, conf: pathlib.Path, more: str = "") -> str:
        return f"driver=rbd,pool=rbd,image=disk,user={user},conf={conf}{more}"

    def refusal_of(self, user: str, conf: pathlib.Path, more: str = "") -> str:
        done = zbdkit("io", "--image-opts", self.options_for(user, conf, more), "-c", "write 0 512")
        self.assertNotEqual(done.returncode, 0, done.stdout)
        return done.stderr

    def conf_with(self, keyring: str, auth: str = "") -> pathlib.Path:
        """A client's configuration with these keys."""
        path = self.folder / "keyring"
        path.write_text(keyring)
        self.cluster.write_conf(self.folder / "client.conf", path, auth)
        return self.folder / "client.conf"

    def test_user_with_a_key_makes_and_uses_a_disk(self):
        name = self.name_for("alice", self.alice, "zones")
        made = zbdkit("create", name, "16M", "-o", "zone.size=4M")
        self.assertEqual(made.returncode, 0, made.stderr)
        shell = self.shell(name)
        self.assertIn("wrote 8192/8192", shell.run("write -P 7 4M 8k"))
        self.assertIn("read 8192/8192", shell.run("read -P 7 4M 8k"))
        self.assertEqual(shell.close(), 0)

    def test_user_with_a_key_may_take_over(self):
        old = self.shell("--image-opts", self.options_for("admin", self.cluster.conf))
        self.assertTrue(old.is_open(), old.log())
        self.assertIn("in use by the client at", self.refusal_of("alice", self.alice))

        new = self.shell("--image-opts", self.options_for("alice", self.alice, ",force-takeover=on"))

        self.assertIn("wrote 512/512", new.run("write 0 512"))
        self.assertIn("write failed", old.run("write 0 512"))

    def test_wrong_key_is_refused(self):
        message = self.refusal_of("alice", self.conf_with(f"[client.alice]\nkey = {new_key()}\n"))
        self.assertIn(f"the cluster in '{self.folder}/client.conf' does not let user 'alice' in", message)
        self.assertIn("expected the key that 'ceph auth get client.alice' shows", message)

    def test_damaged_key_is_refused(self):
        message = self.refusal_of("alice", self.conf_with("[client.alice]\nkey = nothing\n"))
        self.assertIn("expected a whole key of user 'alice' in a keyring", message)

    def test_user_whom_the_cluster_does_not_know_is_refused(self):
        message = self.refusal_of("nobody", self.conf_with(f"[client.nobody]\nkey = {new_key()}\n"))
        self.assertIn("does not let user 'nobody' in (options 'conf', 'user')", message)

    def test_user_whose_key_the_keyring_lacks_is_refused(self):
        self.assertIn("does not let user 'bob' in (options 'conf', 'user')", self.refusal_of("bob", self.alice))

    def test_user_of_whom_nothing_is_said_is_admin(self):
        done = zbdkit("info", f"rbd:rbd/disk:conf={self.alice}")
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertIn("does not let user 'admin' in (options 'conf', 'user')", done.stderr)

    def test_missing_keyring_is_named(self):
        self.cluster.write_conf(self.folder / "client.conf", self.folder / "absent")
        message = self.refusal_of("alice", self.folder / "client.conf")
        self.assertIn("there is no key of user 'alice' (options 'conf', 'user')", message)

    def test_client_that_takes_the_cluster_for_an_open_one_is_refused(self):
        conf = self.conf_with("", auth="none")
        self.assertIn("does not let user 'alice' in", self.refusal_of("alice", conf))

    def test_user_of_another_pool_is_told_what_is_needed(self):
        conf = self.cluster.add_user("elsewhere", mon="profile rbd", osd="profile rbd pool=other")
        needed = "expected the capabilities mon 'profile rbd' osd 'profile rbd pool=rbd'"
        self.assertIn(f"the cluster does not allow it to user 'elsewhere': {needed}", self.refusal_of("elsewhere", conf))
        made = zbdkit("create", self.name_for("elsewhere", conf, "new"), "16M")
        self.assertIn("cannot create it: the cluster does not allow it to user 'elsewhere'", made.stderr)
        self.assertIn(needed, made.stderr)

    def test_user_who_may_only_read_reads(self):
        conf = self.cluster.add_user("reader", mon="profile rbd", osd="profile rbd-read-only pool=rbd")
        options = self.options_for("reader", conf)
        done = zbdkit("io", "-r", "--image-opts", options, "-c", "read 0 512")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("the cluster does not allow it to user 'reader'", self.refusal_of("reader", conf))

    def test_user_who_may_fence_nobody_cannot_take_over(self):
        conf = self.cluster.add_user("meek", mon="allow r", osd="profile rbd pool=rbd")
        old = self.shell("--image-opts", self.options_for("alice", self.alice))
        self.assertTrue(old.is_open(), old.log())

        message = self.refusal_of("meek", conf, ",force-takeover=on")

        self.assertIn("cannot break the lock of the client at 127.0.0.1:", message)
        self.assertIn("the cluster does not allow it to user 'meek': expected the capabilities mon 'profile rbd'", message)
        self.assertIn("wrote 512/512", old.run("write 0 512"))


if __name__ == "__main__":
    reason = Cache().missing()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(SKIPPED)
    unittest.main()
