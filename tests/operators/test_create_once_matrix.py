"""Each combination of a lost response and a new try: one opportunity, or an error that names the candidates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_chartmogul.exceptions import ChartMogulAmbiguousCreateError
from airflow_provider_chartmogul.sandbox import Fault
from tests.support.creations import LOST_RESPONSES, TIMEOUT, after_creating, created_in, dag, kill
from tests.support.dag_runs import run_of
from tests.support.opportunities import NEW

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Connect
    from tests.support.dag_runs import DagRun, Outcome


def in_hook_retry(run: DagRun) -> Outcome:
    return run.start("create")


def airflow_retry(run: DagRun) -> Outcome:
    assert run.start("create").state == "up_for_retry"
    return run.start("create")


def cleared_after_failure(run: DagRun) -> Outcome:
    assert run.start("create").state == "failed"
    run.clear("create")
    return run.start("create")


def cleared_without_state_store(run: DagRun) -> Outcome:
    assert run.start("create").state == "failed"
    run.clear("create", keep_state=False)
    return run.start("create")


def cleared_after_success(run: DagRun) -> Outcome:
    assert run.start("create").state == "success"
    run.clear("create")
    return run.start("create")


def backfill_rerun(run: DagRun) -> Outcome:
    assert run.start("create").state == "failed"
    run.backfill_again("create")
    return run.start("create")


WAYS: dict[str, tuple[Callable[[DagRun], Outcome], dict[str, Any]]] = {
    # how the task is run; options of the operator
    "in-hook retry": (in_hook_retry, {}),
    "Airflow retry": (airflow_retry, {}),
    "killed worker": (airflow_retry, {}),
    "cleared after success": (cleared_after_success, {}),
    "cleared after failure": (cleared_after_failure, {"retries": 0}),
    "cleared without a state store": (cleared_without_state_store, {"retries": 0}),
    "backfill rerun": (backfill_rerun, {"retries": 0}),
}


ONE_FOR_EACH_CLASS_OF_ERROR = ("reset", "502", "JSON that is no opportunity")


def an_hour_ago() -> str:
    return (datetime.now(UTC) - timedelta(hours=1)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.mark.parametrize("attribute", [None, "airflow_key"], ids=["fields", "key"])
@pytest.mark.parametrize("has_acted", [False, True], ids=["not acted", "acted"])
@pytest.mark.parametrize(
    ("way", "fault"),
    [
        (way, fault)
        for way in WAYS
        for fault in (LOST_RESPONSES if way == "in-hook retry" else ONE_FOR_EACH_CLASS_OF_ERROR)
    ],
)
def test_never_two_and_never_anothers(
    *,
    fault: str,
    has_acted: bool,
    way: str,
    attribute: str | None,
    chartmogul_sandbox: Sandbox,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sandbox = chartmogul_sandbox
    start, options = WAYS[way]
    is_retried_in_hook = way in ("in-hook retry", "cleared after success")
    # A short one only where a response never comes: a busy machine must not turn others into timeouts.
    timeout = TIMEOUT if LOST_RESPONSES[fault]["kind"] in ("hang", "slow") else 30
    connect(extra={"max_retries": 2 if is_retried_in_hook else 0, "timeout": timeout})
    anothers = sandbox.add_opportunity(**NEW, created_at=an_hour_ago())
    sandbox.inject_fault(Fault(**LOST_RESPONSES[fault], method="POST", after_acting=has_acted))
    if way == "killed worker":
        after_creating(monkeypatch, kill)
    elif not is_retried_in_hook:
        after_creating(monkeypatch, lambda: sandbox.inject_fault(Fault("status", status=503, method="GET")))

    outcome = start(run_of(lambda: dag(idempotency_attribute=attribute, **options)))

    own = [opportunity for opportunity in created_in(sandbox) if opportunity["uuid"] != anothers["uuid"]]
    assert len(own) <= 1
    if outcome.state == "success":
        assert own == [outcome.result]
    else:
        assert attribute is None
        assert has_acted or way == "cleared after success"
        assert isinstance(outcome.error, AirflowFailException)
        assert isinstance(outcome.error.__cause__, ChartMogulAmbiguousCreateError)
        assert f"{own[0]['uuid']} (created {own[0]['created_at']})" in str(outcome.error)
        assert anothers["uuid"] not in str(outcome.error)
        assert "ada@example.com" not in str(outcome.error)
