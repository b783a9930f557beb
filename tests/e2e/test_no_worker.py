"""Waits that start and end in the triggerer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.airflow_runs import Runs, wait_until

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox

DAG_ID = "e2e_no_worker"
WAITS = 40


def test_no_task_gets_a_worker_and_all_return_the_opportunity(runs: Runs, sandbox: Sandbox) -> None:
    uuid = sandbox.add_opportunity(forecast_category="pipeline")["uuid"]
    run_id = runs.trigger(DAG_ID, opportunity_uuid=uuid)
    wait_until(lambda: runs.count(DAG_ID, run_id, state="deferred") == WAITS, "all wait")
    committed = sandbox.set_opportunity(uuid, forecast_category="committed")
    assert runs.outcome(DAG_ID, run_id) == "success"
    tasks = runs.tasks(DAG_ID, run_id)
    assert {(task["pid"], task["hostname"], task["queued_when"]) for task in tasks} == {(None, "", None)}
    assert all(runs.xcom(DAG_ID, run_id, task["task_id"]) == committed for task in tasks)
