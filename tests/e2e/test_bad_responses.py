"""Wrong, late and truncated responses of ChartMogul during the waits of a real triggerer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from airflow_provider_chartmogul.sandbox import Fault
from tests.support.airflow_runs import Runs, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_chartmogul.sandbox import Sandbox
    from scripts.local_airflow import LocalAirflow

DAG_ID = "e2e_one_wait"
LIST = "/v1/opportunities$"
WAITS = 60  # enough for the list to be read


@dataclass(frozen=True)
class Case:
    """A fault of the list, and its text in the triggerer's log."""

    name: str
    fault: Fault
    log: str


CASES = [
    Case("404", Fault("status", status=404, path=LIST, times=None), "HTTP 404"),
    Case("hang", Fault("hang", path=LIST, seconds=300, times=None), "timed out after 2 s"),
    Case(
        "broken page",
        Fault("body", body='{"entries":[],"cursor":null,"has_more":true}', path=LIST, times=None),
        "has_more is true without a cursor",
    ),
]


@pytest.fixture(autouse=True)
def _faults_end(sandbox: Sandbox) -> Iterator[None]:
    yield
    sandbox.clear_faults()


def start_waiting(sandbox: Sandbox, runs: Runs) -> tuple[str, list[str]]:
    uuids = [sandbox.add_opportunity(pipeline="Renewals", forecast_category="pipeline")["uuid"] for _ in range(WAITS)]
    run_id = runs.trigger(DAG_ID, opportunity_uuids=uuids)
    runs.wait_until_deferred(DAG_ID, run_id, "wait")
    return run_id, uuids


def lose(sandbox: Sandbox, uuids: list[str]) -> None:
    for uuid in uuids:
        sandbox.set_opportunity(uuid, forecast_category="lost")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_broken_list_ends_no_wait_and_keeps_none_from_its_end(
    case: Case, airflow: LocalAirflow, runs: Runs, sandbox: Sandbox
) -> None:
    log = airflow.logs / "triggerer.log"
    run_id, uuids = start_waiting(sandbox, runs)
    read_before = log.stat().st_size
    sandbox.inject_fault(case.fault)
    wait_until(lambda: case.log in log.read_bytes()[read_before:].decode(errors="replace"), f"the log says {case.log}")
    lose(sandbox, uuids)
    assert runs.outcome(DAG_ID, run_id) == "success"
    line = next(
        line for line in log.read_bytes()[read_before:].decode(errors="replace").splitlines() if case.log in line
    )
    assert "chartmogul_default" in line


def test_a_get_that_hangs_delays_no_other_wait(runs: Runs, sandbox: Sandbox) -> None:
    dag_id = "e2e_mapped_waits"
    uuids = [sandbox.add_opportunity(pipeline="Renewals", forecast_category="pipeline")["uuid"] for _ in range(3)]
    run_id = runs.trigger(dag_id, opportunity_uuids=uuids)
    runs.wait_until_deferred(dag_id, run_id, "wait", tasks=len(uuids))
    hanging, *others = uuids
    sandbox.inject_fault(Fault("hang", path=hanging, seconds=300, times=None))
    # The watchers read the list, which would end the other wait too.
    lose(sandbox, others)
    finished = 1 + len(others)
    wait_until(lambda: runs.count(dag_id, run_id, state="success") == finished, "the others end", seconds=30)
    assert runs.get(dag_id, run_id)["state"] == "running"
    sandbox.clear_faults()
    lose(sandbox, [hanging])
    assert runs.outcome(dag_id, run_id) == "success"


def test_lists_that_come_back_short_end_no_wait(runs: Runs, sandbox: Sandbox) -> None:
    run_id, uuids = start_waiting(sandbox, runs)
    short = Fault("body", body='{"entries":[],"cursor":null,"has_more":false}', path=LIST, times=3)
    sandbox.inject_fault(short)
    lose(sandbox, uuids)
    assert runs.outcome(DAG_ID, run_id) == "success"
