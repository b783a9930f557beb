"""A table of waits, each of which has equal results in all modes."""

from __future__ import annotations

import datetime
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_provider_chartmogul.opportunity import ForecastCategory, OpportunityType
from airflow_provider_chartmogul.sandbox import Sandbox
from airflow_provider_chartmogul.sensors.opportunity import OpportunityFieldSensor, OpportunityForecastCategorySensor
from tests.polling.stand_ins import shortest_interval
from tests.support.airflow_versions import HAS_TASK_STATE_STORE
from tests.support.dag_runs import run_of
from tests.support.triggerers import triggerer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Connect

MODES: dict[str, dict[str, Any]] = {
    "poke": {"deferrable": False},
    "reschedule": {"deferrable": False, "mode": "reschedule"},
    "deferrable": {"deferrable": True},
    "ends in the triggerer": {"deferrable": True, "end_from_trigger": True},
}
if HAS_TASK_STATE_STORE:
    MODES["starts and ends in the triggerer"] = {
        "deferrable": True,
        "start_from_trigger": True,
        "end_from_trigger": True,
    }
INTERVAL = 0.02
EXTRA = {"max_requests_per_second": 1000}
every_mode = pytest.mark.parametrize("mode", MODES)


@pytest.fixture
def chartmogul_sandbox() -> Iterator[Sandbox]:
    """Return a sandbox without limits, since these waits poll at short intervals."""
    with Sandbox(requests_per_second=None) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(chartmogul_sandbox: Sandbox, connect: Connect) -> Iterator[Sandbox]:
    connect(extra=EXTRA)
    with shortest_interval(INTERVAL):
        yield chartmogul_sandbox


@dataclass(frozen=True)
class Case:
    """
    A wait.

    :param before: fields of an opportunity that do not end the wait
    :param after: fields that end it
    :param arguments: the sensor's
    :param starts_in_triggerer: whether it can start there, since no first poll has to find a baseline
    """

    name: str
    before: dict[str, Any]
    after: dict[str, Any]
    arguments: dict[str, Any]
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def needs_first_poll(self) -> bool:
        return not self.arguments.keys() & {
            *("target_values", "target_categories", "baseline_value", "baseline_category", "condition"),
        }


def value(
    name: str, before: Any, after: Any, **arguments: Any
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    return {name: before}, {name: after}, {"field": name, **arguments}


DAY, NEXT_DAY = datetime.date(2030, 1, 30), datetime.date(2030, 1, 31)
CASES = [
    Case("a category", {"forecast_category": "pipeline"}, {"forecast_category": "won"}, {"target_categories": "won"}),
    Case("a category's change", {"forecast_category": "pipeline"}, {"forecast_category": None}, {}),
    Case(
        "a category's change from a baseline",
        {"forecast_category": "pipeline"},
        {"forecast_category": "lost"},
        {"baseline_category": ForecastCategory.PIPELINE},
    ),
    Case("a number", *value("amount_in_cents", 1, 5000, target_values=5000)),
    Case("a number in a template", *value("amount_in_cents", 1, 5000, target_values=["{{ params.x }}"]), {"x": 5000}),
    Case("zero", *value("amount_in_cents", 1, 0, target_values=0)),
    Case("text", *value("pipeline_stage", "Discovery", "Verbal Commit", target_values={"Verbal Commit", "Closed Won"})),
    Case(
        "a list in a template",
        *value("pipeline_stage", "Discovery", "Verbal Commit", target_values="{{ params.x }}"),
        {"x": ["Verbal Commit", "Closed Won"]},
    ),
    Case(
        "categories in a template",
        {"forecast_category": "pipeline"},
        {"forecast_category": "won"},
        {"target_categories": "{{ params.x | tojson }}"},
        {"x": ["won", "lost"]},
    ),
    Case("an enumeration", *value("type", "recurring", "one-time", target_values=[OpportunityType.ONE_TIME])),
    Case("a date", *value("estimated_close_date", str(DAY), str(NEXT_DAY), target_values=NEXT_DAY)),
    Case(
        "a date's change from a baseline",
        *value("estimated_close_date", str(DAY), str(NEXT_DAY), baseline_value=pendulum.datetime(2030, 1, 30, 5)),
    ),
    Case("null", *value("win_likelihood", 50, None, target_values=[None])),
    Case("a change from null", *value("win_likelihood", None, 50, baseline_value=None)),
    Case("an owner's change", *value("owner", "ada@example.com", "grace@example.com")),
    Case(
        "a custom attribute",
        {"custom": {"seats": 1}},
        {"custom": {"seats": 3}},
        {"field": "custom.seats", "target_values": "{{ params.x }}"},
        {"x": 3},
    ),
    Case(
        "a custom attribute's change",
        {"custom": {"is_ready": 1}},
        {"custom": {"is_ready": True}},
        {"field": "custom.is_ready"},
    ),
    Case("a predicate", *value("amount_in_cents", 4999, 5001, condition="tests.support.predicates.is_large")),
]
OF_SEVERAL = [
    case
    for case in CASES
    if case.name in ("a category", "an owner's change", "a date's change from a baseline", "null")
]


def by_mode(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("case", "mode"),
        [
            pytest.param(case, mode, id=f"{case.name}-{mode}")
            for case in cases
            for mode, options in MODES.items()
            if not (case.needs_first_poll and options.get("start_from_trigger"))
            and not (case.needs_first_poll and options.get("mode") == "reschedule" and not HAS_TASK_STATE_STORE)
        ],
    )


def dag_with(mode: str, case: Case, **arguments: Any) -> DAG:
    sensor = OpportunityFieldSensor if "field" in case.arguments else OpportunityForecastCategorySensor
    options = {"poke_interval": INTERVAL, "timeout": 60, **MODES[mode], **case.arguments, **arguments}
    with DAG(
        "dag", schedule=None, start_date=datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), params=case.params
    ) as dag:
        sensor(task_id="wait", **options)
    return dag


@contextmanager
def changes_while_waiting(sandbox: Sandbox, *changes: Callable[[], Any]) -> Iterator[None]:
    """Make each change after enough requests for a poll of each opportunity in between."""
    has_ended = threading.Event()

    def make_changes() -> None:
        made = 0
        for change in changes:
            while len(sandbox.requests) < made + 6:
                if has_ended.wait(0.01):
                    return
            change()
            made = len(sandbox.requests)

    thread = threading.Thread(target=make_changes)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()


def result_of(
    mode: str, case: Case, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, **arguments: Any
) -> tuple[str, Any]:
    """Return the final state of a task, with its result or error."""
    if MODES[mode].get("start_from_trigger"):
        started: Any = triggerer(monkeypatch)
        dag = dag_with(mode, case, **arguments)
        sensor: Any = dag.get_task("wait")
        connection = {**sandbox.connection, "extra": json.dumps(EXTRA)}
        report = started.start("wait", dag, {}, {"chartmogul_default": connection})
        assert report.failures == {}
        (event,) = report.events[1]
        if 1 in report.results:
            return "success", report.results[1]
        try:
            return "success", sensor.execute_complete({}, event.payload)
        except AirflowFailException as error:
            return "failed", error
    run = run_of(lambda: dag_with(mode, case, **arguments))
    while True:
        outcome = run.start("wait")
        if outcome.state not in ("up_for_reschedule", "deferred"):
            return outcome.state, outcome.error or outcome.result


def opportunities(sandbox: Sandbox, case: Case, count: int) -> list[str]:
    uuids = [entry["uuid"] for entry in sandbox.opportunities[:count]]
    for uuid in uuids:
        sandbox.set_opportunity(uuid, **case.before)
    return uuids


@by_mode(CASES)
def test_one(case: Case, mode: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    (uuid,) = opportunities(sandbox, case, 1)
    with changes_while_waiting(sandbox, lambda: sandbox.set_opportunity(uuid, **case.after)):
        ended = result_of(mode, case, sandbox, monkeypatch, opportunity_uuid=uuid.upper())
    assert ended == ("success", sandbox.opportunity(uuid))


@by_mode(OF_SEVERAL)
def test_all(case: Case, mode: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = opportunities(sandbox, case, 2)
    keeps_what_was_met = HAS_TASK_STATE_STORE or mode != "reschedule"
    changes = [
        lambda: sandbox.set_opportunity(first, **case.after),
        lambda: sandbox.set_opportunity(first, **(case.before if keeps_what_was_met else case.after)),
        lambda: sandbox.set_opportunity(second, **case.after),
    ]
    with changes_while_waiting(sandbox, *changes):
        ended = result_of(mode, case, sandbox, monkeypatch, opportunity_uuids=[second, first.upper(), second])
    assert ended == ("success", [sandbox.opportunity(second), sandbox.opportunity(first)])


@every_mode
def test_one_that_met_its_target_may_leave_it_for_a_failure_value(
    mode: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    if mode == "reschedule" and not HAS_TASK_STATE_STORE:
        return  # it polls all of them each time; see the docs
    case = FAILURES[0][0]
    first, second = opportunities(sandbox, case, 2)
    changes = [
        lambda: sandbox.set_opportunity(first, forecast_category="won"),
        lambda: sandbox.set_opportunity(first, forecast_category="lost"),
        lambda: sandbox.set_opportunity(second, forecast_category="won"),
    ]
    with changes_while_waiting(sandbox, *changes):
        ended = result_of(mode, case, sandbox, monkeypatch, opportunity_uuids=[first, second])
    assert ended == ("success", [sandbox.opportunity(first), sandbox.opportunity(second)])


@by_mode(OF_SEVERAL)
def test_any(case: Case, mode: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = opportunities(sandbox, case, 2)
    with changes_while_waiting(sandbox, lambda: sandbox.set_opportunity(second, **case.after)):
        ended = result_of(mode, case, sandbox, monkeypatch, opportunity_uuids=f"{first},{second}", wait_for="any")
    assert ended == ("success", [sandbox.opportunity(second)])


FAILURES = [
    (
        Case(
            "a category",
            {"forecast_category": "pipeline"},
            {"forecast_category": "lost"},
            {"target_categories": "won", "failure_categories": "lost"},
        ),
        "forecast category is now lost, one of failure_categories",
    ),
    (
        Case("null", *value("owner", "ada@example.com", None, target_values="x@example.com", failure_values=[None])),
        "owner is now null, one of failure_values",
    ),
    (
        Case("zero", *value("amount_in_cents", 1, 0, condition="tests.support.predicates.is_large", failure_values=0)),
        "amount in cents is now 0, one of failure_values",
    ),
]


@every_mode
@pytest.mark.parametrize(
    ("failing", "several"),
    [*((failing, {}) for failing in FAILURES), *((FAILURES[0], {"wait_for": wait_for}) for wait_for in ("all", "any"))],
    ids=[*(case.name for case, _ in FAILURES), "all", "any"],
)
def test_failure(
    failing: tuple[Case, str], several: dict[str, Any], mode: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, message = failing
    first, second = opportunities(sandbox, case, 2)
    which = {**several, "opportunity_uuids": [first, second]} if several else {"opportunity_uuid": second}
    with changes_while_waiting(sandbox, lambda: sandbox.set_opportunity(second, **case.after)):
        state, error = result_of(mode, case, sandbox, monkeypatch, retries=3, **which)
    assert state == "failed"
    assert str(error) == f"Opportunity {second}: {message}."


@every_mode
def test_one_that_is_deleted_ends_the_wait_for_several_and_is_named(
    mode: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[0]
    first, second = opportunities(sandbox, case, 2)
    with changes_while_waiting(sandbox, lambda: sandbox.remove_opportunity(second)):
        state, error = result_of(mode, case, sandbox, monkeypatch, retries=3, opportunity_uuids=[first, second])
    assert state == "failed"
    assert "HTTP 404" in str(error)
    assert second in str(error)
    assert first not in str(error)


@every_mode
def test_all_of_none_are_done(mode: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    assert result_of(mode, CASES[0], sandbox, monkeypatch, opportunity_uuids=[]) == ("success", [])
    assert sandbox.requests == []


@every_mode
def test_any_of_none_fails_without_retry(mode: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    state, error = result_of(mode, CASES[0], sandbox, monkeypatch, opportunity_uuids="[]", wait_for="any", retries=3)
    assert state == "failed"
    assert 'opportunity_uuids: empty, so that wait_for="any" would wait forever' in str(error)
