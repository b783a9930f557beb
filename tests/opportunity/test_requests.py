from __future__ import annotations

import datetime
import json
from typing import Any

import pendulum
import pytest

from airflow_provider_chartmogul.opportunity import ForecastCategory, OpportunityType
from airflow_provider_chartmogul.opportunity._requests import (
    UPDATABLE_FIELDS,
    create_body,
    matches_request,
    update_body,
)

REQUIRED: dict[str, Any] = {
    "customer_uuid": "cus_6dc2f92e-0000-4000-8000-3f8ab7a1c0de",
    "owner": "ada@example.com",
    "pipeline": "New Business",
    "pipeline_stage": "Discovery",
    "estimated_close_date": "2030-01-31",
    "amount_in_cents": 120_000,
    "currency": "EUR",
}


class Index:
    def __index__(self) -> int:
        return 7


@pytest.mark.parametrize(
    ("name", "given", "sent"),
    [
        ("amount_in_cents", 0, 0),
        ("amount_in_cents", -5, -5),
        ("amount_in_cents", "10000", 10000),
        ("amount_in_cents", " 10000\n", 10000),
        ("amount_in_cents", "-3", -3),
        ("amount_in_cents", Index(), 7),
        ("win_likelihood", 0, 0),
        ("win_likelihood", "40", 40),
        ("win_likelihood", 100, 100),
        ("estimated_close_date", datetime.date(2030, 1, 31), "2030-01-31"),
        ("estimated_close_date", datetime.datetime(2030, 1, 31, 23, tzinfo=datetime.UTC), "2030-01-31"),
        ("estimated_close_date", pendulum.date(2030, 1, 31), "2030-01-31"),
        ("estimated_close_date", pendulum.datetime(2030, 1, 31), "2030-01-31"),
        ("estimated_close_date", "2030-01-31T12:00:00Z", "2030-01-31"),
        ("type", OpportunityType.ARR, "arr"),
        ("type", "one-time", "one-time"),
        ("forecast_category", ForecastCategory.BEST_CASE, "best_case"),
        ("forecast_category", "won", "won"),
        ("pipeline", "", ""),
        ("pipeline", 2026, "2026"),
        ("owner", "", ""),
        ("custom", {}, []),
        ("custom", {"seats": 0}, [{"key": "seats", "value": 0}]),
        ("custom", {"trial": False, "note": "", "gone": None}, [
            {"key": "trial", "value": False}, {"key": "note", "value": ""}, {"key": "gone", "value": None},
        ]),
        ("custom", {"ratio": 0.5, "since": datetime.date(2030, 1, 31)}, [
            {"key": "ratio", "value": 0.5}, {"key": "since", "value": "2030-01-31"},
        ]),
        ("custom", '{"seats": 3}', [{"key": "seats", "value": 3}]),
    ],
)  # fmt: skip
def test_what_is_given_is_sent(name: str, given: Any, sent: Any) -> None:
    for body in (update_body({name: given}), create_body({**REQUIRED, name: given})):
        assert body[name] == sent
        assert type(body[name]) is type(sent)
        json.dumps(body)


@pytest.mark.parametrize("name", UPDATABLE_FIELDS)
def test_an_explicit_null_is_sent_on_change(name: str) -> None:
    assert update_body({name: None}) == {name: None}


def test_only_what_is_named_is_changed() -> None:
    assert update_body({"win_likelihood": 0, "currency": "USD"}) == {"win_likelihood": 0, "currency": "USD"}


def test_optional_fields_that_are_none_are_left_out_of_a_creation() -> None:
    assert create_body({**REQUIRED, "type": None, "custom": None}) == REQUIRED


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("amount_in_cents", 100.0, "expected a whole number, not 100.0"),
        ("amount_in_cents", True, "expected a whole number, not True"),
        ("amount_in_cents", "100.0", "expected a whole number, not '100.0'"),
        ("amount_in_cents", "1e3", "expected a whole number, not '1e3'"),
        ("amount_in_cents", "", "expected a whole number, not ''"),
        ("amount_in_cents", "9" * 5000, "expected a whole number"),
        ("amount_in_cents", [1], "expected a whole number"),
        ("win_likelihood", -1, "expected 0 to 100, not -1"),
        ("win_likelihood", 101, "expected 0 to 100, not 101"),
        ("win_likelihood", False, "expected a whole number, not False"),
        ("win_likelihood", "40 %", "expected a whole number"),
        ("estimated_close_date", "31.01.2030", "'31.01.2030' is not a date; write it as YYYY-MM-DD"),
        ("estimated_close_date", 20300131, "expected a date"),
        ("estimated_close_date", "2030-02-30", "is not a date"),
        ("currency", "usd", "expected three capital letters like USD, not 'usd'"),
        ("currency", "EURO", "expected three capital letters"),
        ("currency", "", "expected three capital letters"),
        ("currency", 978, "expected three capital letters"),
        ("type", "one_time", "'one_time' is none of recurring, one-time, arr"),
        ("type", "", "'' is none of"),
        ("forecast_category", "Best Case", "'Best Case' is none of pipeline, best_case, committed, lost, won"),
        ("forecast_category", ["won"], "is none of"),
        ("pipeline", True, "expected text, not True"),
        ("pipeline_stage", 1.5, "expected text, not 1.5"),
        ("owner", ["ada@example.com"], "expected an email address, not list"),
        ("custom", [{"key": "seats", "value": 3}], "expected a dict of custom attributes"),
        ("custom", "{'seats': 3}", "is not JSON; end a template of a dict with | tojson"),
        ("custom", "[]", "expected a dict of custom attributes"),
        ("custom", {"": 1}, "expected a name, not ''"),
        ("custom", {3: 1}, "expected a name, not 3"),
        ("custom", {"a": {"b": 1}}, "custom['a']: expected text, a number, true, false, a date or null"),
        ("custom", {"a": float("nan")}, "custom['a']: expected text, a number"),
    ],
)
def test_what_is_wrong_is_refused(name: str, given: Any, message: str) -> None:
    for write in (update_body, lambda changes: create_body({**REQUIRED, **changes})):
        with pytest.raises(ValueError, match=f"^{name}") as raised:
            write({name: given})
        assert message in str(raised.value)
        assert "ada@" not in str(raised.value)
        assert len(str(raised.value)) < 300


def test_one_message_names_all_problems() -> None:
    with pytest.raises(ValueError, match="customer_uuid") as raised:
        create_body(
            {
                **REQUIRED,
                "customer_uuid": "6dc2f92e",
                "owner": None,
                "amount_in_cents": 1.5,
                "currency": "€",
                "win_likelihood": 400,
                "custom": {"a": [], "b": ()},
                "stage": "Discovery",
            }
        )
    for name in (
        "customer_uuid",
        "owner",
        "amount_in_cents",
        "currency",
        "win_likelihood",
        "custom['a']",
        "custom['b']",
    ):
        assert f"{name}: " in str(raised.value)
    assert "'stage': cannot be set" in str(raised.value)


def test_a_creation_misses_every_required_field() -> None:
    with pytest.raises(ValueError, match="missing") as raised:
        create_body({})
    assert str(raised.value) == " ".join(f"{name}: missing." for name in REQUIRED)


@pytest.mark.parametrize("name", ["customer_uuid", "uuid", "created_at", "amount-in-cents"])
def test_what_cannot_be_changed_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}': cannot be set; what can is owner, pipeline,"):
        update_body({name: "x", "currency": "USD"})


def test_a_change_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="Nothing to change; give at least one of owner"):
        update_body({})


@pytest.mark.parametrize(
    ("given", "received", "is_same"),
    [
        ({}, {}, True),
        ({"custom": {"seats": 3}}, {"custom": {"seats": 3, "other": 1}}, True),
        ({"custom": {"seats": "3"}}, {"custom": {"seats": 3}}, True),
        ({"custom": {"seats": 3}}, {"custom": {"seats": 4}}, False),
        ({"custom": {"seats": 3}}, {"custom": {}}, False),
        ({"custom": {"seats": 3}}, {"custom": None}, False),
        ({"custom": {"trial": True}}, {"custom": {"trial": "true"}}, True),
        ({"custom": {"trial": True}}, {"custom": {"trial": False}}, False),
        ({"custom": {"note": "nan"}}, {"custom": {"note": "nan"}}, True),
        ({"custom": {"note": ""}}, {"custom": {}}, True),
        ({"custom": {"since": "2030-01-31"}}, {"custom": {"since": "2030-01-31T00:00:00.000Z"}}, True),
        ({}, {"amount_in_cents": 120_001}, False),
        ({}, {"currency": "eur"}, True),
        ({}, {"owner": "Ada@Example.com"}, True),
        ({}, {"owner": None}, False),
        ({}, {"estimated_close_date": "2030-01-31T00:00:00.000Z"}, True),
        ({}, {"estimated_close_date": "2030-02-01"}, False),
        ({"win_likelihood": 0}, {"win_likelihood": 10}, False),
        ({}, {"win_likelihood": 10}, True),
    ],
)
def test_what_was_made_of_a_request_is_recognised(
    given: dict[str, Any],
    received: dict[str, Any],
    is_same: bool,  # noqa: FBT001
) -> None:
    opportunity = {**REQUIRED, "type": "recurring", "win_likelihood": 0, "custom": {}, **received}
    assert matches_request(opportunity, create_body({**REQUIRED, **given})) is is_same
