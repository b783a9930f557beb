"""Airflow's commands, run in another process beside the running Airflow."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from scripts.isolation import airflow_command

if TYPE_CHECKING:
    from scripts.local_airflow import LocalAirflow


def test_a_stored_connection_is_tested_with_nothing_but_airflow_home(airflow: LocalAirflow) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    done = subprocess.run(  # noqa: S603  # our own interpreter
        airflow_command("connections", "test", "chartmogul_default"),
        env=environment | {"AIRFLOW_HOME": str(airflow.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Connection success!" in done.stdout, done.stdout + done.stderr
