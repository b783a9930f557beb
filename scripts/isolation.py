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

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import FrameType

REPOSITORY = Path(__file__).resolve().parent.parent

# Everything else stays out: AIRFLOW__*, AIRFLOW_CONN_*, PYTHONPATH, HTTP_PROXY, ...
_INHERITED = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER")

_POLL_INTERVAL_POLICY = """\
# Cluster policies: Airflow calls them for every task and every DAG it loads.
def task_policy(task):
    if hasattr(task, "poke_interval"):
        task.poke_interval = {seconds}


def dag_policy(dag):
    assets = getattr(dag.timetable, "asset_condition", None)
    for asset in getattr(assets, "objects", ()):
        for watcher in getattr(asset, "watchers", ()):
            watcher.trigger.poll_interval = {seconds}
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
        "PYTHONSAFEPATH": "1",  # no airflow_local_settings.py or the like from where the command is run
        **{f"AIRFLOW__{name}": value for name, value in options.items()},
    }


def airflow_command(*arguments: str) -> list[str]:
    """Return the command line that runs the ``airflow`` of this Python."""
    return [sys.executable, "-m", "airflow", *arguments]


def shorten_poke_intervals(home: Path, seconds: float) -> None:
    """
    Let every sensor and asset watcher of this Airflow look often, so that the example DAGs can say what is sensible.

    :param home: the ``AIRFLOW_HOME``
    :param seconds: the interval between two looks
    """
    config = home / "config"
    config.mkdir(parents=True, exist_ok=True)
    (config / "airflow_local_settings.py").write_text(_POLL_INTERVAL_POLICY.format(seconds=seconds))


def interrupt_on_signals() -> None:
    """Turn the first Ctrl-C, TERM or hang-up into a KeyboardInterrupt; ignore more while we clean up."""
    stop_signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        for number in stop_signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in stop_signals:
        signal.signal(number, interrupt)


class Command:
    """
    A running command and all the processes it starts; leaving its context ends them all.

    They are told by their session. Their process group would not do: Airflow gives each task one of its own.

    :param arguments: the command line
    :param environment: all of its environment variables
    :param output: where stdout and stderr go: an open file, or ``PIPE`` to read them from ``lines``
    """

    def __init__(self, arguments: Sequence[str], environment: dict[str, str], output: IO[str] | int) -> None:
        self._process = subprocess.Popen(
            arguments,
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
        stop_all([self])

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

    def is_alive(self) -> bool:
        """Tell whether any of its processes is running."""
        return self.exit_code() is None or bool(self._pids())

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all of its processes."""
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _pids(self) -> list[int]:
        return [pid for pid in psutil.pids() if self._started(pid)]

    def _started(self, pid: int) -> bool:
        try:
            is_ours = os.getsid(pid) == self._process.pid
            return is_ours and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except (PermissionError, ProcessLookupError, psutil.NoSuchProcess):
            return False


def stop_all(commands: Iterable[Command], grace: float = 5.0) -> None:
    """
    End commands with all their processes, by force where asking does not help.

    :param grace: how long, in seconds, they may take to end by themselves
    """
    alive = list(commands)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for command in alive:
            command.send(number)
        deadline = time.monotonic() + grace
        while (alive := [command for command in alive if command.is_alive()]) and time.monotonic() < deadline:
            time.sleep(0.05)
