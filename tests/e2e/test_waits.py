"""Waits that outlive the process that looks after them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.runs import Runs, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from local_airflow import LocalAirflow

    from airflow_provider_chartmogul.sandbox import Sandbox

WAITS = 200


def test_a_killed_triggerer_loses_none_of_two_hundred_waits(
    airflow: LocalAirflow, runs: Runs, sandbox: Sandbox, leaks_so_far: Callable[[], list[str]]
) -> None:
    dag_id = "e2e_many_waits"
    uuids = [opportunity["uuid"] for opportunity in sandbox.opportunities if opportunity["forecast_category"] != "lost"]
    uuids = uuids[-WAITS:]
    assert len(uuids) == WAITS
    run_id = runs.trigger(dag_id, opportunity_uuids=uuids)
    wait_until(
        lambda: runs.count(dag_id, run_id, state="deferred") == WAITS,
        "all waits are deferred",
        seconds=900,
    )
    # Afterwards the triggers are gone.
    assert leaks_so_far() == []

    first, second = uuids[: WAITS // 2], uuids[WAITS // 2 :]
    for uuid in first:
        sandbox.set_opportunity(uuid, forecast_category="lost")
    airflow.kill("triggerer")
    for uuid in second:
        sandbox.set_opportunity(uuid, forecast_category="lost")
    airflow.start("triggerer")
    assert runs.outcome(dag_id, run_id, seconds=900) == "success"
    tasks = runs.tasks(dag_id, run_id, "wait")
    assert [task["state"] for task in tasks] == ["success"] * WAITS
    assert {task["try_number"] for task in tasks} == {1}
    returned = {runs.xcom(dag_id, run_id, "wait", map_index=task["map_index"])["uuid"] for task in tasks}
    assert returned == set(uuids)
