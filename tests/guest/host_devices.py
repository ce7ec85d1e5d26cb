# SPDX-License-Identifier: Apache-2.0
"""Real zoned block devices in a guest, and the shells of zbdkit and of QEMU on them.

    device = NullBlk(guest, size=64, zone_size=4, zone_nr_conv=2)
    device.io("zap -p 8M 4k").check()          # zbdkit io --image-opts driver=host_device,...
    device.qemu_io("zrp 0 4")                  # the same of QEMU
    device.remove()

The guest needs tools=True for QEMU's shell.
"""

from __future__ import annotations

import re
import shlex

import daemon
from guest import Guest, Result

ZONE = re.compile(
    r"start: (0x[0-9a-f]+), len (0x[0-9a-f]+), cap (0x[0-9a-f]+), wptr (0x[0-9a-f]+) .*zcond:\s*\d+\((\w\w)\) \[type: (\d)"
)


def shell_commands(commands: tuple[str, ...]) -> str:
    return " ".join(f"-c {shlex.quote(command)}" for command in commands)


class HostDevice:
    """A zoned block device of the guest's kernel."""

    def __init__(self, guest: Guest, path: str) -> None:
        self.guest = guest
        self.path = path
        self.name = path.rsplit("/", 1)[1]

    def options(self, more: str = "") -> str:
        return f"driver=host_device,filename={self.path}" + (f",{more}" if more else "")

    def io(self, *commands: str, options: str | None = None, more: str = "", timeout: float = 30) -> Result:
        """Commands of `zbdkit io` on the device, or on the node that `options` describe."""
        node = options or self.options(more)
        return self.guest.run(f"{daemon.program()} io --image-opts -n {shlex.quote(node)} {shell_commands(commands)}", timeout)

    def qemu_io(self, *commands: str, options: str | None = None, timeout: float = 60) -> Result:
        """The same of QEMU's program."""
        node = options or self.options("cache.direct=on")
        return self.guest.run(f"newer qemu-io --image-opts -n {shlex.quote(node)} {shell_commands(commands)}", timeout)

    def zones(self) -> list[tuple[str, int]]:
        """Of each zone what the kernel says: its state as two letters, and its write pointer in bytes from the zone's start."""
        report = self.guest.sh(f"blkzone report {self.path}").splitlines()
        matches = [ZONE.search(line) for line in report]
        assert all(matches), report
        return [(match[5], int(match[4], 16) * 512) for match in matches]

    def state(self, zone: int) -> str:
        return self.zones()[zone][0]

    def pointer(self, zone: int) -> int:
        return self.zones()[zone][1]

    def reset(self) -> None:
        self.guest.sh(f"blkzone reset {self.path}")

    def writes(self) -> int:
        """How many write requests the device has completed."""
        return int(self.guest.sh(f"cat /sys/block/{self.name}/stat").split()[4])

    def queue(self, attribute: str) -> str:
        return self.guest.sh(f"cat /sys/block/{self.name}/queue/{attribute}")


class NullBlk(HostDevice):
    """A device in memory, made through configfs. Settings are its attributes there; sizes are in MiB."""

    def __init__(self, guest: Guest, name: str = "nullb0", **settings: int) -> None:
        super().__init__(guest, f"/dev/{name}")
        self.folder = f"/sys/kernel/config/nullb/{name}"
        settings = {"zoned": 1, "memory_backed": 1, **settings, "power": 1}
        # What a failed test has left behind goes first.
        steps = [f"[ ! -d {self.folder} ] || rmdir {self.folder}", f"mkdir {self.folder}"] + [f"echo {value} >{self.folder}/{key}" for key, value in settings.items()]
        guest.sh("set -e; modprobe null_blk nr_devices=0; udevadm settle 2>/dev/null || true\n" + "\n".join(steps))

    def wear_out(self, zone: int, state: str) -> None:
        """state: readonly or offline."""
        sectors = int(self.queue("chunk_sectors"))
        self.guest.sh(f"echo {zone * sectors} >{self.folder}/zone_{state}")

    def vanish(self) -> None:
        """Takes the power off, as if the device had been pulled out."""
        self.guest.sh(f"echo 0 >{self.folder}/power")

    def remove(self) -> None:
        self.guest.sh(f"rmdir {self.folder}")

    def __enter__(self) -> NullBlk:
        return self

    def __exit__(self, *_) -> None:
        self.remove()


def scsi_debug(guest: Guest, **parameters: int | str) -> HostDevice:
    """A host-managed SCSI disk in memory: scsi_debug with zbc=managed."""
    words = " ".join(f"{key}={value}" for key, value in parameters.items())
    guest.modprobe("sd_mod", f"scsi_debug zbc=managed {words}")
    name = guest.sh("for i in $(seq 50); do ls /sys/bus/pseudo/drivers/scsi_debug/adapter0/host*/target*/*/block && exit; sleep 0.1; done; exit 1")
    return HostDevice(guest, f"/dev/{name.split()[-1]}")


def zns(guest: Guest) -> HostDevice:
    """QEMU's emulated NVMe disk; the guest was started with the arguments of zns_arguments()."""
    guest.modprobe("nvme")
    guest.sh("for i in $(seq 50); do [ -b /dev/nvme0n1 ] && exit; sleep 0.1; done; exit 1")
    return HostDevice(guest, "/dev/nvme0n1")


def zns_arguments(image: str, **properties: int | str) -> list[str]:
    """QEMU arguments for an NVMe disk with zones on an image file."""
    zoned = "".join(f",zoned.{key}={value}" for key, value in properties.items())
    return [
        *("-blockdev", f"driver=file,node-name=zns,filename={image}"),
        *("-device", "nvme,id=nvme0,serial=zns"),
        *("-device", f"nvme-ns,drive=zns,bus=nvme0,nsid=1,zoned=true{zoned}"),
    ]
