"""Parse and run the DAGs of the documentation."""

from __future__ import annotations

import graphlib
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID
from tests.support.airflow_versions import AIRFLOW_VERSION
from tests.support.dag_runs import AssetEvent, Outcome, run_of

if AIRFLOW_VERSION >= (3, 2):
    from airflow.dag_processing.dagbag import DagBag
else:
    from airflow.models.dagbag import DagBag  # type: ignore[no-redef]  # mypy sees the newest

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.providers.common.compat.sdk import DAG

    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.support.dag_runs import DagRun

_WON = AssetEvent(
    "opportunities_won", {"from_trigger": True, "payload": {"opportunity_uuid": EXAMPLE_OPPORTUNITY_UUID}}
)


def dag_in(path: Path) -> DAG:
    """Parse a file as Airflow does and return its DAG."""
    bag = DagBag(path)
    assert not bag.import_errors, bag.import_errors
    (dag,) = bag.dags.values()
    return dag


def run_all_tasks(path: Path, sandbox: Sandbox) -> dict[str, list[Outcome]]:
    """Run the tasks of the DAG in a file, in topological order; return the outcome of each."""
    dag = dag_in(path)
    run = run_of(lambda: dag_in(path), {}, (_WON,))
    outcomes: dict[str, list[Outcome]] = {}
    for task_id in graphlib.TopologicalSorter(
        {task.task_id: task.upstream_task_ids for task in dag.tasks}
    ).static_order():
        indexes = _map_indexes(dag.get_task(task_id), outcomes)
        outcomes[task_id] = [_run_to_its_end(run, task_id, index, sandbox) for index in indexes]
    return outcomes


def _map_indexes(task: Any, outcomes: dict[str, list[Outcome]]) -> list[int]:
    if not hasattr(task, "expand_input"):
        return [-1]
    expand_input = getattr(task, "op_kwargs_expand_input", None) or task.expand_input
    (values,) = expand_input.value.values()
    if not isinstance(values, list):
        (upstream,) = outcomes[values.operator.task_id]
        values = upstream.result
    return list(range(len(values)))


def _run_to_its_end(run: DagRun, task_id: str, map_index: int, sandbox: Sandbox) -> Outcome:
    outcome = run.start(task_id, map_index=map_index)
    if outcome.state == "deferred":
        for opportunity in sandbox.opportunities:
            sandbox.set_opportunity(opportunity["uuid"], forecast_category="won")
        outcome = run.start(task_id, map_index=map_index)
    return outcome
