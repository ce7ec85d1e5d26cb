# SPDX-License-Identifier: Apache-2.0
"""A daemon that is killed and started again under the load of a guest, which notices nothing but a pause."""

import time

import pytest

from daemon import Daemon, check, create
from guest import Guest

KILLS = 8

# Each block says what it is and where it belongs; all are read back in the end.
LOAD = (
    "newer fio --name=load --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=32 --rw=randwrite --bs=4k-32k "
    "--size=192M --io_size=1G --time_based --runtime=20 --verify=crc32c --verify_fatal=1 --verify_backlog=512 "
    "--rate=40m --output-format=normal"
)


@pytest.mark.parametrize("ring", ["split", "packed"])
def test_guest_goes_on_after_the_daemon_was_killed(cache, tmp_path, ring):
    image = create(tmp_path / "disk.zbd", "256M", "zone.mode=host-aware,zone.size=16M")
    # The delay makes sure that every kill finds requests in flight, also while fio reads back what it wrote.
    node = f"driver=delay,delay-read=20ms,delay-write=20ms,file.driver=zoned,file.file.driver=file,file.file.filename={image}"
    with Daemon(f"--image-opts={node}") as daemon:
        disk = daemon.plain_disk(reconnect_ms=50, options="packed=on" if ring == "packed" else "")
        with Guest(kernel="6.12", disks=[disk], tools=True, log_dir=tmp_path / "guest") as guest:
            load = guest.start_job(LOAD)
            time.sleep(2)
            for _ in range(KILLS):
                time.sleep(0.7)
                assert not load.done()
                daemon.kill()
                daemon.start()
            result = load.wait(120).check()
            assert "err= 0" in result.output
            assert "I/O error" not in guest.dmesg()
            guest.shutdown()
        taken_over = daemon.log().count("left in flight")
        assert taken_over > 0, daemon.log()
    check(image)
