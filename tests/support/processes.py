"""Python in a separate process."""

from __future__ import annotations

import subprocess
import sys


def run_apart(program: str) -> str:
    """Run a program and return the last line that it prints."""
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # the tests' own
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]
