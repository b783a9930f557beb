"""The event triggers' arguments, and their serialization."""

from __future__ import annotations

import datetime
import enum
import json
from typing import Any

import pendulum
import pytest

from airflow_provider_chartmogul.opportunity import ForecastCategory
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID
from airflow_provider_chartmogul.triggers.opportunity import (
    OpportunityEventTrigger,
    OpportunityForecastCategoryEventTrigger,
)
from tests.support.airflow_versions import IS_AIRFLOW_3, needs_watchers

MODULE = "airflow_provider_chartmogul.triggers.opportunity"
COMMON = {
    "filters": {
        "customer_uuid": "cus_f466e33d-ff2b-4a11-8f85-417eb02157a7",
        "estimated_close_date_on_or_after": "2026-01-01",
        "estimated_close_date_on_or_before": "2026-12-31",
        "pipeline": "New Business",
        "pipeline_stage": "Discovery",
    },
    "opportunity_uuids": [EXAMPLE_OPPORTUNITY_UUID],
    "poll_interval": 30.0,
    "name": "emea",
    "chartmogul_conn_id": "chartmogul_emea",
}
ANY_FIELD = {**COMMON, "events": ["changed"], "fields": ["pipeline_stage"], "target_values": ["Closed Won", None]}
CATEGORY = {**COMMON, "target_categories": ["committed", "won"]}


class Word(str, enum.Enum):  # noqa: UP042  # such enumerations are around, and str() shows them otherwise
    WON = "won"
    STAGE = "pipeline_stage"
    CREATED = "created"
    CLOSED = "Closed Won"
    NAME = "emea"


@needs_watchers
@pytest.mark.parametrize(
    ("trigger", "kwargs"),
    [
        (OpportunityEventTrigger, ANY_FIELD),
        (OpportunityEventTrigger, {}),
        (OpportunityForecastCategoryEventTrigger, CATEGORY),
        (OpportunityForecastCategoryEventTrigger, {}),
    ],
)
def test_what_it_serializes_is_json_from_which_the_same_trigger_is_made(trigger: Any, kwargs: dict[str, Any]) -> None:
    classpath, first = trigger(**kwargs).serialize()
    assert classpath == f"{MODULE}.{trigger.__name__}"
    assert first == json.loads(json.dumps(first))
    assert {name: first[name] for name in kwargs} == {
        name: sorted(value, key=json.dumps) if isinstance(value, list) else value for name, value in kwargs.items()
    }
    assert trigger(**first).serialize() == (classpath, first)
    assert list(trigger(**first).serialize()[1]) == list(first)


@needs_watchers
@pytest.mark.parametrize(
    "targets",
    [
        {"won", "lost"},
        ("lost", "won"),
        [ForecastCategory.WON, "lost", "won"],
        [Word.WON, "lost"],
        (category for category in ("won", "lost")),
        frozenset({ForecastCategory.LOST, ForecastCategory.WON}),
    ],
    ids=lambda targets: type(targets).__name__,
)
def test_categories_in_any_collection_and_order_make_the_same_trigger(targets: Any) -> None:
    kwargs = OpportunityForecastCategoryEventTrigger(target_categories=targets).serialize()[1]
    assert kwargs["target_categories"] == ["lost", "won"]
    assert {type(category) for category in kwargs["target_categories"]} == {str}


@needs_watchers
@pytest.mark.parametrize(
    ("kwargs", "plain"),
    [
        ({"fields": "custom.seats"}, {"fields": ["custom.seats"]}),
        ({"fields": {"pipeline", "owner", "currency"}}, {"fields": ["currency", "owner", "pipeline"]}),
        ({"fields": "amount_in_cents", "target_values": "5000"}, {"target_values": [5000]}),
        ({"fields": "type", "target_values": (each for each in ("arr", "arr"))}, {"target_values": ["arr"]}),
        (
            {"fields": "estimated_close_date", "target_values": pendulum.datetime(2026, 5, 1)},
            {"target_values": ["2026-05-01"]},
        ),
        (
            {"filters": {"estimated_close_date_on_or_after": datetime.date(2026, 5, 1), "pipeline": None}},
            {"filters": {"estimated_close_date_on_or_after": "2026-05-01"}},
        ),
        (
            {"filters": {"customer_uuid": " cus_F466E33D-ff2b-4a11-8f85-417eb02157a7\n"}},
            {"filters": {"customer_uuid": "cus_f466e33d-ff2b-4a11-8f85-417eb02157a7"}},
        ),
        ({"filters": {}}, {"filters": None}),
        (
            {"events": Word.CREATED, "fields": Word.STAGE, "target_values": Word.CLOSED, "name": Word.NAME},
            {"events": ["created"], "fields": ["pipeline_stage"], "target_values": ["Closed Won"], "name": "emea"},
        ),
        ({"events": "deleted"}, {"events": ["deleted"]}),
        ({"events": {"deleted", "created"}}, {"events": ["created", "deleted"]}),
        ({"opportunity_uuids": EXAMPLE_OPPORTUNITY_UUID.upper()}, {"opportunity_uuids": [EXAMPLE_OPPORTUNITY_UUID]}),
        ({"poll_interval": 5}, {"poll_interval": 5.0}),
    ],
    ids="-".join,  # sets and generators differ between the processes of pytest-xdist
)
def test_arguments_are_stored_as_chartmogul_writes_them(kwargs: dict[str, Any], plain: dict[str, Any]) -> None:
    serialized = OpportunityEventTrigger(**kwargs).serialize()[1]
    assert {name: serialized[name] for name in plain} == plain
    assert json.loads(json.dumps(serialized)) == serialized


@needs_watchers
def test_an_address_is_stored_and_shown_as_a_digest() -> None:
    trigger = OpportunityEventTrigger(
        fields="owner", target_values=["ann@example.com", None], filters={"owner": "ben+crm@example.com"}
    )
    classpath, serialized = trigger.serialize()
    again = OpportunityEventTrigger(**serialized)
    assert again.serialize() == (classpath, serialized)
    for text in (json.dumps(serialized), repr(trigger), str(again), repr(vars(again))):
        assert "example.com" not in text
        assert "@" not in text


@needs_watchers
def test_parsing_a_dag_again_in_another_process_makes_the_same_trigger() -> None:
    # Airflow identifies triggers by their serialized arguments, and each process orders a set in its own way.
    stages = [f"Stage {number}" for number in range(10, 40)]
    fields = ["amount_in_cents", "currency", "estimated_close_date", "owner", "pipeline_stage", "type"]
    trigger = OpportunityEventTrigger(fields="pipeline_stage", target_values=set(stages))
    assert trigger.serialize()[1]["target_values"] == stages
    assert OpportunityEventTrigger(fields=set(fields)).serialize()[1]["fields"] == fields


@needs_watchers
@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"events": []}, "events: empty"),
        ({"events": "updated"}, "events: 'updated' is none of created, changed, deleted"),
        ({"events": 5}, "events: expected names, not 5"),
        ({"fields": "stage"}, "'stage' is not a field of an opportunity; use one of amount_in_cents"),
        ({"fields": []}, "fields: empty"),
        ({"fields": {"pipeline": "New"}}, "fields: expected names"),
        ({"fields": "{{ var.value.field }}"}, "fields: Airflow renders no templates"),
        ({"target_values": ["won"]}, "target_values: belong to one field"),
        ({"fields": ["pipeline", "owner"], "target_values": "won"}, "target_values: belong to one field"),
        ({"fields": "type", "target_values": []}, "target_values: empty"),
        ({"fields": "amount_in_cents", "target_values": "much"}, "target_values: expected a whole number, not 'much'"),
        ({"fields": "pipeline", "target_values": ["{{ x }}"]}, "target_values: Airflow renders no templates"),
        ({"filters": {"stage": "x"}}, "filters: 'stage': not one of customer_uuid"),
        ({"filters": {"pipeline": ""}}, "filters: pipeline: empty, which may mean all or none"),
        ({"filters": {"customer_uuid": "f466e33d"}}, "filters: customer_uuid: expected one like cus_"),
        ({"filters": "New Business"}, "filters: expected a dict of customer_uuid"),
        ({"filters": {"owner": [5]}}, "filters: owner: expected an email address, not list"),
        (
            {"filters": {"estimated_close_date_on_or_after": "soon"}},
            "filters: estimated_close_date_on_or_after: 'soon'",
        ),
        ({"filters": {"pipeline": "{{ var.value.pipeline }}"}}, "filters: Airflow renders no templates"),
        ({"filters": {"pipeline": "{% if true %}New{% endif %}"}}, "filters: Airflow renders no templates"),
        ({"opportunity_uuids": ["../customers"]}, "opportunity_uuid: expected one like"),
        ({"opportunity_uuids": []}, "opportunity_uuids: expected one or more"),
        ({"opportunity_uuids": 5}, "opportunity_uuids: expected one or more"),
        ({"opportunity_uuids": "{{ var.value.uuid }}"}, "opportunity_uuids: Airflow renders no templates"),
        ({"chartmogul_conn_id": "{{ var.value.conn }}"}, "chartmogul_conn_id: Airflow renders no templates"),
        ({"chartmogul_conn_id": None}, "chartmogul_conn_id: expected text, not None"),
        ({"name": "{{ var.value.name }}"}, "name: Airflow renders no templates"),
        ({"name": ""}, "name: expected text, not ''"),
        ({"poll_interval": "sixty"}, "poll_interval: expected seconds above 0, not 'sixty'"),
        ({"poll_interval": 0}, "poll_interval: expected seconds above 0, not 0"),
        ({"poll_interval": float("nan")}, "poll_interval: expected seconds above 0, not nan"),
        ({"poll_interval": float("inf")}, "poll_interval: expected seconds above 0, not inf"),
    ],
    ids=str,
)
def test_mistakes_are_refused_when_the_dag_is_parsed_in_a_way_that_spares_a_triggerer(
    kwargs: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason) as refusal:
        OpportunityEventTrigger(**kwargs)
    assert isinstance(refusal.value, TypeError)


@needs_watchers
@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"target_categories": "wno"}, "target_categories: 'wno' is not a forecast category"),
        ({"target_categories": []}, "target_categories: empty"),
        ({"target_categories": 5}, "target_categories: expected forecast categories, not 5"),
        ({"target_categories": "{{ var.value.x }}"}, "target_categories: Airflow renders no templates"),
        ({"target_categories": ["won", "{{ x }}"]}, "target_categories: Airflow renders no templates"),
        ({"filters": {"stage": "x"}}, "filters: 'stage': not one of"),
    ],
    ids=str,
)
def test_the_category_trigger_names_its_own_parameters(kwargs: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refusal:
        OpportunityForecastCategoryEventTrigger(**kwargs)
    assert isinstance(refusal.value, TypeError)


@needs_watchers
def test_no_message_about_a_mistake_holds_an_address() -> None:
    for kwargs in ({"filters": ["ann@example.com"]}, {"filters": {"owner": ["ann@example.com"]}}):
        with pytest.raises(TypeError) as refusal:
            OpportunityEventTrigger(**kwargs)
        assert "example.com" not in str(refusal.value)


@needs_watchers
def test_a_subclass_is_serialized_as_what_it_is() -> None:
    class Subclass(OpportunityForecastCategoryEventTrigger):
        pass

    classpath, _ = Subclass().serialize()
    assert classpath.startswith(f"{__name__}.")
    assert classpath.endswith(".Subclass")


@pytest.mark.parametrize("trigger", [OpportunityEventTrigger, OpportunityForecastCategoryEventTrigger])
def test_before_airflow_3_it_says_what_it_needs(trigger: Any) -> None:
    if IS_AIRFLOW_3:
        assert trigger().name is None
    else:
        with pytest.raises(TypeError, match=f"{trigger.__name__} needs Airflow 3"):
            trigger()
