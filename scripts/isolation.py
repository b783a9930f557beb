"""Run Airflow commands isolated from the user's environment."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from configparser import ConfigParser
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import FrameType

REPOSITORY = Path(__file__).resolve().parent.parent

# All other variables are left out: AIRFLOW__*, AIRFLOW_CONN_*, PYTHONPATH, HTTP_PROXY, ...
_INHERITED = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER")

_CLUSTER_POLICIES = """\
# Airflow applies these policies to each task and DAG that it loads.
PAUSE_SCHEDULED = {pause_scheduled}


def task_policy(task):
    if hasattr(task, "poke_interval"):
        task.poke_interval = {seconds}
    elif hasattr(getattr(task, "operator_class", None), "poke"):  # a mapped sensor
        task.partial_kwargs["poke_interval"] = {seconds}


def dag_policy(dag):
    # Airflow 2 calls it schedule_interval.
    schedule = dag.schedule if hasattr(dag, "schedule") else dag.schedule_interval
    if PAUSE_SCHEDULED and isinstance(schedule, str):
        dag.is_paused_upon_creation = True
    assets = getattr(dag.timetable, "asset_condition", None)
    for asset in getattr(assets, "objects", ()):
        for watcher in getattr(asset, "watchers", ()):
            watcher.trigger.poll_interval = {seconds}
"""


def airflow_environment(home: Path) -> dict[str, str]:
    """
    Return the environment variables of an isolated Airflow.

    :param home: the ``AIRFLOW_HOME``
    """
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return environment | {
        "AIRFLOW_HOME": str(home),
        # On macOS, looking up proxies kills forked processes. Only loopback is reached anyway.
        "NO_PROXY": "*",
        "PYTHONSAFEPATH": "1",  # no airflow_local_settings.py or the like from the working directory
    }


def write_airflow_config(home: Path, **settings: str) -> None:
    """
    Write the ``airflow.cfg`` of an Airflow that runs the example DAGs.

    In a file rather than in variables, so that commands in another terminal need ``AIRFLOW_HOME`` only.

    :param home: the ``AIRFLOW_HOME``, which also receives the SQLite database and the logs
    :param settings: Airflow options, named as in environment variables: ``SECTION__KEY``
    """
    options = {
        "CORE__DAGS_FOLDER": str(REPOSITORY / "example_dags"),
        "CORE__FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "CORE__LOAD_EXAMPLES": "False",
        **settings,
    }
    config = ConfigParser(interpolation=None)
    for name, value in options.items():
        section, _, key = name.lower().partition("__")
        if not config.has_section(section):
            config.add_section(section)
        config.set(section, key, value.replace("%", "%%"))
    home.mkdir(parents=True, exist_ok=True)
    file = home / "airflow.cfg"
    file.touch(mode=0o600)
    with file.open("w") as stream:
        config.write(stream)


def airflow_command(*arguments: str) -> list[str]:
    """Return the command line that runs the ``airflow`` of this Python."""
    return [sys.executable, "-m", "airflow", *arguments]


def write_cluster_policies(home: Path, *, poll_interval: float, pause_scheduled: bool = False) -> None:
    """
    Shorten the intervals of all sensors and asset watchers, so that the example DAGs can keep realistic ones.

    :param home: the ``AIRFLOW_HOME``
    :param poll_interval: seconds between two polls
    :param pause_scheduled: whether new DAGs with a cron schedule are paused
    """
    config = home / "config"
    config.mkdir(parents=True, exist_ok=True)
    policies = _CLUSTER_POLICIES.format(seconds=poll_interval, pause_scheduled=pause_scheduled)
    (config / "airflow_local_settings.py").write_text(policies)


def interrupt_on_signals() -> None:
    """Raise KeyboardInterrupt on the first SIGINT, SIGTERM or SIGHUP; ignore further ones during the cleanup."""
    stop_signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        for number in stop_signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in stop_signals:
        signal.signal(number, interrupt)


class Command:
    """
    A running command with all processes that it starts; leaving the context ends them all.

    They are identified by their session, since Airflow gives each task a process group of its own.

    :param arguments: the command line
    :param environment: its environment variables
    :param output: receives stdout and stderr: an open file, or ``PIPE`` to read them from ``lines``
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
        """The output, line by line, if ``output`` is a pipe."""
        if self._process.stdout is None:
            raise ValueError("The output of this command is not a pipe.")
        return self._process.stdout

    def exit_code(self) -> int | None:
        """Return the exit code of the command, None while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Wait until the command has ended and return its exit code."""
        return self._process.wait()

    def is_alive(self) -> bool:
        """Return whether any of its processes is running."""
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
    End commands with all their processes: SIGTERM first, then SIGKILL.

    :param grace: seconds before SIGKILL
    """
    alive = list(commands)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for command in alive:
            command.send(number)
        deadline = time.monotonic() + grace
        while (alive := [command for command in alive if command.is_alive()]) and time.monotonic() < deadline:
            time.sleep(0.05)
