# SPDX-License-Identifier: Apache-2.0
"""The trace points of docs/tracing.md with bpftrace, on a kernel that this machine need not have."""

import pytest

from daemon import program

REQUESTS = 'usdt:/run/t/zbdkit:zbdkit:request_end { printf("%s at %d: %s, %d us\\n", str(arg1), arg2, str(arg4), arg5 / 1000); }'


@pytest.fixture(scope="module")
def traced(guest):
    if not guest.run("command -v bpftrace").ok:
        pytest.skip("no bpftrace: apt install bpftrace")
    # A copy, since the kernel cannot put a breakpoint into a file of 9p.
    guest.sh(f"mkdir -p /run/t && cp {program()} /run/t/zbdkit && cd /run/t && ./zbdkit create disk.zbd 64M -o zone.size=4M")
    return guest


def trace(guest, script: str, commands: str) -> list[str]:
    """What bpftrace prints while `zbdkit io` performs the commands, more than once if need be."""
    return guest.sh(
        f"""cd /run/t
        bpftrace -e '{script}' >out 2>err & tracer=$!
        for _ in $(seq 200); do grep -q Attaching out && break; sleep 0.1; done
        # It says so before it does so.
        for _ in $(seq 50); do ./zbdkit io {commands} disk.zbd >/dev/null 2>&1; grep -q : out && break; sleep 0.1; done
        kill -INT $tracer; wait $tracer; cat out err""",
        timeout=100,
    ).splitlines()


def test_one_liner_of_the_manual_shows_requests_and_how_they_end(traced):
    printed = trace(traced, REQUESTS, '-c "zrs 0 4M" -c "zrp 0 1" -c "zap 0 4k" -c "zf 0 4M" -c "zap 0 4k"')
    ends = [line.rsplit(",", 1)[0] for line in printed if " at " in line]
    assert "report_zones at 0: ok" in ends
    assert "append at 0: ok" in ends
    assert "zone_finish at 0: ok" in ends
    assert "append at 0: zone_invalid" in ends
