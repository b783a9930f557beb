from __future__ import annotations

import base64
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import sqlalchemy
from cryptography.fernet import Fernet

from tests.support.secrets_scan import leaks

if TYPE_CHECKING:
    from pathlib import Path

# The scan includes all processes of the machine, and so those of concurrent tests.
KEY = f"k3y-that-0nly-process-{os.getpid():08}-knows"
EMAIL = "grace@example.org"
FERNET_KEY = Fernet.generate_key().decode()


class Airflow:
    """A folder and a database like Airflow's."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.database = f"sqlite:///{home}/airflow.db"
        (home / "logs").mkdir()
        self.write("xcom", "value", f'{{"owner": "{EMAIL}"}}')
        self.write("connection", "password", KEY)
        (home / "airflow.db").rename(home.parent / "airflow.db")
        self.database = f"sqlite:///{home.parent}/airflow.db"

    def write(self, table: str, column: str, value: str) -> None:
        engine = sqlalchemy.create_engine(self.database)
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text(f'CREATE TABLE "{table}" ("{column}" TEXT)'))
            connection.execute(sqlalchemy.text(f'INSERT INTO "{table}" VALUES (:value)'), {"value": value})  # noqa: S608
        engine.dispose()

    def leaks(self) -> list[str]:
        found = leaks(KEY, [EMAIL], home=self.home, database=self.database, fernet_key=FERNET_KEY)
        return [place.partition(":")[0].removeprefix(f"{self.home}/") for place in found]


@pytest.fixture
def airflow(tmp_path: Path) -> Airflow:
    (tmp_path / "home").mkdir()
    return Airflow(tmp_path / "home")


def test_an_airflow_that_keeps_its_secrets_is_clean(airflow: Airflow) -> None:
    (airflow.home / "logs" / "scheduler.log").write_text("nothing to see")
    assert airflow.leaks() == []


@pytest.mark.parametrize("before", ["", "a", "ab", "Grace:"])
@pytest.mark.parametrize("after", ["", ":", "\n"])
def test_a_key_in_a_log_is_found_in_any_base64(before: str, after: str, airflow: Airflow) -> None:
    encoded = base64.b64encode(f"{before}{KEY}{after}".encode()).decode()
    (airflow.home / "logs" / "scheduler.log").write_text(f"Authorization: Basic {encoded}")
    assert airflow.leaks() == ["logs/scheduler.log"]


@pytest.mark.parametrize("secret", [KEY, EMAIL], ids=["key", "email"])
def test_keys_and_addresses_in_logs_are_found(secret: str, airflow: Airflow) -> None:
    (airflow.home / "logs" / "scheduler.log").write_text(f"{secret} was there")
    assert airflow.leaks() == ["logs/scheduler.log"]


def test_a_key_in_another_file_is_found(airflow: Airflow) -> None:
    (airflow.home / "connections.json").write_text(KEY)
    assert airflow.leaks() == ["connections.json"]


def test_a_key_in_the_database_is_found(airflow: Airflow) -> None:
    airflow.write("rendered_task_instance_fields", "rendered_fields", f'{{"x": "{KEY}"}}')
    assert airflow.leaks() == ["rendered_task_instance_fields.rendered_fields"]


def test_a_key_in_encrypted_trigger_kwargs_is_found(airflow: Airflow) -> None:
    airflow.write("trigger", "kwargs", Fernet(FERNET_KEY).encrypt(KEY.encode()).decode())
    assert airflow.leaks() == ["trigger.kwargs"]


def test_a_key_among_the_arguments_of_a_process_is_found(airflow: Airflow) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()", KEY], stdin=subprocess.PIPE) as process:  # noqa: S603
        found = airflow.leaks()
        process.communicate(b"\n")
    assert found == [f"process {process.pid}"]
