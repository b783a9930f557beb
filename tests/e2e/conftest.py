"""A complete Airflow and the sandbox, for all end-to-end tests."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from cryptography.fernet import Fernet
from isolation import REPOSITORY
from local_airflow import LocalAirflow

from airflow_provider_chartmogul.sandbox import Sandbox
from tests.e2e.runs import Runs
from tests.secrets_scan import leaks

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(opportunities=450, seed=1, api_key="k3y-0f-the-end-to-end-tests") as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def airflow(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    dags = tmp_path_factory.mktemp("dags")
    for folder in (REPOSITORY / "example_dags", REPOSITORY / "tests/e2e/dags"):
        shutil.copytree(folder, dags, dirs_exist_ok=True)
    fernet_key = Fernet.generate_key().decode()
    with LocalAirflow(
        tmp_path_factory.mktemp("airflow"),
        connections={"chartmogul_default": sandbox.connection_json},
        poke_interval=1.0,
        CORE__FERNET_KEY=fernet_key,
        CORE__DAGS_FOLDER=str(dags),
        CORE__MAX_ACTIVE_TASKS_PER_DAG="200",
    ) as airflow:
        yield airflow
        owners = [opportunity["owner"] for opportunity in sandbox.opportunities]
        database = f"sqlite:///{airflow.home}/airflow.db"
        assert leaks(sandbox.api_key, owners, home=airflow.home, database=database, fernet_key=fernet_key) == []


@pytest.fixture
def runs(airflow: LocalAirflow) -> Runs:
    return Runs(airflow)
