"""The web server of Airflow 2, on loopback and without a login, to look at its connection form."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING, Self

import requests
from isolation import Command, airflow_command, airflow_environment
from local_airflow import free_port

from tests.e2e.runs import wait_until

if TYPE_CHECKING:
    from pathlib import Path


class WebServer:
    """
    A context manager.

    :param home: the ``AIRFLOW_HOME``, an empty folder
    """

    def __init__(self, home: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._log = home / "webserver.log"
        self._environment = airflow_environment(
            home,
            WEBSERVER__WEB_SERVER_HOST="127.0.0.1",
            WEBSERVER__WEB_SERVER_PORT=str(port),
            WEBSERVER__WORKERS="1",
        )
        (home / "webserver_config.py").write_text("AUTH_ROLE_PUBLIC = 'Admin'\n")
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.cli("db", "migrate")
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(self._log.open("w"))
            server = stack.enter_context(Command(airflow_command("webserver"), self._environment, log))
            wait_until(lambda: server.exit_code() is not None or self._answers(), "the web server answers")
            assert server.exit_code() is None, self._log.read_text()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def cli(self, *arguments: str) -> str:
        """Run an ``airflow`` command and return what it prints."""
        done = subprocess.run(  # noqa: S603  # what the tests give it
            airflow_command(*arguments), env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=5).ok
        except requests.RequestException:
            return False
