"""The triggers that resume deferred sensors; tests/polling tests the polls."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent

from airflow_provider_chartmogul.exceptions import ChartMogulInvalidRequestError
from airflow_provider_chartmogul.opportunity import ForecastCategory
from airflow_provider_chartmogul.triggers.opportunity import (
    OpportunityFieldTrigger,
    OpportunityForecastCategoryTrigger,
)
from tests.polling.stand_ins import error_event
from tests.support.waits import event_of, eventually, payload_of, run, trigger_for, uuids_of, waiting

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Logs

UUID = "4ee13ca4-e7fe-11ee-fa7f-f303abf41acc"
NONSENSE: list[Any] = [None, "", 0, -1, 1.5, float("nan"), [], {}, object, [["won"]], b"won", "{{ params.x }}"]

EVERYTHING = {
    "opportunity_uuid": UUID,
    "opportunity_uuids": None,
    "wait_for": "any",
    "target_categories": ["committed", "won"],
    "failure_categories": ["lost"],
    "baseline_category": "pipeline",
    "baseline_values": {UUID: "pipeline"},
    "met_values": {},
    "poll_interval": 30.0,
    "chartmogul_conn_id": "chartmogul_emea",
    "silent_fail": True,
    "starts_wait": True,
    "end_from_trigger": True,
    "stores_result": True,
}


@pytest.mark.parametrize("kwargs", [EVERYTHING, {"opportunity_uuid": UUID}], ids=["everything", "defaults"])
def test_what_it_serializes_is_json_from_which_the_same_trigger_is_made(kwargs: dict[str, Any]) -> None:
    classpath, first = OpportunityForecastCategoryTrigger(**kwargs).serialize()
    assert classpath == "airflow_provider_chartmogul.triggers.opportunity.OpportunityForecastCategoryTrigger"
    assert first == json.loads(json.dumps(first))
    assert kwargs.items() <= first.items()
    assert OpportunityForecastCategoryTrigger(**first).serialize() == (classpath, first)


def test_what_it_serializes_is_the_same_after_a_wait(sandbox: Sandbox) -> None:
    (uuid,) = uuids_of(sandbox, 1)
    sandbox.set_opportunity(uuid, forecast_category="won")
    trigger = trigger_for(uuid)
    before = trigger.serialize()
    run(_run_to_its_end(trigger))
    assert trigger.serialize() == before
    assert sandbox.api_key not in json.dumps(before)


async def _run_to_its_end(trigger: BaseTrigger) -> None:
    await event_of(trigger)


@pytest.mark.parametrize("value", NONSENSE, ids=repr)
def test_its_constructor_takes_anything_since_an_error_there_ends_the_triggerer(value: Any) -> None:
    for parameter in EVERYTHING:
        trigger = OpportunityForecastCategoryTrigger(**{**EVERYTHING, parameter: value})
        assert trigger.serialize()[1][parameter] is value, parameter


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"opportunity_uuid": "4ee13ca4"}, "opportunity_uuid: expected one like"),
        ({"opportunity_uuid": None}, "opportunity_uuid: expected one like"),
        ({"opportunity_uuid": "../customers"}, "opportunity_uuid: expected one like"),
        ({"opportunity_uuid": "{{ params.uuid }}"}, "opportunity_uuid: expected one like"),
        ({"target_categories": ["win"]}, "target_categories: 'win' is not a forecast category"),
        ({"target_categories": []}, "target_categories: empty"),
        ({"target_categories": 5}, "target_categories: expected forecast categories"),
        ({"target_categories": [["won"]]}, "target_categories: \\['won'\\] is not a forecast category"),
        ({"failure_categories": ["loose"]}, "failure_categories: 'loose' is not a forecast category"),
        ({"failure_categories": ["won"]}, "won: in target_categories and in failure_categories"),
    ],
)
def test_values_that_make_no_sense_end_in_an_error_event_without_a_request(
    sandbox: Sandbox, kwargs: dict[str, Any], message: str
) -> None:
    async def test() -> None:
        payload = await payload_of(
            OpportunityForecastCategoryTrigger(**{"opportunity_uuid": UUID, "target_categories": ["won"], **kwargs})
        )
        assert set(payload) == {"error"}
        with pytest.raises(ValueError, match=message):
            raise ValueError(payload["error"])
        assert sandbox.requests == []

    run(test())


@pytest.mark.parametrize("rendered", ["pipelin", "None", "", None, 5, ["pipeline"]], ids=repr)
def test_a_baseline_that_was_rendered_in_the_triggerer_is_checked_there(sandbox: Sandbox, rendered: Any) -> None:
    (uuid,) = uuids_of(sandbox, 1)
    payloads = []

    async def test() -> None:
        trigger = OpportunityForecastCategoryTrigger(
            opportunity_uuid=uuid, baseline_category=rendered, starts_wait=True, end_from_trigger=True
        )
        payloads.append(await payload_of(trigger))

    run(test())
    assert "baseline_category" in payloads[0]["error"]
    assert sandbox.requests == []


@pytest.mark.parametrize("target", ["won", ForecastCategory.WON, ["won"], [ForecastCategory.WON, "lost"]])
def test_one_event_ends_the_wait(sandbox: Sandbox, target: Any) -> None:
    (uuid,) = uuids_of(sandbox, 1)
    sandbox.set_opportunity(uuid, forecast_category="won")

    async def test() -> None:
        trigger = trigger_for(uuid.upper(), target_categories=target, baseline_category="pipeline")
        events = [event async for event in trigger.run()]
        assert [event.payload for event in events] == [
            {"opportunity": sandbox.opportunity(uuid), "baseline_category": "pipeline"}
        ]

    run(test())


def test_its_event_shows_no_owner_and_carries_the_whole_json(sandbox: Sandbox) -> None:
    (uuid,) = uuids_of(sandbox, 1)
    sandbox.set_opportunity(
        uuid, forecast_category="won", owner="grace@example.com", custom={"contact": "ada@example.com"}, added_in_2027=1
    )

    async def test() -> None:
        event = await event_of(trigger_for(uuid))
        assert event.payload["opportunity"] == sandbox.opportunity(uuid)
        for shown in (repr(event), str(event), f"{event}", f"{[event]}"):
            assert "example.com" not in shown
            assert uuid in shown
            assert "won" in shown

    run(test())


@pytest.mark.usefixtures("sandbox")
def test_an_error_event_shows_the_error() -> None:
    async def test() -> None:
        event = await event_of(trigger_for("00000000-0000-0000-0000-000000000000"))
        assert "does not exist" in repr(event)

    run(test())


@pytest.mark.parametrize("category", ["lost", "won"])
def test_a_failure_category_goes_to_the_worker_even_when_the_wait_may_end_in_the_triggerer(
    sandbox: Sandbox, category: str
) -> None:
    (uuid,) = uuids_of(sandbox, 1)
    sandbox.set_opportunity(uuid, forecast_category=category)

    async def test() -> None:
        event = await event_of(trigger_for(uuid, failure_categories=["lost"], end_from_trigger=True))
        if category == "won":
            assert isinstance(event, TaskSuccessEvent)
            assert event.xcoms == {"return_value": sandbox.opportunity(uuid)}
            assert "@" not in repr(event)
        else:
            assert not isinstance(event, TaskSuccessEvent)
            assert event.payload["opportunity"] == sandbox.opportunity(uuid)

    run(test())


def test_a_result_that_cannot_be_stored_from_the_triggerer_goes_to_the_worker(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise ConnectionError("Airflow's API server is away")

    monkeypatch.setattr(OpportunityForecastCategoryTrigger, "_success", fail)
    (uuid,) = uuids_of(sandbox, 1)
    won = sandbox.set_opportunity(uuid, forecast_category="won")

    async def test() -> None:
        assert await payload_of(trigger_for(uuid, end_from_trigger=True)) == {
            "opportunity": won,
            "baseline_category": None,
        }

    run(test())


def test_an_error_goes_to_the_worker_even_when_the_wait_may_end_in_the_triggerer(sandbox: Sandbox) -> None:
    sandbox.rotate_api_key("nobody-told-airflow")

    async def test() -> None:
        event = await event_of(trigger_for(UUID, end_from_trigger=True))
        assert type(event).__mro__[1] is TriggerEvent
        assert "HTTP 401" in event.payload["error"]

    run(test())


FIELD_TRIGGER: dict[str, Any] = {
    "field": "custom.seats",
    "opportunity_uuid": UUID,
    "opportunity_uuids": None,
    "wait_for": "all",
    "target_values": [3],
    "failure_values": None,
    "baseline_values": None,
    "met_values": None,
    "condition": None,
    "poll_interval": 60.0,
    "chartmogul_conn_id": "chartmogul_default",
    "silent_fail": False,
    "starts_wait": False,
    "end_from_trigger": False,
    "stores_result": True,
}


@pytest.mark.parametrize("baseline", [{}, {"baseline_value": None}, {"baseline_value": 0}], ids=str)
def test_a_baseline_that_is_not_given_is_absent_from_what_a_field_trigger_serializes(baseline: dict[str, Any]) -> None:
    trigger = OpportunityFieldTrigger(field="custom.seats", opportunity_uuid=UUID, target_values=[3], **baseline)
    classpath, kwargs = trigger.serialize()
    assert classpath == "airflow_provider_chartmogul.triggers.opportunity.OpportunityFieldTrigger"
    assert kwargs == {**FIELD_TRIGGER, **baseline} == json.loads(json.dumps(kwargs))
    assert OpportunityFieldTrigger(**kwargs).serialize() == (classpath, kwargs)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"field": "stage"}, "field: 'stage' is not a field"),
        ({"field": "amount_in_cents", "target_values": "much"}, "target_values: expected a whole number"),
        ({"opportunity_uuid": None, "opportunity_uuids": 5}, "opportunity_uuids: expected UUIDs"),
        ({"opportunity_uuids": [], "wait_for": "any"}, 'opportunity_uuids: empty, so that wait_for="any"'),
        ({"condition": "no_such_module.x", "target_values": None}, "condition: no_such_module.x cannot be imported"),
        ({"baseline_value": True, "field": "owner", "starts_wait": True}, "baseline_value: expected text"),
    ],
)
def test_values_that_make_no_sense_end_a_wait_for_a_field_without_a_request(
    sandbox: Sandbox, kwargs: dict[str, Any], message: str
) -> None:
    async def test() -> None:
        payload = await payload_of(OpportunityFieldTrigger(**{**FIELD_TRIGGER, **kwargs}))
        assert set(payload) == {"error"}
        assert message in payload["error"]

    run(test())
    assert sandbox.requests == []


def predicate_trigger(uuid: str, **kwargs: Any) -> OpportunityFieldTrigger:
    return OpportunityFieldTrigger(
        field="amount_in_cents",
        opportunity_uuid=uuid,
        condition="tests.support.predicates.fails_on_small_ones",
        poll_interval=0.1,
        **kwargs,
    )


def test_a_predicate_that_raises_fails_the_wait(sandbox: Sandbox) -> None:
    (uuid,) = uuids_of(sandbox, 1)
    sandbox.set_opportunity(uuid, amount_in_cents=1)
    with pytest.raises(ZeroDivisionError):
        run(_run_to_its_end(predicate_trigger(uuid)))


def test_after_a_predicate_that_raises_the_wait_goes_on_under_silent_fail(sandbox: Sandbox, logs: Logs) -> None:
    (uuid,) = uuids_of(sandbox, 1)
    sandbox.set_opportunity(uuid, amount_in_cents=1)

    async def test() -> None:
        async with waiting([predicate_trigger(uuid, silent_fail=True)]) as (task,):
            await eventually(lambda: "Unexpected error; the wait continues." in logs.messages)
            large = sandbox.set_opportunity(uuid, amount_in_cents=5000)
            assert (await task).payload == {"opportunity": large}

    run(test())


def test_an_unexpected_error_goes_to_the_log_under_silent_fail_and_ends_the_wait_otherwise(logs: Logs) -> None:
    event = error_event(UUID, LookupError("a defect"), ends_wait=True)
    trigger_for(UUID, silent_fail=True)._handle_error(event)
    assert logs.messages == ["Unexpected error; the wait continues."]
    with pytest.raises(LookupError, match="a defect"):
        trigger_for(UUID)._handle_error(event)


def test_an_error_of_the_list_is_written_down_and_ends_no_wait(logs: Logs) -> None:
    error = ChartMogulInvalidRequestError("refused", method="GET", path="/v1/opportunities", status=400)
    trigger_for(UUID)._handle_error(error_event(None, error))
    assert logs.messages == ["GET /v1/opportunities: HTTP 400: refused. The wait continues."]
    with pytest.raises(ChartMogulInvalidRequestError):
        trigger_for(UUID)._handle_error(error_event(UUID, error, ends_wait=True))


def test_the_message_of_each_wait_names_its_own_request(sandbox: Sandbox) -> None:
    uuids = uuids_of(sandbox, 2)
    sandbox.rotate_api_key("nobody-told-airflow")

    async def test() -> None:
        async with waiting([trigger_for(uuid) for uuid in uuids]) as tasks:
            for uuid, task in zip(uuids, tasks, strict=True):
                assert f"GET /v1/opportunities/{uuid}: HTTP 401" in (await task).payload["error"]

    run(test())
