"""The folder of a local Airflow: its configuration and its cluster policies."""

from __future__ import annotations

import datetime
import runpy
import stat
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_chartmogul.sandbox import Sandbox
from airflow_provider_chartmogul.sensors.opportunity import OpportunityForecastCategorySensor
from scripts.airflow_with_sandbox import CATEGORY_INTERVAL, advance_all
from scripts.isolation import airflow_environment, write_airflow_config, write_cluster_policies
from scripts.local_airflow import LocalAirflow
from tests.support.raw_server import PONG, RawServer

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_configuration_is_in_a_private_file_and_not_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "of the user")
    write_airflow_config(tmp_path, CORE__PARALLELISM="4", LOGGING__LOG_FORMAT="%(message)s")

    file = tmp_path / "airflow.cfg"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lines = file.read_text().splitlines()
    assert {"[core]", "parallelism = 4", "[logging]", "log_format = %%(message)s"} <= set(lines)
    assert any(line.startswith("fernet_key = ") for line in lines)
    environment = airflow_environment(tmp_path)
    assert [name for name in environment if name.startswith("AIRFLOW_")] == ["AIRFLOW_HOME"]


def test_the_policies_shorten_intervals_and_pause_what_a_clock_would_start(tmp_path: Path) -> None:
    write_cluster_policies(tmp_path, poll_interval=2, pause_scheduled=True)
    policies = runpy.run_path(str(tmp_path / "config" / "airflow_local_settings.py"))
    with DAG("nightly", schedule="0 3 * * *", start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)) as nightly:
        plain = OpportunityForecastCategorySensor(task_id="plain", opportunity_uuid="u", target_categories="won")
        mapped = OpportunityForecastCategorySensor.partial(task_id="mapped").expand(opportunity_uuid=["u", "v"])
    with DAG("by_hand", schedule=None) as by_hand:
        pass
    for dag in (nightly, by_hand):
        policies["dag_policy"](dag)
    for task in (plain, mapped):
        policies["task_policy"](task)

    assert plain.poke_interval == 2
    assert mapped.partial_kwargs["poke_interval"] == 2
    assert nightly.is_paused_upon_creation
    assert not by_hand.is_paused_upon_creation


def test_a_request_that_did_not_get_the_lock_of_the_database_is_sent_again(tmp_path: Path) -> None:
    busy = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"
    responses = iter([busy, PONG])
    with RawServer(lambda _: [next(responses)]) as server:
        airflow = LocalAirflow(tmp_path, port=int(server.address.rpartition(":")[2]))
        assert airflow.api("POST", "dags/a/dagRuns") == {"data": "pong!"}
        first, second = server.requests
        assert first == second


def test_each_open_opportunity_is_closed_within_a_round_and_the_example_is_won() -> None:
    sandbox = Sandbox(opportunities=25)
    uuids = sandbox.open_opportunity_uuids
    categories: dict[str, list[str]] = {uuid: [] for uuid in uuids}

    class Recorder:
        def advance(self, uuid: str, *steps: str, every: float) -> None:
            assert every == CATEGORY_INTERVAL
            categories[uuid] += steps

    advance_all(Recorder(), uuids)  # type: ignore[arg-type]  # a partial stand-in
    first, *others = categories.values()
    assert "won" in first
    assert "lost" not in first
    assert all({"won", "lost"} & set(steps) for steps in others)
    # They are never all closed, so that a wait finds open ones.
    assert all({steps[step] for steps in categories.values()} - {"won", "lost"} for step in range(3))
