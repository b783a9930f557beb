"""Waits for several opportunities in one task, beyond the table of all modes."""

from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING, Any

import pandas
import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, task

from airflow_provider_chartmogul.sandbox import Fault
from airflow_provider_chartmogul.sensors.opportunity import OpportunityFieldSensor
from airflow_provider_chartmogul.triggers.opportunity import OpportunityFieldTrigger
from tests.support.airflow_versions import HAS_TASK_STATE_STORE
from tests.support.dag_runs import run_of
from tests.support.deferrable_sensors import deferral_of
from tests.support.waits import payload_of, run

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Logs

UNKNOWN = "00000000-0000-0000-0000-000000000000"


def sensor(**options: Any) -> OpportunityFieldSensor:
    settings = {"task_id": "wait", "field": "pipeline_stage", "poke_interval": 0.01, "timeout": 60, **options}
    return OpportunityFieldSensor(**settings)


@pytest.fixture
def uuids(sandbox: Sandbox) -> list[str]:
    """Return the UUIDs of three opportunities, in the stages Discovery, Evaluation and Negotiation."""
    for entry, stage in zip(sandbox.opportunities, ("Discovery", "Evaluation", "Negotiation"), strict=True):
        sandbox.set_opportunity(entry["uuid"], pipeline_stage=stage)
    return [entry["uuid"] for entry in sandbox.opportunities]


def requests_for(sandbox: Sandbox) -> list[str]:
    return [request.path.rpartition("/")[2] for request in sandbox.requests]


def test_those_that_met_it_are_not_polled_again(uuids: list[str], sandbox: Sandbox) -> None:
    waiting = sensor(opportunity_uuids=uuids, target_values="Evaluation")
    waiting.poke({})
    before = len(sandbox.requests)
    waiting.poke({})
    assert sorted(requests_for(sandbox)[before:]) == sorted([uuids[0], uuids[2]])


# The trigger's arguments and event


def test_baselines_of_all_go_to_the_triggerer(uuids: list[str]) -> None:
    _, kwargs = deferral_of(sensor(opportunity_uuids=uuids, deferrable=True)).trigger.serialize()
    assert kwargs["opportunity_uuids"] == uuids
    assert kwargs["baseline_values"] == dict(zip(uuids, ("Discovery", "Evaluation", "Negotiation"), strict=True))
    assert kwargs["met_values"] == {}
    assert "baseline_value" not in kwargs
    assert json.loads(json.dumps(kwargs)) == kwargs


def test_those_that_met_it_at_the_first_poll_go_to_the_triggerer(uuids: list[str]) -> None:
    waiting = sensor(opportunity_uuids=uuids, target_values=["Evaluation", "Closed Won"], deferrable=True)
    _, kwargs = deferral_of(waiting).trigger.serialize()
    assert kwargs["met_values"] == {uuids[1]: "Evaluation"}
    assert kwargs["baseline_values"] == {}


def test_a_baseline_that_was_given_goes_there_once(uuids: list[str]) -> None:
    waiting = sensor(opportunity_uuids=uuids, baseline_value="Discovery", deferrable=True)
    _, kwargs = deferral_of(waiting).trigger.serialize()
    assert kwargs["baseline_value"] == "Discovery"
    assert kwargs["baseline_values"] == {}
    assert kwargs["met_values"] == {uuids[1]: "Evaluation", uuids[2]: "Negotiation"}


@pytest.mark.usefixtures("waits")
def test_without_all_baselines_it_polls_on_the_worker(uuids: list[str], sandbox: Sandbox) -> None:
    # Each of the three is requested three times.
    sandbox.inject_fault(Fault(kind="status", times=3 * 3))
    _, kwargs = deferral_of(sensor(opportunity_uuids=uuids, deferrable=True)).trigger.serialize()
    assert kwargs["baseline_values"].keys() == set(uuids)


def test_the_event_holds_uuids_and_values_only(uuids: list[str], sandbox: Sandbox) -> None:
    sandbox.set_opportunity(uuids[0], owner="unique@example.com")
    trigger = OpportunityFieldTrigger(
        field="owner",
        opportunity_uuids=uuids,
        target_values="unique@example.com",
        wait_for="any",
        poll_interval=0.1,
    )

    async def test() -> None:
        events = [event async for event in trigger.run()]
        assert [event.payload for event in events] == [{"values": {uuids[0]: "unique@example.com"}}]
        assert "example.com" not in repr(events)

    run(test())


def test_those_that_met_it_before_are_not_polled_and_stay_met(uuids: list[str], sandbox: Sandbox) -> None:
    trigger = OpportunityFieldTrigger(
        field="pipeline_stage",
        opportunity_uuids=uuids,
        target_values="Evaluation",
        met_values={uuids[0]: "Evaluation", uuids[2]: "Evaluation"},
        poll_interval=0.1,
    )

    async def test() -> None:
        assert await payload_of(trigger) == {"values": dict.fromkeys((uuids[0], uuids[2], uuids[1]), "Evaluation")}

    run(test())
    assert set(requests_for(sandbox)) == {uuids[1]}


def test_any_that_was_met_before_needs_no_request(uuids: list[str], sandbox: Sandbox) -> None:
    trigger = OpportunityFieldTrigger(
        field="pipeline_stage",
        opportunity_uuids=uuids,
        wait_for="any",
        target_values="x",
        met_values={uuids[0]: "x"},
    )

    async def test() -> None:
        assert await payload_of(trigger) == {"values": {uuids[0]: "x"}}

    run(test())
    assert sandbox.requests == []


def test_the_event_of_a_failure_holds_that_one_only(uuids: list[str]) -> None:
    trigger = OpportunityFieldTrigger(
        field="pipeline_stage",
        opportunity_uuids=uuids,
        target_values="Discovery",
        failure_values="Negotiation",
        met_values={uuids[1]: "Discovery"},
        poll_interval=0.1,
    )

    async def test() -> None:
        assert await payload_of(trigger) == {"values": {uuids[2]: "Negotiation"}}

    run(test())


@pytest.mark.parametrize(
    ("wait_for", "values"),
    [
        ("all", {0: "Closed Won"}),
        ("all", {}),
        ("any", {}),
        ("any", {0: "Discovery"}),
        ("any", {None: "Closed Won"}),
        ("any", None),
        ("any", [0]),
        ("all", {0: "Closed Won", 1: "Discovery", 2: "Closed Won"}),
    ],
)
def test_an_event_that_does_not_end_the_wait_is_no_success(uuids: list[str], wait_for: str, values: Any) -> None:
    if isinstance(values, dict):
        values = {UNKNOWN if index is None else uuids[index]: value for index, value in values.items()}
    waiting = sensor(opportunity_uuids=uuids, target_values="Closed Won", wait_for=wait_for)
    with pytest.raises(RuntimeError, match="does not end the wait for 3 opportunities"):
        waiting.execute_complete({}, {"values": values})
    with pytest.raises(RuntimeError, match="does not end the wait for 3 opportunities"):
        waiting.execute_complete({}, {"opportunity": {"uuid": uuids[0], "pipeline_stage": "Closed Won"}})


def test_an_error_of_the_triggerer_fails_without_retry(uuids: list[str]) -> None:
    with pytest.raises(AirflowFailException, match="the key was rejected"):
        sensor(opportunity_uuids=uuids, target_values="x").execute_complete({}, {"error": "the key was rejected"})


@pytest.mark.usefixtures("waits")
def test_a_fault_at_the_end_does_not_bring_the_wait_to_nothing(uuids: list[str], sandbox: Sandbox, logs: Logs) -> None:
    sandbox.inject_fault(Fault(kind="status", status=503, times=20))
    waiting = sensor(opportunity_uuids=uuids, target_values="Closed Won", wait_for="any")
    event = {"values": {uuids[1]: "Closed Won"}}
    assert waiting.execute_complete({}, event) == [sandbox.opportunity(uuids[1])]
    assert any("HTTP 503" in message and "Trying again in 0.01 s" in message for message in logs.messages)


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize(
    ("poke_interval", "expected"),
    [(45, [45] * 9), (900, [60, 120, 240, 480, 900, 900, 900, 900, 900])],
    ids=["short interval", "long interval"],
)
def test_the_end_is_tried_ten_times_with_pauses_that_grow_up_to_the_interval(
    uuids: list[str], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, poke_interval: float, expected: list[float]
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("airflow_provider_chartmogul.sensors._waits.time.sleep", pauses.append)
    # Each try makes three requests.
    sandbox.inject_fault(Fault(kind="status", status=503, times=3 * 9))
    waiting = sensor(opportunity_uuids=uuids, target_values="Closed Won", wait_for="any", poke_interval=poke_interval)
    event = {"values": {uuids[1]: "Closed Won"}}
    assert waiting.execute_complete({}, event) == [sandbox.opportunity(uuids[1])]
    assert [pause for pause in pauses if pause >= 45] == expected


@pytest.mark.usefixtures("waits")
def test_faults_at_the_end_that_last_fail_the_task(uuids: list[str], sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault(kind="status", status=503, times=None))
    waiting = sensor(opportunity_uuids=uuids, target_values="Closed Won", wait_for="any")
    with pytest.raises(Exception, match="HTTP 503") as raised:
        waiting.execute_complete({}, {"values": {uuids[1]: "Closed Won"}})
    assert not isinstance(raised.value, AirflowFailException)


# Accepted arguments


@pytest.mark.parametrize(
    "written", ["{{ params.uuids }}", "{{ params.uuids | join(',') }}", "{{ params.uuids | tojson }}"]
)
@pytest.mark.parametrize("native", [False, True])
def test_the_uuids_may_be_a_template(written: str, uuids: list[str], sandbox: Sandbox, *, native: bool) -> None:
    def build() -> DAG:
        params = {"uuids": uuids[:2]}
        with DAG("dag", schedule=None, params=params, render_template_as_native_obj=native) as dag:
            sensor(opportunity_uuids=written, target_values=["Discovery", "Evaluation"])
        return dag

    assert run_of(build).start("wait").result == [sandbox.opportunity(uuid) for uuid in uuids[:2]]


def test_the_uuids_may_be_the_result_of_another_task(uuids: list[str], sandbox: Sandbox) -> None:
    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:

            @task
            def choose() -> list[str]:
                return uuids

            sensor(opportunity_uuids=choose(), target_values="Negotiation", wait_for="any")
        return dag

    dag_run = run_of(build)
    dag_run.start("choose")
    assert dag_run.start("wait").result == [sandbox.opportunity(uuids[2])]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Give one of opportunity_uuid and opportunity_uuids"),
        ({"opportunity_uuid": UNKNOWN, "opportunity_uuids": [UNKNOWN]}, "Give one of opportunity_uuid and"),
        ({"opportunity_uuids": [UNKNOWN], "wait_for": "some"}, "wait_for: expected 'all' or 'any', not 'some'"),
        ({"opportunity_uuids": [UNKNOWN], "field": "stage"}, "field: 'stage' is not a field"),
        ({"opportunity_uuids": [UNKNOWN], "target_values": []}, "target_values: empty"),
        ({"opportunity_uuids": [UNKNOWN], "failure_values": []}, "failure_values: empty"),
        ({"opportunity_uuids": [UNKNOWN], "target_values": [True, "{{ x }}"]}, "target_values: expected text"),
        ({"opportunity_uuids": [UNKNOWN], "field": "custom.x", "target_values": pandas.NaT}, "target_values: expected"),
        ({"opportunity_uuids": [UNKNOWN], "baseline_value": 1.5}, "baseline_value: expected text"),
        ({"opportunity_uuids": [UNKNOWN], "condition": "is_large"}, "condition: expected the dotted path"),
        ({"opportunity_uuids": [UNKNOWN], "condition": "a.b", "target_values": "x"}, "condition: takes the place"),
        ({"opportunity_uuids": [UNKNOWN], "condition": "a.b", "baseline_value": None}, "condition: takes the place"),
    ],
)
def test_what_makes_no_sense_is_refused_when_the_dag_is_parsed(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sensor(**options)


def test_a_predicate_is_not_imported_when_the_dag_is_parsed(uuids: list[str]) -> None:
    waiting = sensor(opportunity_uuids=uuids, condition="no_such_module.is_large")
    with pytest.raises(AirflowFailException, match=r"no_such_module\.is_large cannot be imported"):
        waiting.execute({})


# The state between two starts


class Store(dict[str, Any]):
    """A task state store."""

    def set(self, key: str, value: Any, *, retention: datetime.timedelta) -> None:
        assert retention
        self[key] = json.loads(json.dumps(value))


def test_a_wait_that_was_over_when_its_worker_was_lost_is_over_again(uuids: list[str], sandbox: Sandbox) -> None:
    store = Store()
    for which in ({"opportunity_uuid": uuids[0]}, {"opportunity_uuids": uuids[1:2], "wait_for": "any"}):
        (uuid,) = {"opportunity_uuids": [uuids[0]], **which}["opportunity_uuids"]
        assert not poke(store, **which).is_done
        changed = sandbox.set_opportunity(uuid, pipeline_stage="Closed Won")
        for _ in range(2):
            ended = poke(store, **which)
            assert ended.is_done
            assert ended.xcom_value in (changed, [changed])


@pytest.mark.parametrize("wait_for", ["all", "any"])
def test_the_state_of_opportunities_that_are_no_longer_waited_for_counts_for_nothing(
    wait_for: str, uuids: list[str], sandbox: Sandbox
) -> None:
    store = Store()
    assert not poke(store, opportunity_uuids=uuids[:2]).is_done
    sandbox.set_opportunity(uuids[0], pipeline_stage="Closed Won")
    assert not poke(store, opportunity_uuids=uuids[:2]).is_done
    assert not poke(store, opportunity_uuids=uuids[1:3], wait_for=wait_for).is_done
    changed = [sandbox.set_opportunity(uuid, pipeline_stage="Closed Lost") for uuid in uuids[1:3]]
    assert poke(store, opportunity_uuids=uuids[1:3], wait_for=wait_for).xcom_value == changed


def poke(store: Store, **which: Any) -> Any:
    context: Any = {"task_state_store": store}
    return sensor(**which).poke(context)


@pytest.mark.skipif(not HAS_TASK_STATE_STORE, reason="Airflow before 3.3 has no task state store")
def test_the_state_is_kept_for_all_tries_and_a_margin(uuids: list[str]) -> None:
    options = {"mode": "reschedule", "timeout": 3600, "retries": 2, "opportunity_uuids": uuids}

    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:
            sensor(**options)
        return dag

    before = datetime.datetime.now(datetime.UTC)
    messages = run_of(build).start("wait").messages
    (stored,) = [message for message in messages if type(message).__name__ == "SetTaskStateStore"]
    expected = before + datetime.timedelta(hours=3, days=30)
    assert expected <= stored.expires_at < expected + datetime.timedelta(minutes=5)


@pytest.mark.skipif(not HAS_TASK_STATE_STORE, reason="Airflow before 3.3 has no task state store")
def test_the_state_is_kept_for_one_try_where_there_are_no_retries(uuids: list[str]) -> None:
    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:
            sensor(mode="reschedule", timeout=3600, retries=None, opportunity_uuids=uuids)
        return dag

    before = datetime.datetime.now(datetime.UTC)
    messages = run_of(build).start("wait").messages
    (stored,) = [message for message in messages if type(message).__name__ == "SetTaskStateStore"]
    expected = before + datetime.timedelta(hours=1, days=30)
    assert expected <= stored.expires_at < expected + datetime.timedelta(minutes=5)


# The log


def test_one_line_is_logged_however_often_it_polls(uuids: list[str], logs: Logs) -> None:
    waiting = sensor(opportunity_uuids=uuids, target_values="Negotiation")
    for _ in range(3):
        assert not waiting.poke({})
    ours = [message for message in logs.messages if "opportunities done" in message]
    assert ours == ["1 of 3 opportunities done, waiting for Negotiation."]
