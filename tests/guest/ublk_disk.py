# SPDX-License-Identifier: Apache-2.0
"""Images in a guest that zbdkit serves to the guest's own kernel, as /dev/ublkbN.

    with UblkDisk(guest, "disk").create("512M", "zone.size=16M").start() as disk:
        disk.zones()                    # and all else of HostDevice, on disk.path
        assert disk.stop()["failed"] == 0
        disk.start("--read-only")
        disk.kill()
        disk.recover()

The guest has loaded ublk_drv. Images are in the guest's /run, in memory.
"""

from __future__ import annotations

import itertools
import re

import daemon
from guest import Guest, Job, Result
from host_devices import HostDevice

STOP_SECONDS = 60

# Each run has files of its own, so that an old line is never taken for a new one.
_runs = itertools.count(1)

_NUMBER = re.compile(r"^/dev/ublkb(\d+)$", re.MULTILINE)
_SUMMARY = re.compile(r"^served .*$", re.MULTILINE)
_COUNT = re.compile(r"(\d+) (request|append|zone action|refused|failed)")


def summaries(log: str) -> list[dict[str, int]]:
    """Of each disk, in the order of the exports, what the daemon says about its work when it ends."""
    return [{word: int(number) for number, word in _COUNT.findall(line)} for line in _SUMMARY.findall(log)]


class UblkDaemon:
    """`zbdkit serve` or `zbdkit ublk recover` in a guest."""

    def __init__(self, guest: Guest, name: str) -> None:
        self.guest = guest
        self.name = name
        self._run = 0
        self._job: Job | None = None

    @property
    def _log_path(self) -> str:
        return f"/run/{self.name}.log.{self._run}"

    @property
    def _pid_path(self) -> str:
        return f"/run/{self.name}.pid.{self._run}"

    @property
    def pid(self) -> int:
        return int(self.guest.sh(f"cat {self._pid_path}"))

    def launch(self, arguments: str, timeout: float = 60) -> str:
        """Starts a run and waits until its disks can be used; returns its log."""
        self._run = next(_runs)
        log, pid = self._log_path, self._pid_path
        self.guest.sh(f"rm -f {log} {pid}")
        self._job = self.guest.start_job(f"echo $$ >{pid}; exec {daemon.program()} {arguments} >{log} 2>&1")
        ready = self.guest.run(
            f"until grep -qs '^serving ' {log}; do\n"
            f"[ ! -s {pid} ] || [ -d /proc/$(cat {pid}) ] || exit 1\n"
            "sleep 0.05; done",
            timeout,
        )
        assert ready.ok, f"{arguments} did not start:\n{self.log()}"
        return self.log()

    def running(self) -> bool:
        return self._job is not None and not self._job.done()

    def terminate(self) -> None:
        """Asks it to end. It does not if a disk is in use."""
        self.guest.sh(f"kill -TERM {self.pid}")

    def wait_for_end(self) -> Result:
        job, self._job = self._job, None
        return job.wait(STOP_SECONDS)

    def wait_for_line(self, text: str) -> None:
        self.guest.sh(f"until grep -qF {text!r} {self._log_path}; do sleep 0.05; done")

    def kill(self) -> None:
        if self.running():
            self._job.kill()
        if self._job is not None:
            self.wait_for_end()

    def log(self) -> str:
        """Of the last run, maybe not complete."""
        return self.guest.sh(f"cat {self._log_path} 2>/dev/null || true")


class UblkDisk(HostDevice):
    """An image and the daemon that serves it. Leaving the `with` statement takes everything away."""

    def __init__(self, guest: Guest, name: str) -> None:
        super().__init__(guest, "/dev/not-started")
        self.image = f"/run/{name}.zbd"
        self.node = ""  # node options that the daemon is given instead of the image
        self.daemon = UblkDaemon(guest, name)
        self.number = -1

    def create(self, size: str, options: str = "") -> UblkDisk:
        self.guest.sh(f"{daemon.program()} create --force {self.image} {size}" + (f" -o {options}" if options else ""))
        return self

    @property
    def _disk(self) -> str:
        return f"--image-opts {self.node}" if self.node else self.image

    def start(self, *options: str) -> UblkDisk:
        """Serves the image. The number is the first that is free, if no option says otherwise."""
        return self._launch(" ".join(("serve", self._disk, "--ublk", *options)))

    def recover(self, *options: str) -> UblkDisk:
        """Goes on with the disk after kill()."""
        return self._launch(" ".join(("ublk recover", str(self.number), self._disk, *options)))

    def _launch(self, arguments: str) -> UblkDisk:
        log = self.daemon.launch(arguments)
        self.number = int(_NUMBER.search(log)[1])
        self.path = f"/dev/ublkb{self.number}"
        self.name = f"ublkb{self.number}"
        return self

    def try_stop(self, *options: str) -> Result:
        return self.guest.run(f"{daemon.program()} ublk stop {self.number} {' '.join(options)}")

    def stop(self) -> dict[str, int]:
        """Takes the disk away. The daemon must end well; returns its summary."""
        self.try_stop().check()
        return self.ended_well()

    def terminate(self) -> dict[str, int]:
        """The same by SIGTERM."""
        self.daemon.terminate()
        return self.ended_well()

    def ended_well(self) -> dict[str, int]:
        """Waits for the daemon's end."""
        result = self.daemon.wait_for_end()
        assert result.ok, f"status {result.exit_code}:\n{self.daemon.log()}"
        return summaries(self.daemon.log())[0]

    def kill(self) -> None:
        """The daemon dies; the disk stays, and its requests wait."""
        self.daemon.kill()

    def check(self) -> None:
        """Fails if the image is damaged."""
        self.guest.sh(f"{daemon.program()} check {self.image}")

    def remove(self) -> None:
        """Whatever state it is in."""
        if self.number >= 0:
            self.try_stop("--force")
        self.daemon.kill()
        self.guest.sh(f"rm -f {self.image}")

    def __enter__(self) -> UblkDisk:
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if error is not None:
            print(f"--- daemon of {self.image}:\n{self.daemon.log()}")
            # What stays mounted would fail the tests to come as well.
            self.guest.run(f"umount -q {self.path}", 60)
        if error is None and self.daemon.running():
            self.stop()
        self.remove()
