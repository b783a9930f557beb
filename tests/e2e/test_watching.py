"""A DAG that runs because an opportunity was won."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.e2e.runs import Runs, wait_until

if TYPE_CHECKING:
    from local_airflow import LocalAirflow

    from airflow_provider_chartmogul.sandbox import Sandbox

DAG_ID = "example_on_opportunity_won"
SECONDS_UNTIL_A_BASELINE = 30


def win_one(sandbox: Sandbox) -> str:
    uuid = next(one["uuid"] for one in sandbox.opportunities if one["forecast_category"] == "pipeline")
    sandbox.set_opportunity(uuid, forecast_category="won")
    return str(uuid)


def finished_runs_for(runs: Runs, uuid: str) -> list[str]:
    """Return the finished runs that retrieved the opportunity."""
    found = []
    for run in runs.of(DAG_ID):
        if run["state"] == "success":
            for task in runs.tasks(DAG_ID, run["dag_run_id"], "retrieve_opportunity"):
                xcom = runs.xcom(DAG_ID, run["dag_run_id"], "retrieve_opportunity", map_index=task["map_index"])
                if xcom["uuid"] == uuid:
                    found.append(run["dag_run_id"])
    return found


def test_a_change_starts_a_run_also_when_no_triggerer_ran_at_the_time(
    airflow: LocalAirflow, runs: Runs, sandbox: Sandbox
) -> None:
    runs.of(DAG_ID)
    sandbox.clear_requests()
    wait_until(
        lambda: any(request.path == "/v1/opportunities" for request in sandbox.requests), "the watcher has looked"
    )
    time.sleep(SECONDS_UNTIL_A_BASELINE)

    uuid = win_one(sandbox)
    wait_until(lambda: finished_runs_for(runs, uuid), "a run for the change has finished")
    time.sleep(SECONDS_UNTIL_A_BASELINE)

    airflow.kill("triggerer")
    uuid_meanwhile = win_one(sandbox)
    airflow.start("triggerer")
    wait_until(lambda: finished_runs_for(runs, uuid_meanwhile), "a run for the change in between has finished")
    assert len(finished_runs_for(runs, uuid)) == 1
    assert len(finished_runs_for(runs, uuid_meanwhile)) == 1
