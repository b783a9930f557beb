"""Run a complete Airflow on this machine: API server with web page, scheduler, DAG processor, triggerer."""

from __future__ import annotations

import contextlib
import fcntl
import json
import secrets
import shutil
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any, ClassVar, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from scripts.isolation import (
    Command,
    airflow_command,
    airflow_environment,
    stop_all,
    write_airflow_config,
    write_cluster_policies,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SECONDS_UNTIL_HEALTHY = 120
LINES_OF_LOG_SHOWN = 30


class LocalAirflowError(Exception):
    """Airflow did not start, or a component ended."""


class LocalAirflow:
    """
    A complete Airflow on loopback, with SQLite and no login; a context manager.

    Entering clears the folder, starts the components and waits until they are healthy. Leaving ends their
    processes and keeps the folder with the ``logs``.

    :param home: the ``AIRFLOW_HOME``, which is cleared
    :param port: of the web page and the REST API; 0 for any free port
    :param connections: the Airflow connections to store, as JSON by connection id
    :param poke_interval: seconds between two polls of each sensor and asset watcher; None for those of the DAGs
    :param pause_scheduled: whether new DAGs with a cron schedule are paused
    :param settings: more Airflow options, named as in environment variables: ``SECTION__KEY``
    """

    # The REST API's server comes first.
    _components: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "api-server": ("api-server",),
        # Their log servers would listen on all interfaces. The API server reads the log files itself.
        "scheduler": ("scheduler", "--skip-serve-logs"),
        "dag-processor": ("dag-processor",),
        "triggerer": ("triggerer", "--skip-serve-logs"),
    }
    _api_path = "/api/v2"
    _health_path = "/api/v2/monitor/health"

    def __init__(
        self,
        home: Path,
        *,
        port: int = 0,
        connections: Mapping[str, str] | None = None,
        poke_interval: float | None = None,
        pause_scheduled: bool = False,
        **settings: str,
    ) -> None:
        port = port or free_port()
        self.home = home.resolve()
        self.logs = self.home / "logs"
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._connections = connections or {}
        self._poke_interval = poke_interval
        self._pause_scheduled = pause_scheduled
        defaults = {
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "CORE__PARALLELISM": "4",
            "CORE__TEST_CONNECTION": "Enabled",
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
        }
        self._settings = {**defaults, **self._server_settings(), **settings}
        self._environment = airflow_environment(self.home)
        self._running: dict[str, Command] = {}
        self._stack = contextlib.ExitStack()
        self._session = requests.Session()
        self._session.trust_env = False
        # On a busy machine the API server waits for SQLite's lock, answers 500 after 5 s, and has changed nothing. A
        # longer wait would not help: its own requests wait for each other.
        retries = Retry(
            total=None,
            connect=0,
            read=0,
            status=5,
            backoff_factor=0.5,
            status_forcelist=[500],
            allowed_methods=None,
            raise_on_status=False,
        )
        self._session.mount(self.url, HTTPAdapter(max_retries=retries))

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._claim_home(stack)
            write_airflow_config(self.home, **self._settings)
            if self._poke_interval is not None:
                write_cluster_policies(
                    self.home, poll_interval=self._poke_interval, pause_scheduled=self._pause_scheduled
                )
            self._run_once("db", "migrate")
            self._store_connections()
            stack.callback(lambda: stop_all(self._running.values()))
            for name in self._components:
                self.start(name)
            self._wait_until_healthy()
            self._log_in()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def api(self, method: str, path: str, json: Any = None) -> Any:
        """
        Send a request to Airflow's REST API and return the JSON of the response.

        :param method: the HTTP method
        :param path: below ``/api/v2/``, such as ``dags/example_wait_until_won/dagRuns``
        :param json: the request body
        :raises requests.HTTPError: if the response is an error
        """
        return self._send(method, f"{self._api_path}/{path}", json)

    def cli(self, *arguments: str) -> str:
        """
        Run an ``airflow`` command and return its standard output.

        :raises LocalAirflowError: if it fails, with its output
        """
        command = airflow_command(*arguments)
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LocalAirflowError(f"airflow {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def check(self) -> None:
        """
        Check that all components are running.

        :raises LocalAirflowError: if one has ended, with the end of its log
        """
        for name, command in self._running.items():
            if (exit_code := command.exit_code()) is not None:
                raise LocalAirflowError(f"{name} ended with exit code {exit_code}. {self._end_of_log(name)}")

    def start(self, component: str) -> None:
        """
        Start a component.

        :param component: ``api-server``, ``scheduler``, ``dag-processor`` or ``triggerer``
        """
        with self._log(component).open("a") as log:
            self._running[component] = Command(airflow_command(*self._components[component]), self._environment, log)

    def kill(self, component: str) -> None:
        """
        Kill a component and its processes, as in a crash.

        :param component: as for :meth:`start`
        """
        # A process may start another meanwhile.
        while self._running[component].is_alive():
            self._running[component].send(signal.SIGKILL)

    def _server_settings(self) -> dict[str, str]:
        """Return the options that open the web page and the REST API to this machine only, without login."""
        return {
            "API__BASE_URL": self.url,
            "API__HOST": "127.0.0.1",
            "API__PORT": str(self.port),
            "API__SECRET_KEY": secrets.token_hex(16),
            "API_AUTH__JWT_SECRET": secrets.token_hex(64),
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        }

    def _log_in(self) -> None:
        token = self._send("GET", "/auth/token")["access_token"]
        self._session.headers["Authorization"] = f"Bearer {token}"

    def _claim_home(self, stack: contextlib.ExitStack) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError as error:
                raise LocalAirflowError(f"Cannot use port {self.port}: {error.strerror}.") from None
        self.home.mkdir(parents=True, exist_ok=True)
        lock_file = self.home / "lock"
        if any(self.home.iterdir()) and not lock_file.exists():
            raise LocalAirflowError(f"{self.home} contains files of something else, which would be deleted.")
        lock = stack.enter_context(lock_file.open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LocalAirflowError(f"Another Airflow is running in {self.home}.") from None
        for entry in self.home.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != lock_file:
                entry.unlink()
        self.logs.mkdir()

    def _run_once(self, *arguments: str) -> None:
        name = arguments[0]
        with self._log(name).open("a") as log:
            command = Command(airflow_command(*arguments), self._environment, log)
        with command:
            if command.wait() != 0:
                raise LocalAirflowError(f"airflow {' '.join(arguments)} failed. {self._end_of_log(name)}")

    def _store_connections(self) -> None:
        if self._connections:
            file = self.home / "connections.json"
            file.write_text(json.dumps({name: json.loads(text) for name, text in self._connections.items()}))
            self._run_once("connections", "import", str(file))
            file.unlink()

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + SECONDS_UNTIL_HEALTHY
        while (missing := self._unhealthy()) and time.monotonic() < deadline:
            self.check()
            time.sleep(0.25)
        if missing:
            ends = [self._end_of_log(name) for name in missing if name in self._running]
            raise LocalAirflowError("\n\n".join([f"Not healthy after {SECONDS_UNTIL_HEALTHY} s: {missing}.", *ends]))

    def _unhealthy(self) -> list[str]:
        try:
            health = self._send("GET", self._health_path)
        except requests.RequestException:
            return [next(iter(self._components))]
        states = {name.replace("_", "-"): state["status"] for name, state in health.items()}
        return [name for name in ("metadatabase", *self._components) if states.get(name, "healthy") != "healthy"]

    def _send(self, method: str, path: str, json: Any = None) -> Any:
        response = self._session.request(method, self.url + path, json=json, timeout=30)
        response.raise_for_status()
        return response.json() if response.content else None

    def _log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def _end_of_log(self, name: str) -> str:
        lines = self._log(name).read_text(errors="replace").splitlines()
        return "\n".join([f"The end of {self._log(name)}:", "", *lines[-LINES_OF_LOG_SHOWN:]])


def free_port() -> int:
    """Return a free port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
