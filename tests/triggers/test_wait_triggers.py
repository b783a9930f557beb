"""The trigger that resumes a deferred sensor; how it looks at opportunities is tested in tests/watch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

from airflow_provider_chartmogul.opportunity import ForecastCategory
from airflow_provider_chartmogul.triggers.opportunity import OpportunityForecastCategoryTrigger
from tests.support.waits import event_of, payload_of, run, trigger_for, uuids_of

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox

UUID = "4ee13ca4-e7fe-11ee-fa7f-f303abf41acc"
NONSENSE: list[Any] = [None, "", 0, -1, 1.5, float("nan"), [], {}, object, [["won"]], b"won", "{{ params.x }}"]

EVERYTHING = {
    "opportunity_uuid": UUID,
    "target_categories": ["committed", "won"],
    "failure_categories": ["lost"],
    "baseline_category": "pipeline",
    "poll_interval": 30.0,
    "chartmogul_conn_id": "chartmogul_emea",
    "silent_fail": True,
    "starts_wait": True,
    "end_from_trigger": True,
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


async def _run_to_its_end(trigger: OpportunityForecastCategoryTrigger) -> None:
    await event_of(trigger)


@pytest.mark.parametrize("parameter", EVERYTHING)
@pytest.mark.parametrize("value", NONSENSE, ids=repr)
def test_its_constructor_takes_anything_since_an_error_there_ends_the_triggerer(parameter: str, value: Any) -> None:
    trigger = OpportunityForecastCategoryTrigger(**{**EVERYTHING, parameter: value})
    assert trigger.serialize()[1][parameter] is value


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
