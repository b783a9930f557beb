"""A cluster, the sandbox with ChartMogul's limits, and one scenario with outages for all tests."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.fernet import Fernet

from airflow_provider_chartmogul.sandbox import Sandbox
from scripts.isolation import interrupt_on_signals
from tests.e2e_celery.cluster import Cluster
from tests.e2e_celery.figures import figures, what_failed
from tests.e2e_celery.outage import Record, live_through
from tests.e2e_celery.services import Postgres, Redis
from tests.support.secrets_scan import leaks

if TYPE_CHECKING:
    from collections.abc import Iterator

OPPORTUNITIES = 12_000
"""Sixty pages, which a triggerer within its rate limit reads in three seconds of each ten."""

_HOME = pytest.StashKey[Path]()
_RECORD = pytest.StashKey[Record]()


@pytest.fixture(scope="session")
def record_and_leaks(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Record, list[str]]]:
    interrupt_on_signals()
    began = time.monotonic()
    home = pytestconfig.stash[_HOME] = tmp_path_factory.mktemp("airflow")
    fernet_key = Fernet.generate_key().decode()
    with (
        Sandbox(opportunities=OPPORTUNITIES, seed=1, api_key="k3y-0f-the-outages") as sandbox,
        Postgres() as postgres,
        Redis() as redis,
        Cluster(
            home,
            postgres=postgres,
            redis=redis,
            secrets=tmp_path_factory.mktemp("secrets") / "connections.json",
            connections={"chartmogul_default": sandbox.connection_json},
            dags=Path(__file__).parent / "dags",
            fernet_key=fernet_key,
        ) as cluster,
    ):
        started = time.monotonic() - began
        try:
            record = live_through(cluster, sandbox, postgres)
        finally:
            shutil.copy(postgres.log, cluster.logs / "postgres.log")
        record.seconds = {"the cluster starts": started, **record.seconds}
        pytestconfig.stash[_RECORD] = record
        owners = [opportunity["owner"] for opportunity in record.opportunities]
        found = leaks(sandbox.api_key, owners, home=home, database=postgres.url, fernet_key=fernet_key)
        yield record, found


@pytest.fixture(scope="session")
def record(record_and_leaks: tuple[Record, list[str]]) -> Record:
    return record_and_leaks[0]


@pytest.fixture(scope="session")
def leaked(record_and_leaks: tuple[Record, list[str]]) -> list[str]:
    return record_and_leaks[1]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if _HOME in config.stash and (terminalreporter.getreports("failed") or terminalreporter.getreports("error")):
        for file, lines in what_failed(config.stash[_HOME]):
            terminalreporter.section(str(file))
            terminalreporter.write_line(lines)
    if _RECORD in config.stash:
        terminalreporter.section("figures of the outages")
        for name, value in figures(config.stash[_RECORD]):
            terminalreporter.write_line(f"{name:<55} {value:>20}")
