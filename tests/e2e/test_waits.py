"""Waits that survive the triggerer that runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.airflow_versions import IS_AIRFLOW_3

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_chartmogul.sandbox import Sandbox
    from scripts.local_airflow import LocalAirflow
    from tests.support.airflow_runs import Runs

# Airflow 2 takes three times as long for each.
MAPPED_WAITS = 300 if IS_AIRFLOW_3 else 100
OPPORTUNITIES_OF_ONE_WAIT = 5_000


class Case(NamedTuple):
    """A DAG, and its numbers of tasks and opportunities."""

    dag_id: str
    number: int
    tasks: int


MAPPED = Case("e2e_mapped_waits", MAPPED_WAITS, MAPPED_WAITS)
ONE = Case("e2e_one_wait", OPPORTUNITIES_OF_ONE_WAIT, 1)


@pytest.mark.parametrize("case", [MAPPED, ONE], ids=["mapped", "one"])
def test_a_killed_triggerer_loses_no_wait(
    case: Case, airflow: LocalAirflow, runs: Runs, sandbox: Sandbox, leaks_so_far: Callable[[], list[str]]
) -> None:
    dag_id, number, tasks = case
    uuids = [sandbox.add_opportunity(pipeline="Renewals", forecast_category="pipeline")["uuid"] for _ in range(number)]
    run_id = runs.trigger(dag_id, opportunity_uuids=uuids)
    runs.wait_until_deferred(dag_id, run_id, "wait", tasks=tasks, seconds=900)
    # The triggers are deleted afterwards.
    assert leaks_so_far() == []

    for position, uuid in enumerate(uuids):
        if position == number // 2:
            airflow.kill("triggerer")
        sandbox.set_opportunity(uuid, forecast_category="lost", amount_in_cents=position)
    airflow.start("triggerer")
    assert runs.outcome(dag_id, run_id, seconds=900) == "success"
    ended = [task for task in runs.tasks(dag_id, run_id, "wait") if task["state"] != "removed"]
    assert [(task["state"], task["try_number"]) for task in ended] == [("success", 1)] * tasks
    if tasks == 1:
        returned = runs.xcom(dag_id, run_id, "wait")
        assert [one["uuid"] for one in returned] == uuids
        assert returned[-1] == sandbox.opportunity(uuids[-1])
    else:
        for map_index in (0, number - 1):
            assert runs.xcom(dag_id, run_id, "wait", map_index=map_index) == sandbox.opportunity(uuids[map_index])
