"""The fixture for DAG authors, in a separate test suite."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

CONFTEST = 'pytest_plugins = ["airflow_provider_chartmogul.sandbox.pytest_plugin"]\n'
TESTS = """
import json
import os

import requests

def test_the_connection_leads_to_the_running_sandbox(chartmogul_sandbox):
    connection = json.loads(os.environ["AIRFLOW_CONN_CHARTMOGUL_DEFAULT"])
    assert connection == chartmogul_sandbox.connection
    with requests.get(connection["host"] + "/v1/ping", auth=(connection["password"], ""), timeout=10) as response:
        assert response.json() == {"data": "pong!"}
    assert len(chartmogul_sandbox.opportunities) == 3
    chartmogul_sandbox.add_opportunity()

def test_every_test_has_a_sandbox_of_its_own(chartmogul_sandbox):
    assert len(chartmogul_sandbox.opportunities) == 3

def test_without_the_fixture_there_is_no_connection():
    assert "AIRFLOW_CONN_CHARTMOGUL_DEFAULT" not in os.environ
"""


def test_the_fixture_works_in_the_test_suite_of_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_CHARTMOGUL_DEFAULT", raising=False)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_dag.py").write_text(TESTS)
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
