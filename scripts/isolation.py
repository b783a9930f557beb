"""Run Airflow commands that take nothing from the user's environment and leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import FrameType

REPOSITORY = Path(__file__).resolve().parent.parent

# Everything else stays out: AIRFLOW__*, AIRFLOW_CONN_*, PYTHONPATH, HTTP_PROXY, ...
_INHERITED = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER")

_SECONDS_UNTIL_KILLED = 5.0

_POKE_INTERVAL_POLICY = """\
# A cluster policy: Airflow calls it for every task it loads.
def task_policy(task):
    if hasattr(task, "poke_interval"):
        task.poke_interval = {seconds}
"""


def airflow_environment(home: Path, **settings: str) -> dict[str, str]:
    """
    Return the environment of an Airflow that lives in a folder of its own and runs our example DAGs.

    :param home: becomes ``AIRFLOW_HOME``; the SQLite database and the logs end up here
    :param settings: Airflow options by the names that environment variables give them, ``SECTION__KEY``
    """
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    options = {
        "CORE__DAGS_FOLDER": str(REPOSITORY / "example_dags"),
        "CORE__FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "CORE__LOAD_EXAMPLES": "False",
        **settings,
    }
    return environment | {
        "AIRFLOW_HOME": str(home),
        # On macOS looking proxies up kills forked processes; there is nothing but loopback to reach anyway.
        "NO_PROXY": "*",
        **{f"AIRFLOW__{name}": value for name, value in options.items()},
    }


def airflow_command(*arguments: str) -> list[str]:
    """Return the command line that runs the ``airflow`` of this Python."""
    return [sys.executable, "-m", "airflow", *arguments]


def shorten_poke_intervals(home: Path, seconds: float) -> None:
    """
    Let every sensor of this Airflow look often, so that the example DAGs can say what is sensible.

    :param home: the ``AIRFLOW_HOME``
    :param seconds: the interval between two looks
    """
    config = home / "config"
    config.mkdir(parents=True, exist_ok=True)
    (config / "airflow_local_settings.py").write_text(_POKE_INTERVAL_POLICY.format(seconds=seconds))


def interrupt_on_signals() -> None:
    """Turn the first Ctrl-C, TERM or hang-up into a KeyboardInterrupt; ignore more while we clean up."""
    stop_signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        for number in stop_signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in stop_signals:
        signal.signal(number, interrupt)


class ProcessGroup:
    """
    A command and all the processes it starts; leaving its context ends them all.

    :param command: the command line
    :param environment: all of its environment variables
    :param output: where stdout and stderr go: an open file, or ``PIPE`` to read them from ``lines``
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str], output: IO[str] | int) -> None:
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            errors="replace",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def lines(self) -> IO[str]:
        """What the command writes, line by line, if ``output`` is a pipe."""
        if self._process.stdout is None:
            raise ValueError("The output of this command goes elsewhere.")
        return self._process.stdout

    def exit_code(self) -> int | None:
        """Return the exit code of the command, None while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Wait until the command has ended and return its exit code."""
        return self._process.wait()

    def terminate(self) -> None:
        """Ask all processes of the group to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End all processes of the group by force."""
        self._signal(signal.SIGKILL)

    def stop(self, grace: float = 5.0) -> None:
        """
        End all processes of the group, by force where asking does not help.

        :param grace: how long, in seconds, they may take to end by themselves
        """
        self.terminate()
        if not self._gone_within(grace):
            self.kill()
            self._gone_within(_SECONDS_UNTIL_KILLED)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while True:
            self._process.poll()  # reaps the command itself, which otherwise stays in the group as a zombie
            try:
                os.killpg(self._process.pid, 0)
            except ProcessLookupError:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def stop_all(groups: Iterable[ProcessGroup], grace: float = 5.0) -> None:
    """
    End several process groups at the same time.

    :param grace: how long, in seconds, they may take together to end by themselves
    """
    groups = list(groups)
    for group in groups:
        group.terminate()
    deadline = time.monotonic() + grace
    for group in groups:
        group.stop(max(0.0, deadline - time.monotonic()))
