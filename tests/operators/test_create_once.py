"""A lost answer, a retried task or a killed worker: one opportunity, or a refusal that names the candidates."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_provider_chartmogul.exceptions import ChartMogulError
from airflow_provider_chartmogul.hooks import _create_once as create_once
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.sandbox import Fault
from tests.support.airflow_versions import HAS_TASK_STATE_STORE
from tests.support.creations import (
    LOST_ANSWERS,
    TIMEOUT,
    WorkerKilledError,
    after_creating,
    create,
    created_in,
    dag,
    kill,
)
from tests.support.dag_runs import run_of
from tests.support.opportunities import FIELDS, STORED

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Connect, Logs


@pytest.fixture(params=LOST_ANSWERS)
def fault(request: pytest.FixtureRequest) -> dict[str, Any]:
    return LOST_ANSWERS[request.param]


@pytest.fixture(params=[False, True], ids=["before acting", "after acting"])
def has_acted(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> None:
    monkeypatch.setattr(create_once, "time", SimpleNamespace(sleep=waits.append))


@pytest.fixture
def sandbox(chartmogul_sandbox: Sandbox, connect: Connect) -> Sandbox:
    connect(extra={"max_retries": 2, "timeout": TIMEOUT})
    return chartmogul_sandbox


def test_there_is_one_when_an_answer_is_lost_within_a_try(
    sandbox: Sandbox,
    fault: dict[str, Any],
    has_acted: bool,  # noqa: FBT001
) -> None:
    sandbox.inject_fault(Fault(**fault, method="POST", after_acting=has_acted))
    result = create().execute({})
    assert created_in(sandbox) == [result]
    assert result.items() >= STORED.items()


def test_there_is_one_when_airflow_retries(
    sandbox: Sandbox,
    fault: dict[str, Any],
    has_acted: bool,  # noqa: FBT001
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect(extra={"max_retries": 0, "timeout": TIMEOUT})
    sandbox.inject_fault(Fault(**fault, method="POST", after_acting=has_acted))
    after_creating(monkeypatch, lambda: sandbox.inject_fault(Fault("status", status=503, method="GET")))
    run = run_of(dag)
    first = run.start("create")
    assert first.state == "up_for_retry"
    assert isinstance(first.error, ChartMogulError)
    second = run.start("create")
    assert second.state == "success"
    assert created_in(sandbox) == [second.result]


def test_there_is_one_when_the_worker_is_killed(
    sandbox: Sandbox,
    fault: dict[str, Any],
    has_acted: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sandbox.inject_fault(Fault(**fault, method="POST", after_acting=has_acted))
    after_creating(monkeypatch, kill)
    run = run_of(dag)
    assert isinstance(run.start("create").error, WorkerKilledError)
    second = run.start("create")
    assert second.state == "success"
    assert created_in(sandbox) == [second.result]


def test_there_is_one_when_the_worker_is_killed_after_the_answer(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_creating(monkeypatch, kill)
    run = run_of(dag)
    assert isinstance(run.start("create").error, WorkerKilledError)
    second = run.start("create")
    assert second.state == "success"
    assert created_in(sandbox) == [second.result]


def test_there_is_one_when_the_worker_is_killed_before_the_request(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ChartMogulHook, "create_opportunity", lambda *_, **__: kill())
        run = run_of(dag)
        assert isinstance(run.start("create").error, WorkerKilledError)
    second = run.start("create")
    assert second.state == "success"
    assert created_in(sandbox) == [second.result]


def test_one_is_found_that_was_created_before_the_run_failed_and_was_cleared(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(create_once, "_CLOCKS_DIFFER_BY", timedelta(0))
    after_creating(monkeypatch, kill)
    run = run_of(dag)
    assert isinstance(run.start("create").error, WorkerKilledError)
    run.clear("create")
    second = run.start("create")
    assert second.state == "success"
    assert created_in(sandbox) == [second.result]


def test_there_is_one_when_every_answer_of_every_try_is_lost(sandbox: Sandbox, connect: Connect) -> None:
    connect(extra={"max_retries": 0})
    run = run_of(dag)
    for _ in range(2):
        sandbox.inject_fault(Fault("status", status=502, method="POST"))
        assert run.start("create").state == "up_for_retry"
    sandbox.inject_fault(Fault("status", status=502, method="POST", after_acting=True))
    third = run.start("create")
    assert third.state == "success"
    assert created_in(sandbox) == [third.result]


def test_a_clean_creation_sends_one_request_to_create(sandbox: Sandbox) -> None:
    result = create().execute({})
    assert created_in(sandbox) == [result]
    assert [request.method for request in sandbox.requests] == ["GET", "POST"]


def test_retries_within_a_try_are_limited(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("status", status=502, method="POST", times=None))
    with pytest.raises(ChartMogulError, match="HTTP 502"):
        create().execute({})
    assert [request.method for request in sandbox.requests].count("POST") == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_is_not_tried_again(status: int, sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("status", status=status, method="POST"))
    with pytest.raises(AirflowFailException, match=f"HTTP {status}"):
        create().execute({})
    assert [request.method for request in sandbox.requests].count("POST") == 1


def test_it_is_found_when_it_appears_after_the_timeout(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(create_once, "time", time)
    sandbox.inject_fault(Fault("slow", seconds=TIMEOUT * 1.5, method="POST"))
    result = create().execute({})
    give_up = time.monotonic() + 30
    while any(request.status is None for request in sandbox.requests) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert created_in(sandbox) == [result]


def test_a_double_that_appears_in_the_end_is_reported(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.inject_fault(Fault("status", status=504, method="POST"))
    original = ChartMogulHook.create_opportunity

    def late(hook: ChartMogulHook, **fields: Any) -> dict[str, Any]:
        if created_in(sandbox) == [] and len(sandbox.requests) > 2:
            sandbox.add_opportunity(**STORED)
        return original(hook, **fields)

    monkeypatch.setattr(ChartMogulHook, "create_opportunity", late)
    with pytest.raises(AirflowFailException) as raised:
        create().execute({})
    assert_candidates_are_named(raised.value, created_in(sandbox), 2)


def an_hour_ago() -> str:
    return (datetime.now(UTC) - timedelta(hours=1)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.mark.parametrize("is_killed", [False, True])
def test_an_equal_one_from_before_is_not_taken(
    is_killed: bool,  # noqa: FBT001
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = sandbox.add_opportunity(**STORED, created_at=an_hour_ago())
    sandbox.inject_fault(Fault("reset", method="POST", after_acting=True))
    if is_killed:
        after_creating(monkeypatch, kill)
    run = run_of(dag)
    outcome = run.start("create")
    if is_killed:
        outcome = run.start("create")
    new, still_old = created_in(sandbox)
    assert outcome.result == new
    assert still_old == old


def test_clocks_that_differ_do_not_matter(sandbox: Sandbox) -> None:
    # ChartMogul's clock is an hour ahead of ours: all that exists seems to have been created in the future.
    ahead = datetime.now(UTC) + timedelta(hours=1)
    sandbox.add_opportunity(**STORED, created_at=ahead.isoformat(timespec="milliseconds"))
    sandbox.inject_fault(Fault("status", status=502, method="POST"))
    sandbox.inject_fault(Fault("reset", method="POST"))
    result = create().execute({})
    assert len(created_in(sandbox)) == 2
    assert result["created_at"] != ahead


def test_another_new_one_of_the_customer_is_not_taken(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {**STORED, "amount_in_cents": 1}
    sandbox.inject_fault(Fault("reset", method="POST"))
    after_creating(monkeypatch, lambda: sandbox.add_opportunity(**other))
    result = create().execute({})
    assert len(created_in(sandbox)) == 2
    assert result["amount_in_cents"] == FIELDS["amount_in_cents"]


def assert_candidates_are_named(error: BaseException, candidates: list[dict[str, Any]], count: int) -> None:
    assert len(candidates) == count
    for candidate in candidates:
        assert f"{candidate['uuid']} (created {candidate['created_at']})" in str(error)
    assert "ada@example.com" not in str(error)


@pytest.mark.parametrize("is_killed", [False, True])
def test_two_equal_new_ones_are_shown_instead_of_guessed_at(
    is_killed: bool,  # noqa: FBT001
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def act() -> None:
        sandbox.add_opportunity(**STORED)
        if is_killed:
            kill()

    sandbox.inject_fault(Fault("reset", method="POST", after_acting=True))
    after_creating(monkeypatch, act)
    run = run_of(dag)
    outcome = run.start("create")
    if is_killed:
        assert outcome.state == "up_for_retry"
        outcome = run.start("create")
    assert outcome.state == "failed"
    assert isinstance(outcome.error, AirflowFailException)
    assert_candidates_are_named(outcome.error, created_in(sandbox), 2)


def test_one_that_somebody_changed_meanwhile_is_shown(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def edit() -> None:
        (created,) = created_in(sandbox)
        sandbox.set_opportunity(created["uuid"], pipeline_stage="Negotiation")

    sandbox.inject_fault(Fault("reset", method="POST", after_acting=True))
    after_creating(monkeypatch, edit)
    with pytest.raises(AirflowFailException) as raised:
        create().execute({})
    assert_candidates_are_named(raised.value, created_in(sandbox), 1)


def test_one_that_somebody_changed_but_for_what_was_sent_is_taken(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edit() -> None:
        (created,) = created_in(sandbox)
        sandbox.set_opportunity(created["uuid"], win_likelihood=99)

    sandbox.inject_fault(Fault("reset", method="POST", after_acting=True))
    after_creating(monkeypatch, edit)
    result = create().execute({})
    assert created_in(sandbox) == [result]


def test_what_the_server_rewrites_is_still_recognised(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def rewrite() -> None:
        (created,) = created_in(sandbox)
        sandbox.set_opportunity(
            created["uuid"],
            owner="Ada@Example.com",
            pipeline="New Business ",
            estimated_close_date="2030-01-31T00:00:00.000Z",
            currency="eur",
            custom={"source": "Product", "seats": "3", "added by a rule": True},
        )

    sandbox.inject_fault(Fault("reset", method="POST", after_acting=True))
    after_creating(monkeypatch, rewrite)
    result = create(custom={**FIELDS["custom"], "nothing": None, "empty": ""}).execute({})
    assert created_in(sandbox) == [result]


def test_equal_tasks_one_after_the_other_create_one_each(sandbox: Sandbox) -> None:
    first = create().execute({})
    sandbox.inject_fault(Fault("status", status=502, method="POST"))
    second = create().execute({})
    assert created_in(sandbox) == [second, first]


def test_a_time_dependent_field_is_no_way_to_a_second_one(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    amount = 100

    def build() -> DAG:
        return dag(amount_in_cents=amount)

    sandbox.inject_fault(Fault("reset", method="POST", after_acting=True))
    after_creating(monkeypatch, kill)
    run = run_of(build)
    assert isinstance(run.start("create").error, WorkerKilledError)
    amount = 200
    outcome = run.start("create")
    if HAS_TASK_STATE_STORE:
        assert outcome.state == "failed"
        assert_candidates_are_named(outcome.error or Exception(), created_in(sandbox), 1)
    else:
        # What the first try sent is forgotten before Airflow 3.3.
        assert len(created_in(sandbox)) == 2


def test_a_task_that_is_cleared_returns_what_it_created(sandbox: Sandbox) -> None:
    run = run_of(dag)
    first = run.start("create")
    run.clear("create")
    assert run.start("create").result == first.result
    assert created_in(sandbox) == [first.result]


@pytest.mark.skipif(not HAS_TASK_STATE_STORE, reason="before Airflow 3.3 there is no note of what a task created")
def test_a_task_that_is_cleared_returns_what_became_of_what_it_created(sandbox: Sandbox) -> None:
    run = run_of(dag)
    first = run.start("create")
    changed = sandbox.set_opportunity(first.result["uuid"], amount_in_cents=1)
    run.clear("create")
    assert run.start("create").result == changed
    sandbox.remove_opportunity(first.result["uuid"])
    run.clear("create")
    again = run.start("create")
    assert created_in(sandbox) == [again.result]


def test_nothing_is_sent_before_airflow_has_kept_what_a_retry_needs(sandbox: Sandbox) -> None:
    class FullDisk:
        def get(self, key: str) -> None:
            return None

        def set(self, key: str, value: Any, *, retention: timedelta) -> None:
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        create_once.create_opportunity_once(ChartMogulHook(), STORED, store=FullDisk())
    assert [request.method for request in sandbox.requests] == ["GET"]


def test_no_owner_is_logged(sandbox: Sandbox, logs: Logs) -> None:
    sandbox.inject_fault(Fault("reset", method="POST", after_acting=True))
    result = create().execute({})
    assert f"Opportunity {result['uuid']} was created by an attempt whose answer was lost." in logs.messages
    assert "ada@example.com" not in re.sub(r"%40", "@", logs.everything)
    assert "120000" not in logs.everything
