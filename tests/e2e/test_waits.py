"""Waits that outlive the process that looks after them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.airflow_runs import Runs, wait_until
from tests.support.airflow_versions import IS_AIRFLOW_3

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_chartmogul.sandbox import Sandbox
    from scripts.local_airflow import LocalAirflow

DAG_ID = "example_wait_for_pipeline"
PIPELINE = "Distribution"
# Airflow 2 takes three times as long for each.
WAITS = 500 if IS_AIRFLOW_3 else 200


def test_a_killed_triggerer_loses_none_of_hundreds_of_mapped_waits(
    airflow: LocalAirflow, runs: Runs, sandbox: Sandbox, leaks_so_far: Callable[[], list[str]]
) -> None:
    sandbox.add_opportunity(pipeline=PIPELINE, forecast_category="won", amount_in_cents=5_000)
    uuids = [sandbox.add_opportunity(pipeline=PIPELINE, currency="EUR")["uuid"] for _ in range(WAITS)]
    run_id = runs.trigger(DAG_ID, pipeline=PIPELINE)
    wait_until(
        lambda: runs.count(DAG_ID, run_id, state="deferred") == WAITS,
        "all open opportunities are waited for",
        seconds=900,
    )
    # Afterwards the triggers are gone.
    assert leaks_so_far() == []

    for amount, uuid in enumerate(uuids):
        if amount == WAITS // 2:
            airflow.kill("triggerer")
        sandbox.set_opportunity(uuid, forecast_category=("lost", "won")[amount % 2], amount_in_cents=amount)
    airflow.start("triggerer")
    assert runs.outcome(DAG_ID, run_id, seconds=900) == "success"
    tasks = runs.tasks(DAG_ID, run_id, "wait")
    assert [(task["state"], task["try_number"]) for task in tasks] == [("success", 1)] * WAITS
    # Listed newest first.
    for map_index in (0, WAITS - 1):
        expected = sandbox.opportunity(uuids[-1 - map_index])
        assert runs.xcom(DAG_ID, run_id, "wait", map_index=map_index) == expected
    assert runs.xcom(DAG_ID, run_id, "report") == {"EUR": sum(range(1, WAITS, 2))}
