# SPDX-License-Identifier: Apache-2.0
"""The whole chain, once: an image becomes a zoned disk of a guest's kernel, QEMU in that guest hands it on with its own zoned virtio-blk, and a
guest inside the guest writes to its zones. Emulated twice, so there is one short test."""

import pathlib

import pytest

from guest import Cache, _cpio
from ublk_disk import UblkDisk

# What the inner guest runs in place of a system.
INIT = b"""#!/bin/busybox sh
/bin/busybox mount -t proc none /proc; /bin/busybox mount -t sysfs none /sys; /bin/busybox mount -t devtmpfs none /dev
for module in /modules/*; do /bin/busybox insmod $module; done
for i in 0 1 2 3 4 5 6 7 8 9; do [ -b /dev/vda ] && break; /bin/busybox sleep 1; done
for name in zoned nr_zones chunk_sectors max_open_zones; do echo "inner $name $(/bin/busybox cat /sys/block/vda/queue/$name)"; done
/bin/busybox dd if=/pattern of=/dev/vda bs=64k seek=512 count=4 oflag=direct && echo inner wrote
/bin/busybox dd if=/dev/vda of=/copy bs=64k skip=512 count=4 && /bin/busybox cmp /copy /pattern && echo inner read
/bin/busybox poweroff -f
"""

PATTERN = bytes(range(256)) * 1024  # 256 KiB


def inner_initramfs(cache: Cache, kernel: str) -> bytes:
    """The cache's own, with the driver of the disk and another init."""
    folder = cache.kernel(kernel)
    module = next((folder / "lib/modules").glob("*/kernel/drivers/block/virtio_blk.ko"))
    added = {"init": INIT, "modules/99-virtio_blk.ko": module.read_bytes(), "pattern": PATTERN}
    return (folder / "initramfs.cpio").read_bytes() + _cpio(added)


@pytest.mark.parametrize("kernel", ["7.2"])
def test_zones_reach_a_guest_of_a_guest_through_qemu(cache, boot, tmp_path, kernel):
    pathlib.Path(tmp_path / "initramfs").write_bytes(inner_initramfs(cache, "6.12"))
    guest = boot(kernel=kernel, memory="1536M", tools=True, exchange=tmp_path)
    guest.modprobe("ublk_drv")
    with UblkDisk(guest, "nested") as disk:
        disk.create("512M", "zone.size=16M,zone.max_open_zones=6,zone.max_active_zones=8").start()
        qemu = " ".join(cache.qemu())
        console = guest.sh(
            f"{qemu} -accel tcg -cpu max -smp 1 -m 256M -machine q35 -nodefaults -no-user-config -display none -no-reboot "
            f"-kernel {cache.kernel('6.12')}/vmlinux -initrd /exchange/initramfs -append 'console=ttyS0 loglevel=4 panic=-1 mitigations=off nokaslr' "
            f"-serial stdio -blockdev driver=host_device,filename={disk.path},node-name=zoned,cache.direct=on "
            f"-device virtio-blk-pci,drive=zoned </dev/null",
            timeout=420,
        )
        print(console)
        for line in ("zoned host-managed", "nr_zones 32", "chunk_sectors 32768", "max_open_zones 6", "wrote", "read"):
            assert f"inner {line}" in console, console
        assert disk.zones()[2][1] == len(PATTERN)
        guest.sh(f"dd if={disk.path} bs=64k skip=512 count=4 iflag=direct of=/exchange/copy status=none")
        assert (tmp_path / "copy").read_bytes() == PATTERN
