"""Waiting, with a real scheduler, worker and triggerer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Sandbox
from tests.e2e.runs import Runs, wait_until

if TYPE_CHECKING:
    from local_airflow import LocalAirflow

WAITS = 200


def test_the_example_waits_until_the_opportunity_is_won(runs: Runs, sandbox: Sandbox) -> None:
    dag_id = "example_wait_until_won"
    sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="best_case")
    run_id = runs.trigger(dag_id)
    wait_until(
        lambda: runs.tasks(dag_id, run_id, "wait_until_won")[0]["state"] in ("deferred", "up_for_reschedule"),
        "the sensor waits",
    )
    sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won")
    assert runs.outcome(dag_id, run_id) == "success"
    assert runs.xcom(dag_id, run_id, "retrieve_opportunity")["forecast_category"] == "best_case"
    assert runs.xcom(dag_id, run_id, "wait_until_won") == sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)
    assert "best_case -> won" in runs.xcom(dag_id, run_id, "announce")


def test_a_killed_triggerer_loses_none_of_two_hundred_waits(
    airflow: LocalAirflow, runs: Runs, sandbox: Sandbox
) -> None:
    dag_id = "e2e_many_waits"
    uuids = [opportunity["uuid"] for opportunity in sandbox.opportunities if opportunity["forecast_category"] != "lost"]
    uuids = uuids[-WAITS:]
    assert len(uuids) == WAITS
    run_id = runs.trigger(dag_id, opportunity_uuids=uuids)
    wait_until(
        lambda: sum(task["state"] == "deferred" for task in runs.tasks(dag_id, run_id, "wait")) == WAITS,
        "all waits are deferred",
        seconds=400,
    )
    first, second = uuids[: WAITS // 2], uuids[WAITS // 2 :]
    for uuid in first:
        sandbox.set_opportunity(uuid, forecast_category="lost")
    airflow.kill("triggerer")
    for uuid in second:
        sandbox.set_opportunity(uuid, forecast_category="lost")
    airflow.start("triggerer")
    assert runs.outcome(dag_id, run_id, seconds=400) == "success"
    tasks = runs.tasks(dag_id, run_id, "wait")
    assert [task["state"] for task in tasks] == ["success"] * WAITS
    assert {task["try_number"] for task in tasks} == {1}
    returned = {runs.xcom(dag_id, run_id, "wait", map_index=task["map_index"])["uuid"] for task in tasks}
    assert returned == set(uuids)
