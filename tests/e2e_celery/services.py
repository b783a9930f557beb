"""Postgres and Redis on loopback, in scratch folders."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from scripts.isolation import Command
from scripts.local_airflow import free_port

SECONDS_UNTIL_READY = 30


class Postgres:
    """A Postgres server; a context manager. As root it runs as the user postgres, since it refuses to run as root."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="chartmogul-postgres-"))
        self._port = free_port()
        self.log = self._folder / "log"
        self.url = f"postgresql+psycopg2://airflow@127.0.0.1:{self._port}/postgres"

    def __enter__(self) -> Self:
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres")
        # Only the server is killed, not the machine, so fsync is unnecessary.
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        try:
            self._run("initdb", "--username=airflow", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
            self._run("pg_ctl", "start", f"--log={self.log}", f"--options={options} -c max_connections=300")
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._run("pg_ctl", "stop", "--mode=immediate")
        finally:
            shutil.rmtree(self._folder)

    def restart(self) -> None:
        """Abort all connections and restart from the data on disk, as after a crash."""
        self._run("pg_ctl", "restart", "--mode=immediate", f"--log={self.log}")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(_folder_of_postgres() / program), f"--pgdata={self._folder / 'data'}", *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 0:
            log = self.log.read_text() if self.log.exists() else ""
            raise RuntimeError(f"{program} failed:\n{done.stdout}{done.stderr}{log}")


class Redis:
    """A Redis server without persistence; a context manager."""

    def __init__(self) -> None:
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def __enter__(self) -> Self:
        arguments = ("--bind", "127.0.0.1", "--port", str(self._port), "--save", "", "--appendonly", "no")
        self._command = Command([_program("redis-server"), *arguments], dict(os.environ), subprocess.DEVNULL)
        _wait_for_port(self._port, self._command)
        return self

    def __exit__(self, *_: object) -> None:
        self._command.__exit__()


def _folder_of_postgres() -> Path:
    # Debian installs them outside the PATH, in one folder for each version.
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    return installed[-1] if installed else Path(_program("pg_ctl")).parent


def _program(name: str) -> str:
    if path := shutil.which(name):
        return path
    raise RuntimeError(f"{name} is not installed.")


def _wait_for_port(port: int, command: Command) -> None:
    deadline = time.monotonic() + SECONDS_UNTIL_READY
    while command.exit_code() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    command.__exit__()
    raise RuntimeError(f"Nobody listens on port {port}; exit code {command.exit_code()}.")
