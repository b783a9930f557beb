"""Every example, from its trigger to its results in XCom and in ChartMogul."""

from __future__ import annotations

import gzip
import json
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Fault, Sandbox
from scripts.isolation import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.airflow_runs import Runs


def finished_run(runs: Runs, dag_id: str, **conf: Any) -> str:
    run_id = runs.trigger(dag_id, **conf)
    assert runs.outcome(dag_id, run_id) == "success"
    return run_id


def days_after_start(runs: Runs, dag_id: str, run_id: str, days: int) -> str:
    started = date.fromisoformat(runs.get(dag_id, run_id)["start_date"][:10])
    return (started + timedelta(days=days)).isoformat()


def results(runs: Runs, dag_id: str, run_id: str, task_id: str) -> list[Any]:
    """Return the result of each instance of a mapped task."""
    indexes = sorted(task["map_index"] for task in runs.tasks(dag_id, run_id, task_id))
    return [runs.xcom(dag_id, run_id, task_id, map_index=index) for index in indexes]


def test_retrieve_opportunity(runs: Runs, sandbox: Sandbox) -> None:
    dag_id = "example_retrieve_opportunity"
    wanted = sandbox.opportunities[1]
    run_id = finished_run(runs, dag_id, opportunity_uuid=wanted["uuid"])
    assert runs.xcom(dag_id, run_id, "retrieve_opportunity") == wanted
    assert runs.xcom(dag_id, run_id, "describe").startswith(f"{wanted['pipeline_stage']}, {wanted['win_likelihood']} %")


def test_wait_until_won(runs: Runs, sandbox: Sandbox) -> None:
    dag_id = "example_wait_until_won"
    sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="best_case")
    run_id = runs.trigger(dag_id)
    runs.wait_until_deferred(dag_id, run_id, "wait_until_won")
    sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won")
    assert runs.outcome(dag_id, run_id) == "success"
    assert runs.xcom(dag_id, run_id, "retrieve_opportunity")["forecast_category"] == "best_case"
    assert runs.xcom(dag_id, run_id, "wait_until_won") == sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)
    assert "best_case -> won" in runs.xcom(dag_id, run_id, "announce")


def test_export_opportunities(runs: Runs, sandbox: Sandbox, tmp_path: Path) -> None:
    dag_id = "example_export_opportunities"
    run_id = finished_run(runs, dag_id, folder=f"file://{tmp_path}")
    path = tmp_path / f"dt={days_after_start(runs, dag_id, run_id, 0)}" / "opportunities.jsonl.gz"
    assert [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()] == sandbox.opportunities
    exported = runs.xcom(dag_id, run_id, "export_opportunities")
    assert (exported["path"], exported["rows"]) == (f"file://{path}", len(sandbox.opportunities))
    assert runs.xcom(dag_id, run_id, "report") == f"{exported['rows']} opportunities in {exported['path']}"


def test_create_opportunity_from_lead(runs: Runs, sandbox: Sandbox) -> None:
    dag_id = "example_create_opportunity_from_lead"
    known = {opportunity["uuid"] for opportunity in sandbox.opportunities}
    lost_response = Fault(kind="reset", method="POST", after_acting=True, times=1)
    sandbox.inject_fault(lost_response)
    run_id = finished_run(runs, dag_id, sales_rep="ada@example.com", seats=14)
    created = [opportunity for opportunity in sandbox.opportunities if opportunity["uuid"] not in known]
    assert sorted(opportunity["amount_in_cents"] for opportunity in created) == [35_000, 62_500]
    assert {opportunity["owner"] for opportunity in created} == {"ada@example.com"}
    close_date = days_after_start(runs, dag_id, run_id, 30)
    assert {opportunity["estimated_close_date"] for opportunity in created} == {close_date}
    returned = results(runs, dag_id, run_id, "create_opportunity")
    assert sorted(returned, key=lambda one: str(one["uuid"])) == sorted(created, key=lambda one: str(one["uuid"]))


def test_wait_for_pipeline(runs: Runs, sandbox: Sandbox) -> None:
    dag_id, pipeline = "example_wait_for_pipeline", "Distribution"
    sandbox.add_opportunity(pipeline=pipeline, forecast_category="won", amount_in_cents=5_000)
    uuids = [sandbox.add_opportunity(pipeline=pipeline, currency="EUR")["uuid"] for _ in range(4)]
    run_id = runs.trigger(dag_id, pipeline=pipeline)
    runs.wait_until_deferred(dag_id, run_id, "wait")
    for amount, uuid in enumerate(uuids):
        sandbox.set_opportunity(uuid, forecast_category=("lost", "won")[amount % 2], amount_in_cents=amount)
    assert runs.outcome(dag_id, run_id) == "success"
    assert runs.xcom(dag_id, run_id, "report") == {"EUR": 1 + 3}


def test_stage_hygiene(runs: Runs, sandbox: Sandbox) -> None:
    dag_id, pipeline = "example_stage_hygiene", "Partners"
    due = [sandbox.add_opportunity(pipeline=pipeline, estimated_close_date="2024-04-21") for _ in range(2)]
    kept = [
        sandbox.add_opportunity(pipeline=pipeline, estimated_close_date="2024-04-21", forecast_category="lost"),
        sandbox.add_opportunity(pipeline=pipeline, estimated_close_date="2999-12-31"),
        sandbox.add_opportunity(estimated_close_date="2024-04-21"),
    ]
    run_id = finished_run(runs, dag_id, pipeline=pipeline)
    close_date = days_after_start(runs, dag_id, run_id, 14)
    postponed = [sandbox.opportunity(opportunity["uuid"]) for opportunity in due]
    for before, after in zip(due, postponed, strict=True):
        assert after == {**before, "estimated_close_date": close_date, "updated_at": after["updated_at"]}
    assert [sandbox.opportunity(opportunity["uuid"]) for opportunity in kept] == kept
    # Listed newest first.
    assert results(runs, dag_id, run_id, "postpone") == postponed[::-1]


def test_each_example_is_run_here_or_in_a_module_of_its_own() -> None:
    examples = {path.stem for path in (REPOSITORY / "example_dags").glob("*.py")}
    run_here = {name.replace("test_", "example_", 1) for name in globals()}
    assert examples <= run_here | {"example_on_opportunity_won", "example_on_stage_change"}
