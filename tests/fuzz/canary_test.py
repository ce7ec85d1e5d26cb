# SPDX-License-Identifier: Apache-2.0
"""That a fuzzer would find a bug: it passes as it is, and fails with the bug planted (canary.h).

usage: canary_test.py PROGRAM CORPUS CANARY MESSAGE

MESSAGE is a regular expression for what the program must say of the bug.
"""

import os
import re
import subprocess
import sys


def run(program: str, corpus: str, canary: str) -> subprocess.CompletedProcess[str]:
    """A short run, with this bug planted unless it is empty."""
    command = [program, "--runs=100", f"--corpus={corpus}"]
    environment = dict(os.environ, ZBDKIT_FUZZ_CANARY=canary)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def main() -> int:
    program, corpus, canary, message = sys.argv[1:]
    healthy = run(program, corpus, "")
    if healthy.returncode != 0:
        print(f"{program} fails without a bug planted:\n{healthy.stderr}")
        return 1
    sick = run(program, corpus, canary)
    if sick.returncode == 0 or not re.search(message, sick.stderr):
        print(f"{program} does not find the bug '{canary}': status {sick.returncode}\n{sick.stderr}")
        return 1
    print(f"found '{canary}': {re.search(message, sick.stderr)[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
