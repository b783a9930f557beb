"""A complete Airflow and the sandbox, for all end-to-end tests."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.fernet import Fernet

from airflow_provider_chartmogul.sandbox import Sandbox
from scripts.isolation import REPOSITORY
from scripts.local_airflow import LocalAirflow
from tests.support import airflow_logs as logs
from tests.support.airflow_runs import Runs
from tests.support.airflow_versions import IS_AIRFLOW_3
from tests.support.local_airflow2 import LocalAirflow2
from tests.support.secrets_scan import leaks

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

NEEDS_AIRFLOW_3 = [
    "e2e_no_worker.py",
    "example_on_opportunity_won.py",
    "example_on_stage_change.py",
    "test_no_worker.py",
    "test_watchers.py",
]

collect_ignore = [] if IS_AIRFLOW_3 else NEEDS_AIRFLOW_3


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(opportunities=450, seed=1, api_key="k3y-0f-the-end-to-end-tests") as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def fernet_key() -> str:
    return Fernet.generate_key().decode()


class StatsD:
    """A StatsD server, for the metrics of Airflow's components."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._values: dict[str, list[float]] = {}
        threading.Thread(target=self._receive, daemon=True).start()

    def latest(self, name: str) -> float:
        """Return the last value of a metric; 0 if none came."""
        return self._values.get(f"airflow.{name}", [0.0])[-1]

    def total(self, name: str) -> float:
        """Return the sum of a counter's values."""
        return sum(self._values.get(f"airflow.{name}", ()))

    def _receive(self) -> None:
        while True:
            name, _, rest = self._socket.recv(65_535).decode().partition(":")
            self._values.setdefault(name, []).append(float(rest.partition("|")[0]))


@pytest.fixture(scope="session")
def statsd() -> StatsD:
    return StatsD()


@pytest.fixture(scope="session")
def airflow(
    sandbox: Sandbox, fernet_key: str, statsd: StatsD, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalAirflow]:
    dags = tmp_path_factory.mktemp("dags")
    for folder in (REPOSITORY / "example_dags", REPOSITORY / "tests/e2e/dags"):
        shutil.copytree(folder, dags, ignore=shutil.ignore_patterns(*collect_ignore), dirs_exist_ok=True)
    # Its schedule also starts it, as soon as it is parsed.
    export = dags / "example_export_opportunities.py"
    export.write_text(export.read_text().replace("/tmp/chartmogul", str(tmp_path_factory.mktemp("exported"))))  # noqa: S108
    with (LocalAirflow if IS_AIRFLOW_3 else LocalAirflow2)(
        tmp_path_factory.mktemp("airflow"),
        connections={"chartmogul_default": json.dumps({**sandbox.connection, "extra": {"timeout": 2}})},
        poke_interval=1.0,
        CORE__DEFAULT_TASK_RETRY_DELAY="1",
        CORE__FERNET_KEY=fernet_key,
        CORE__DAGS_FOLDER=str(dags),
        CORE__MAX_ACTIVE_TASKS_PER_DAG="200",
        CORE__PARALLELISM="8",
        # Another triggerer takes over after this time when one is killed.
        METRICS__STATSD_ON="True",
        METRICS__STATSD_HOST="127.0.0.1",
        METRICS__STATSD_PORT=str(statsd.port),
        TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD="10",
    ) as airflow:
        yield airflow


@pytest.fixture(scope="session", autouse=True)
def leaks_so_far(airflow: LocalAirflow, sandbox: Sandbox, fernet_key: str) -> Iterator[Callable[[], list[str]]]:
    """Return a function that lists leaks of the API key and of email addresses; call it at the end."""
    owners = [opportunity["owner"] for opportunity in sandbox.opportunities]
    database = f"sqlite:///{airflow.home}/airflow.db"

    def leaks_so_far() -> list[str]:
        return leaks(sandbox.api_key, owners, home=airflow.home, database=database, fernet_key=fernet_key)

    yield leaks_so_far
    found = leaks_so_far()
    assert not found, "\n".join(found)


@pytest.fixture
def runs(airflow: LocalAirflow) -> Runs:
    return Runs(airflow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add Airflow's logs to the report of a failed test, since CI keeps only the output."""
    report = yield
    fixtures: dict[str, Any] = getattr(item, "funcargs", {})
    if report.failed and call.when == "call" and "airflow" in fixtures:
        report.sections += logs.report(fixtures["airflow"])
    return report
