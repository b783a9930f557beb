from __future__ import annotations

import copy
import dataclasses
import datetime
import json
import pickle
import uuid
from typing import Any

import pendulum
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_chartmogul.opportunity import ForecastCategory, Opportunity, OpportunityType
from airflow_provider_chartmogul.opportunity._values import (
    check_forecast_categories,
    check_opportunity_uuid,
    to_iso_date,
)

UUID = "4ee13ca4-e7fe-11ee-fa7f-f303abf41acc"

PAYLOAD = {
    "uuid": UUID,
    "customer_uuid": "cus_f466e33d-ff2b-4a11-8f85-417eb02157a7",
    "owner": "owner@example.com",
    "pipeline": "New Business",
    "pipeline_stage": "Discovery",
    "estimated_close_date": "2024-04-21",
    "currency": "USD",
    "amount_in_cents": 10000,
    "type": "recurring",
    "forecast_category": "best_case",
    "win_likelihood": 40,
    "custom": {"seats": 3, "nested": {"list": [1, None]}},
    "created_at": "2024-03-20T09:55:50.156Z",
    "updated_at": "2024-03-20T09:55:50.157Z",
}


def payload(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(PAYLOAD), **changes}


def test_all_fields_of_the_documented_object_are_read() -> None:
    opportunity = Opportunity.from_json(payload())
    assert {name: getattr(opportunity, name) for name in PAYLOAD} == {
        **PAYLOAD,
        "estimated_close_date": pendulum.date(2024, 4, 21),
        "type": OpportunityType.RECURRING,
        "forecast_category": ForecastCategory.BEST_CASE,
        "created_at": pendulum.datetime(2024, 3, 20, 9, 55, 50, 156000),
        "updated_at": pendulum.datetime(2024, 3, 20, 9, 55, 50, 157000),
    }


def test_dates_are_dates_and_times_are_aware() -> None:
    opportunity = Opportunity.from_json(payload())
    assert type(opportunity.estimated_close_date) is pendulum.Date
    for moment in (opportunity.created_at, opportunity.updated_at):
        assert isinstance(moment, pendulum.DateTime)
        assert moment.utcoffset() == datetime.timedelta(0)


def test_known_categories_and_types_are_enum_members() -> None:
    opportunity = Opportunity.from_json(payload(type="one-time", forecast_category="won"))
    assert opportunity.type is OpportunityType.ONE_TIME
    assert opportunity.forecast_category is ForecastCategory.WON


@pytest.mark.parametrize("name", ["type", "forecast_category"])
@pytest.mark.parametrize("value", ["omitted", "Best Case", ""])
def test_an_unknown_enum_value_stays_the_string_that_came(name: str, value: str) -> None:
    found = getattr(Opportunity.from_json(payload(**{name: value})), name)
    assert found == value
    assert type(found) is str


@pytest.mark.parametrize("name", [name for name in PAYLOAD if name not in ("uuid", "custom")])
def test_a_null_or_missing_field_is_none(name: str) -> None:
    missing = payload()
    del missing[name]
    assert getattr(Opportunity.from_json(missing), name) is None
    assert getattr(Opportunity.from_json(payload(**{name: None})), name) is None


def test_no_custom_attributes_are_an_empty_mapping() -> None:
    missing = payload()
    del missing["custom"]
    assert Opportunity.from_json(missing).custom == {}
    assert Opportunity.from_json(payload(custom=None)).custom == {}


def test_the_payload_is_the_very_object_that_came_and_is_left_alone() -> None:
    received = payload(arr=12.5, new_in_2027={"a": [1]}, forecast_category="unheard_of", owner=None)
    before = copy.deepcopy(received)
    opportunity = Opportunity.from_json(received)
    assert opportunity.payload is received
    assert received == before


def test_fields_cannot_be_set() -> None:
    opportunity = Opportunity.from_json(payload())
    with pytest.raises(dataclasses.FrozenInstanceError):
        opportunity.forecast_category = ForecastCategory.WON  # type: ignore[misc]  # the subject of the test


def test_a_change_of_custom_attributes_leaves_the_payload_as_it_came() -> None:
    opportunity = Opportunity.from_json(payload())
    opportunity.custom["seats"] = 4
    assert opportunity.payload == payload()


def test_a_view_can_be_copied_and_sent_to_another_process() -> None:
    opportunity = Opportunity.from_json(payload())
    assert copy.deepcopy(opportunity) == opportunity
    assert pickle.loads(pickle.dumps(opportunity)) == opportunity  # noqa: S301  # our own


def test_equal_json_makes_equal_views_that_can_be_counted_in_sets() -> None:
    first, second = Opportunity.from_json(payload()), Opportunity.from_json(payload())
    assert first == second
    assert len({first, second}) == 1
    assert first != Opportunity.from_json(payload(custom={"seats": 4}))


@pytest.mark.parametrize("show", [repr, str, "{}".format])
def test_the_owner_is_not_in_the_repr(show: Any) -> None:
    shown = show(Opportunity.from_json(payload(custom={"contact": "ada@example.com"})))
    assert UUID in shown
    assert "best_case" in shown
    assert "@" not in shown


@pytest.mark.parametrize("value", [None, [], "text", 5, {}, {"uuid": None}, {"uuid": ""}, {"data": "pong!"}])
def test_what_is_no_opportunity_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="expected a JSON object with a uuid"):
        Opportunity.from_json(value)


@pytest.mark.parametrize("name", ["estimated_close_date", "created_at", "updated_at"])
@pytest.mark.parametrize("value", ["soon", "now", "", 20240421, True, ["2024-04-21"], "10:30:00", "P1D", "2024-13-45"])
def test_a_date_that_is_none_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} of opportunity {UUID} is not ISO 8601"):
        Opportunity.from_json(payload(**{name: value}))


def test_dates_and_times_are_read_from_each_other() -> None:
    opportunity = Opportunity.from_json(
        payload(estimated_close_date="2024-04-21T23:30:00+02:00", created_at="2024-03-20")
    )
    assert opportunity.estimated_close_date == pendulum.date(2024, 4, 21)
    assert type(opportunity.estimated_close_date) is pendulum.Date
    assert opportunity.created_at == pendulum.datetime(2024, 3, 20)


@pytest.mark.parametrize("custom", [5, True, "ada@example.com", [{"key": "seats", "value": 3}]])
def test_custom_attributes_that_are_no_object_are_refused(custom: Any) -> None:
    with pytest.raises(ValueError, match=f"^custom of opportunity {UUID} is not a JSON object\\.$"):
        Opportunity.from_json(payload(custom=custom))


def test_a_time_keeps_its_offset_and_is_in_utc_without_one() -> None:
    opportunity = Opportunity.from_json(
        payload(created_at="2024-03-20T09:55:50.156-04:30", updated_at="2024-03-20 09:55")
    )
    assert str(opportunity.created_at) == "2024-03-20 09:55:50.156000-04:30"
    assert str(opportunity.updated_at) == "2024-03-20 09:55:00+00:00"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(unknown=st.dictionaries(st.text(max_size=8), _JSON, max_size=4))
def test_unknown_fields_of_any_kind_are_tolerated(unknown: dict[str, Any]) -> None:
    received = {**unknown, **PAYLOAD}
    assert json.dumps(Opportunity.from_json(received).payload) == json.dumps(received)


def test_enum_members_are_plain_text_to_json_and_templates() -> None:
    assert json.dumps(list(ForecastCategory)) == '["pipeline", "best_case", "committed", "lost", "won"]'
    assert json.dumps(list(OpportunityType)) == '["recurring", "one-time", "arr"]'
    assert f"{ForecastCategory.WON} {OpportunityType.ONE_TIME}" == "won one-time"
    assert pickle.loads(pickle.dumps(ForecastCategory.WON)) is ForecastCategory.WON  # noqa: S301  # our own bytes


def test_a_uuid_is_returned_in_lower_case() -> None:
    assert check_opportunity_uuid(UUID) == UUID
    assert check_opportunity_uuid(UUID.upper()) == UUID


@pytest.mark.parametrize("value", [f"{UUID}\n", f"\n{UUID}", f" {UUID}", f"{UUID} ", UUID.upper(), uuid.UUID(UUID)])
def test_a_uuid_may_be_an_object_or_have_white_space_around_it(value: object) -> None:
    assert check_opportunity_uuid(value) == UUID


@pytest.mark.parametrize(
    "value",
    [
        "../customers",
        "%2e%2e",
        "",
        " ",
        "\n",
        f"{UUID}/..",
        f"{UUID}?x=1",
        f"{UUID}#",
        f"{UUID}%00",
        f"opp_{UUID}",
        f"{{{UUID}}}",
        UUID.replace("-", ""),
        UUID[:-1],
        UUID.replace("4", "٤"),  # an Arabic digit
        UUID.replace("4ee1", "4eeg"),
        None,
        5,
        UUID.encode(),
        [UUID],
    ],
)
def test_anything_else_than_a_uuid_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="opportunity_uuid: expected one like"):
        check_opportunity_uuid(value)


def test_what_was_refused_is_shown_in_part() -> None:
    with pytest.raises(ValueError, match="opportunity_uuid") as refusal:
        check_opportunity_uuid("x" * 10_000)
    assert len(str(refusal.value)) < 200


@given(st.uuids())
def test_every_uuid_is_accepted(uuid: Any) -> None:
    assert check_opportunity_uuid(str(uuid)) == str(uuid)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("won", {"won"}),
        (ForecastCategory.WON, {"won"}),
        (["won", "lost"], {"won", "lost"}),
        (("won", ForecastCategory.LOST), {"won", "lost"}),
        ({"won"}, {"won"}),
        (frozenset(ForecastCategory), {"pipeline", "best_case", "committed", "lost", "won"}),
        ((name for name in ["won", "won"]), {"won"}),
        ([], set()),
    ],
)
def test_categories_may_be_one_or_several_of_any_kind(value: Any, expected: set[str]) -> None:
    assert check_forecast_categories(value, "target_categories") == expected


@pytest.mark.parametrize("value", ["Won", "won ", "", "best case", "omitted", ["won", "wno"], [None], [5], 5, True])
def test_a_mistyped_category_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^target_categories: .*forecast categor"):
        check_forecast_categories(value, "target_categories")


def test_the_refusal_of_a_category_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match="'wno' is not a forecast category; use one of pipeline, best_case, commit"):
        check_forecast_categories("wno", "target_categories")


@pytest.mark.parametrize(
    "value",
    [
        "2024-04-21",
        "2024-04-21T23:59:59Z",
        "20240421",
        datetime.date(2024, 4, 21),
        datetime.datetime(2024, 4, 21, 23, 59, tzinfo=datetime.UTC),
        pendulum.date(2024, 4, 21),
        pendulum.datetime(2024, 4, 21, 23, tz="America/New_York"),
    ],
)
def test_dates_of_any_kind_become_iso_dates(value: object) -> None:
    assert to_iso_date(value, "x") == "2024-04-21"


@pytest.mark.parametrize("value", ["soon", "", "21.04.2024", "2024-04-31", None, 20240421, 5.0, ["2024-04-21"]])
def test_what_is_no_date_is_refused_by_name(value: object) -> None:
    with pytest.raises(ValueError, match=r"^estimated_close_date_on_or_after: "):
        to_iso_date(value, "estimated_close_date_on_or_after")
