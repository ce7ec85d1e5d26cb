# SPDX-License-Identifier: Apache-2.0
"""Tests of the harness itself: guests boot, commands and disks work, and failures are reported in time."""

import io
import pathlib
import subprocess
import time

import pytest

from guest import CommandFailed, CommandTimeout, GuestDied, GuestError, Share, VhostUserBlkDisk, _cpio

BOOT = pathlib.Path(__file__).resolve().with_name("boot")

# Four conventional zones and twelve sequential ones, of 4 MiB.
MAKE_NULL_BLK = """
set -e
modprobe null_blk nr_devices=0
cd /sys/kernel/config/nullb
mkdir nullb0
cd nullb0
echo 1 >zoned; echo 4 >zone_size; echo 4 >zone_nr_conv; echo 64 >size; echo 1 >memory_backed
echo 1 >power
"""


def test_runs_the_kernel_asked_for(guest, cache):
    assert guest.sh("uname -r") == cache.release(guest.kernel)


def test_has_what_a_system_needs(guest):
    guest.sh("for dir in proc sys dev run dev/pts dev/shm sys/kernel/config; do mountpoint -q /$dir; done")
    guest.sh("echo x >/tmp/x && echo x >/root/x && echo x >/etc/x")
    assert not pathlib.Path("/etc/x").exists()


def test_separates_outputs_and_returns_exit_code(guest):
    result = guest.run("echo out; echo err >&2; exit 3")
    assert (result.exit_code, result.stdout, result.stderr) == (3, "out\n", "err\n")
    with pytest.raises(CommandFailed, match="status 3(.|\n)*err"):
        result.check()
    assert guest.run("kill -9 $$").exit_code == 128 + 9


def test_carries_large_and_odd_output(guest):
    assert guest.sh("head -c 1000000 /dev/zero | tr '\\0' x") == "x" * 1000000
    assert guest.sh("printf 'a\\n\\nb'") == "a\n\nb"
    assert guest.sh(f"cat <<'END'\n{'long line ' * 2000}\nEND") == "long line " * 2000


def test_command_over_its_limit_is_killed_and_the_guest_goes_on(guest):
    with pytest.raises(CommandTimeout, match="before"):
        guest.run("echo before; sleep 1000 & sleep 1000", timeout=1)
    assert guest.sh("pgrep -x sleep || echo none") == "none"


def test_commands_run_at_the_same_time(guest):
    jobs = [guest.start_job(f"sleep 1; echo {i}") for i in range(3)]
    started = time.monotonic()
    assert [job.wait().stdout for job in jobs] == ["0\n", "1\n", "2\n"]
    assert time.monotonic() - started < 2.5


def test_background_process_outlives_its_script(guest):
    guest.sh("sleep 500 & echo $! >/run/sleeper")
    assert guest.sh("kill -0 $(cat /run/sleeper) && kill $(cat /run/sleeper) && sleep 0.2 && pgrep -x sleep || echo gone") == "gone"


def test_streams_output_while_a_command_runs(guest):
    stream = io.BytesIO()
    assert guest.run("seq 3; echo err >&2; exit 5", stream=stream).exit_code == 5
    assert stream.getvalue().replace(b"\r", b"") == b"1\n2\n3\nerr\n"


def test_reports_zones_of_null_blk(guest):
    guest.run(MAKE_NULL_BLK).check()
    try:
        zones = guest.sh("blkzone report /dev/nullb0").splitlines()
        assert len(zones) == 16
        assert "CONVENTIONAL" in zones[3] and "SEQ_WRITE_REQUIRED" in zones[4]
        guest.sh("dd if=/dev/urandom of=/dev/nullb0 bs=4k count=2 seek=4096 oflag=direct")
        assert "wptr 0x000010" in guest.sh("blkzone report -o 0x8000 -c 1 /dev/nullb0")
    finally:
        guest.sh("echo 0 >/sys/kernel/config/nullb/nullb0/power; rmdir /sys/kernel/config/nullb/nullb0")


def test_monitor_answers(guest):
    assert guest.qmp("query-status")["status"] == "running"
    with pytest.raises(GuestError, match="no-such-command"):
        guest.qmp("no-such-command")


@pytest.mark.parametrize("kernel", ["6.12", "7.2"])
def test_disk_of_another_vhost_user_back_end(boot, cache, tmp_path, kernel):
    image = tmp_path / "disk.img"
    image.write_bytes(b"hello from the host\n".ljust(8 << 20, b"\0"))
    socket = tmp_path / "disk.sock"
    daemon = subprocess.Popen(
        [
            *cache.command("qemu-storage-daemon"),
            *("--blockdev", f"driver=file,node-name=disk,filename={image}"),
            *("--export", f"type=vhost-user-blk,id=e,node-name=disk,writable=on,num-queues=2,addr.type=unix,addr.path={socket}"),
        ]
    )
    try:
        guest = boot(kernel=kernel, disks=[VhostUserBlkDisk(socket)])
        assert guest.sh("blockdev --getsize64 /dev/vda; cat /sys/block/vda/queue/zoned") == f"{8 << 20}\nnone"
        assert guest.sh("head -n 1 /dev/vda") == "hello from the host"
        guest.sh("echo hello from the guest | dd of=/dev/vda conv=fsync status=none")
        guest.shutdown()
        assert image.read_bytes().startswith(b"hello from the guest\n")
    finally:
        daemon.kill()
        daemon.wait()


def test_newer_tree_as_root_and_beside_the_host(boot, cache):
    assert boot(share=cache.tree).sh("fio --version; cut -d . -f 1 /etc/debian_version") == "fio-3.39\n13"
    assert boot(tools=True).sh("newer fio --version") == "fio-3.39"


def test_exchanges_files(boot, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "in").write_text("from host")
    guest = boot(exchange=shared, shares=[Share(shared, "/mnt/same")])
    assert guest.sh("cat /exchange/in /mnt/same/in; echo from guest >/exchange/out") == "from hostfrom host"
    assert (shared / "out").read_text() == "from guest\n"
    assert not guest.run("touch /mnt/same/x").ok


def test_udev_makes_device_mapper_work(boot, cache):
    guest = boot(kernel="7.2", share=cache.tree)
    guest.start_udev()
    guest.modprobe("loop", "dm_mod")
    guest.sh(
        "truncate -s 8M /tmp/a && losetup /dev/loop0 /tmp/a && "
        "dmsetup create joined --table '0 16384 linear /dev/loop0 0' && blkid -p /dev/mapper/joined; test -b /dev/mapper/joined"
    )


def test_panic_and_power_cut_are_reported_at_once(boot):
    guest = boot()
    with pytest.raises(GuestDied, match="sysrq triggered crash"):
        guest.run("echo c >/proc/sysrq-trigger; sleep 100", timeout=60)
    guest = boot()
    job = guest.start_job("sleep 100")
    guest.kill()
    with pytest.raises(GuestDied):
        job.wait()


def test_missing_back_end_is_a_clear_error(boot, tmp_path, monkeypatch):
    monkeypatch.setattr("guest.SOCKET_SECONDS", 0.2)
    with pytest.raises(GuestError, match="no socket .*absent.sock"):
        boot(disks=[VhostUserBlkDisk(tmp_path / "absent.sock")])


def test_boot_command(cache):
    done = subprocess.run([BOOT, "--quiet", "--", "echo hello; exit 4"], capture_output=True, text=True, timeout=180, check=False)
    assert (done.returncode, done.stdout.replace("\r", ""), done.stderr) == (4, "hello\n", "")


def test_archive_is_what_cpio_understands(tmp_path):
    archive = tmp_path / "a.cpio"
    archive.write_bytes(_cpio({"init": b"12345", "agent": b"1234"}))
    with open(archive, "rb") as file:
        listed = subprocess.run(["cpio", "-itv", "--quiet"], stdin=file, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] + line.split()[-1] for line in listed.splitlines()] == ["-rwxr-xr-xinit", "-rwxr-xr-xagent"]
