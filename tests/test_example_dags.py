from __future__ import annotations

import gzip
import importlib.util
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID
from airflow_provider_chartmogul.transfers.object_storage import ChartMogulToObjectStorageOperator
from tests.support.airflow_versions import IS_AIRFLOW_3, needs_watchers
from tests.support.dag_runs import AssetEvent, run_of

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.support.dag_runs import DagRun

FOLDER = Path(__file__).parents[1] / "example_dags"
NEEDS_AIRFLOW_3 = {"example_on_opportunity_won", "example_on_stage_change"}
FILES = [path for path in sorted(FOLDER.glob("*.py")) if IS_AIRFLOW_3 or path.stem not in NEEDS_AIRFLOW_3]


def dags_in(path: Path) -> list[DAG]:
    spec = importlib.util.spec_from_file_location(f"parsed_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # The DAG of a decorated function is not kept in the module, so call the function once more.
    made = [value for value in vars(module).values() if isinstance(value, DAG)]
    function = getattr(module, path.stem, None)
    return made or [function()] if callable(function) else made


def run_example(name: str, *asset_events: AssetEvent, **conf: Any) -> DagRun:
    def build() -> DAG:
        (dag,) = dags_in(FOLDER / f"{name}.py")
        return dag

    return run_of(build, conf, asset_events)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_is_one_documented_dag_without_requests_at_parse_time(path: Path, sandbox: Sandbox) -> None:
    (dag,) = dags_in(path)
    assert dag.dag_id == path.stem
    assert dag.description
    assert dag.doc_md
    assert len(dag.doc_md) > 200
    assert "chartmogul" in dag.tags
    assert dag.tasks
    assert sandbox.requests == []


def test_retrieve_opportunity(sandbox: Sandbox) -> None:
    run = run_example("example_retrieve_opportunity")
    assert run.start("retrieve_opportunity").result == sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)
    assert run.start("describe").result == "Discovery, 40 % likely to be won, expected to close on 2024-04-21"


def test_retrieve_opportunity_of_ones_own(sandbox: Sandbox) -> None:
    wanted = sandbox.opportunities[1]
    run = run_example("example_retrieve_opportunity", opportunity_uuid=wanted["uuid"])
    assert run.start("retrieve_opportunity").result == wanted


def test_wait_until_won(sandbox: Sandbox) -> None:
    run = run_example("example_wait_until_won")
    before = run.start("retrieve_opportunity").result
    assert before["forecast_category"] == "best_case"
    assert run.start("wait_until_won").state == "deferred"
    won = sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won")
    assert run.start("wait_until_won").result == won
    assert run.start("announce").result == "100.00 USD: best_case -> won"


def test_wait_until_won_when_it_is_lost(sandbox: Sandbox) -> None:
    run = run_example("example_wait_until_won")
    sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="lost")
    outcome = run.start("wait_until_won")
    assert outcome.state == "failed"
    assert "forecast category is now lost" in str(outcome.error)


def test_wait_for_pipeline(sandbox: Sandbox) -> None:
    first, second, decided = (opportunity["uuid"] for opportunity in sandbox.opportunities)
    for uuid in (first, second):
        sandbox.set_opportunity(uuid, pipeline="Partners", forecast_category="pipeline")
    sandbox.set_opportunity(decided, pipeline="Partners", forecast_category="won")
    sandbox.add_opportunity(pipeline="Another", forecast_category="pipeline")
    run = run_example("example_wait_for_pipeline", pipeline="Partners")
    assert len(run.start("list_opportunities").result) == 3
    assert run.start("choose_open").result == [first, second]
    assert run.start("wait").state == "deferred"
    sandbox.set_opportunity(first, forecast_category="lost")
    won = sandbox.set_opportunity(second, forecast_category="won", amount_in_cents=1234, currency="EUR")
    assert run.start("wait").result == [sandbox.opportunity(first), won]
    assert run.start("report").result == {"EUR": 1234}


def test_on_opportunity_won(sandbox: Sandbox) -> None:
    name = "example_on_opportunity_won"
    if not IS_AIRFLOW_3:
        with pytest.raises(ModuleNotFoundError, match=r"airflow\.sdk"):
            dags_in(FOLDER / f"{name}.py")
        return
    won = [
        sandbox.set_opportunity(opportunity["uuid"], forecast_category="won") for opportunity in sandbox.opportunities
    ]
    told = [{"from_trigger": True, "payload": {"opportunity_uuid": opportunity["uuid"]}} for opportunity in won]
    # Airflow may deliver an event twice, and several in one run.
    run = run_example(name, *(AssetEvent("chartmogul_opportunities_won", extra) for extra in [*told, told[0]]))
    uuids = run.start("opportunity_uuids").result
    assert uuids == sorted(opportunity["uuid"] for opportunity in won)
    assert run.start("retrieve_opportunities").result == [sandbox.opportunity(uuid) for uuid in uuids]
    assert run.start("celebrate").result == [f"{uuid} is won" for uuid in uuids]


@needs_watchers
def test_on_stage_change() -> None:
    def told(previous: str | None, current: str, updated_at: str) -> AssetEvent:
        payload = {
            "opportunity_uuid": EXAMPLE_OPPORTUNITY_UUID,
            "updated_at": updated_at,
            "changes": {"pipeline_stage": {"previous": previous, "current": current}},
        }
        return AssetEvent("chartmogul_stage_changes", {"from_trigger": True, "payload": payload})

    first, second = told(None, "Discovery", "1"), told("Discovery", "Negotiation", "2")
    run = run_example("example_on_stage_change", first, second, second)
    assert run.start("describe").result == [
        f"{EXAMPLE_OPPORTUNITY_UUID}: new -> Discovery",
        f"{EXAMPLE_OPPORTUNITY_UUID}: Discovery -> Negotiation",
    ]


def in_days(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()


def test_export_opportunities(sandbox: Sandbox, tmp_path: Path) -> None:
    run = run_example("example_export_opportunities", folder=f"file://{tmp_path}")
    result = run.start("export_opportunities").result
    (folder,) = tmp_path.iterdir()
    assert folder.name in (f"dt={in_days(0)}", f"dt={in_days(-1)}")  # before midnight
    path = folder / "opportunities.jsonl.gz"
    assert [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()] == sandbox.opportunities
    assert run.start("report").result == f"3 opportunities in {result['path']}"
    assert result["path"] == f"file://{path}"


def test_a_run_that_is_cleared_or_backfilled_writes_a_snapshot_of_its_own() -> None:
    (dag,) = dags_in(FOLDER / "example_export_opportunities.py")
    task = dag.get_task("export_opportunities")
    assert isinstance(task, ChartMogulToObjectStorageOperator)
    long_ago, today = datetime(2030, 1, 31, 3, tzinfo=UTC), datetime(2030, 3, 1, 12, tzinfo=UTC)
    run = SimpleNamespace(logical_date=None, run_after=long_ago, start_date=long_ago)
    context = {"params": {"folder": "f"}, "dag_run": run, "ti": SimpleNamespace(start_date=today)}
    template = dag.get_template_env().from_string(str(task.path))
    assert template.render(context) == "f/dt=2030-03-01/opportunities.jsonl.gz"
    # In `airflow dags test` of Airflow 2.
    assert (
        template.render(context | {"ti": SimpleNamespace(start_date=None)}) == "f/dt=2030-01-31/opportunities.jsonl.gz"
    )


def test_create_opportunity_from_lead(sandbox: Sandbox) -> None:
    run = run_example("example_create_opportunity_from_lead", seats=14)
    assert len(run.start("find_leads").result) == 2
    results = [run.start("create_opportunity", map_index=index).result for index in range(2)]
    assert sandbox.opportunities[:2] == results[::-1]
    assert [result["amount_in_cents"] for result in results] == [35_000, 62_500]
    assert [result["custom"]["seats"] for result in results] == [14, 25]
    assert len({result["custom"]["airflow_key"] for result in results}) == 2
    assert {result["owner"] for result in results} == {"owner@example.com"}
    assert results[0]["estimated_close_date"] in (in_days(30), in_days(29))


def test_stage_hygiene(sandbox: Sandbox) -> None:
    due, won, future = sandbox.opportunities
    sandbox.set_opportunity(due["uuid"], pipeline="New Business")
    sandbox.set_opportunity(won["uuid"], pipeline="New Business", forecast_category="won")
    sandbox.set_opportunity(future["uuid"], pipeline="New Business", estimated_close_date="2999-12-31")
    run = run_example("example_stage_hygiene")
    assert {opportunity["uuid"] for opportunity in run.start("list_due").result} == {due["uuid"], won["uuid"]}
    assert run.start("choose_open").result == [due["uuid"]]
    sandbox.clear_requests()
    outcome = run.start("postpone", map_index=0)
    assert outcome.result == sandbox.opportunity(due["uuid"])
    assert outcome.result["estimated_close_date"] in (in_days(14), in_days(13))
    assert sandbox.requests[0].body == {"estimated_close_date": outcome.result["estimated_close_date"]}


def test_each_example_is_run_here() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    for path in FILES:
        assert path.stem.removeprefix("example_") in tested
