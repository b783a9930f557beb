from __future__ import annotations

import datetime
import enum
import json
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy
import pandas
import pendulum
import pytest

from airflow_provider_chartmogul.opportunity import ForecastCategory, OpportunityFilters, OpportunityType
from airflow_provider_chartmogul.opportunity._requests import (
    CHANGEABLE_FIELDS,
    create_body,
    list_query,
    matches_request,
    may_match_request,
    update_body,
)
from airflow_provider_chartmogul.opportunity._values import read_mapping

REQUIRED: dict[str, Any] = {
    "customer_uuid": "cus_6dc2f92e-0000-4000-8000-3f8ab7a1c0de",
    "owner": "ada@example.com",
    "pipeline": "New Business",
    "pipeline_stage": "Discovery",
    "estimated_close_date": "2030-01-31",
    "amount_in_cents": 120_000,
    "currency": "EUR",
}


class Name(str, enum.Enum):  # noqa: UP042  # such enumerations are around, and str() shows them otherwise
    CLOSED = "Closed Won"


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
        ("amount_in_cents", Decimal("10000.00"), 10000),
        ("amount_in_cents", numpy.int64(10000), 10000),
        ("estimated_close_date", " 2030-01-31\n", "2030-01-31"),
        ("currency", "USD\n", "USD"),
        ("type", " arr ", "arr"),
        ("pipeline", 2026, "2026"),
        ("pipeline_stage", Name.CLOSED, "Closed Won"),
        ("owner", Name.CLOSED, "Closed Won"),
        ("custom", {Name.CLOSED: Name.CLOSED}, [{"key": "Closed Won", "value": "Closed Won"}]),
        ("custom", {}, []),
        ("custom", {"seats": 0}, [{"key": "seats", "value": 0}]),
        ("custom", {"trial": False, "note": "", "gone": None}, [
            {"key": "trial", "value": False}, {"key": "note", "value": ""}, {"key": "gone", "value": None},
        ]),
        ("custom", {"ratio": 0.5, "since": datetime.date(2030, 1, 31)}, [
            {"key": "ratio", "value": 0.5}, {"key": "since", "value": "2030-01-31"},
        ]),
        ("custom", {"id": UUID("6dc2f92e-0000-4000-8000-3f8ab7a1c0de"), "seats": Decimal(3), "big": numpy.int64(2)}, [
            {"key": "id", "value": "6dc2f92e-0000-4000-8000-3f8ab7a1c0de"},
            {"key": "seats", "value": 3}, {"key": "big", "value": 2},
        ]),
        ("custom", {"trial": numpy.bool_(1), "ratio": numpy.float32(0.5), "since": numpy.datetime64("2030-01-31")}, [
            {"key": "trial", "value": True}, {"key": "ratio", "value": 0.5}, {"key": "since", "value": "2030-01-31"},
        ]),
        ("owner", " ada@example.com\n", "ada@example.com"),
        ("custom", {ForecastCategory.WON: ForecastCategory.LOST}, [{"key": "won", "value": "lost"}]),
        ("custom", '{"seats": 3}', [{"key": "seats", "value": 3}]),
    ],
)  # fmt: skip
def test_what_is_given_is_sent(name: str, given: Any, sent: Any) -> None:
    for body in (update_body({name: given}), create_body({**REQUIRED, name: given})):
        assert body[name] == sent
        assert type(body[name]) is type(sent)
        if name == "custom":
            assert [type(item["value"]) for item in body[name]] == [type(item["value"]) for item in sent]
        json.dumps(body)


@pytest.mark.parametrize("name", CHANGEABLE_FIELDS)
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
        ("amount_in_cents", "9" * 5000, "expected a whole number"),
        ("amount_in_cents", [1], "expected a whole number"),
        ("amount_in_cents", Decimal("0.5"), "expected a whole number, not Decimal('0.5')"),
        ("amount_in_cents", Decimal("NaN"), "expected a whole number"),
        ("amount_in_cents", Decimal("1E+18"), "expected a whole number"),
        ("win_likelihood", -1, "expected 0 to 100, not -1"),
        ("win_likelihood", 101, "expected 0 to 100, not 101"),
        ("win_likelihood", False, "expected a whole number, not False"),
        ("win_likelihood", "40 %", "expected a whole number"),
        ("estimated_close_date", "31.01.2030", "'31.01.2030' is not a date; write it as YYYY-MM-DD"),
        ("estimated_close_date", 20300131, "expected a date"),
        ("estimated_close_date", "2030-02-30", "is not a date"),
        ("currency", "usd", "expected three capital letters like USD, not 'usd'"),
        ("currency", "EURO", "expected three capital letters"),
        ("currency", 978, "expected three capital letters"),
        ("type", "one_time", "'one_time' is none of recurring, one-time, arr"),
        ("type", "", "'' is none of"),
        ("forecast_category", "Best Case", "'Best Case' is none of pipeline, best_case, committed, lost, won"),
        ("forecast_category", ["won"], "is none of"),
        ("pipeline", True, "expected text, not True"),
        ("pipeline_stage", 1.5, "expected text, not 1.5"),
        ("owner", ["ada@example.com"], "expected an email address, not list"),
        ("custom", [{"key": "seats", "value": 3}], "expected a dict or a JSON object, not list"),
        ("custom", "{'seats': 3}", "is not JSON; end a template of a dict with | tojson"),
        ("custom", "[]", "expected a dict or a JSON object, not list"),
        ("custom", {" ": 1}, "expected a name, not ' '"),
        (
            "custom",
            {"contacts": ["ada@example.com"]},
            "custom['contacts']: expected text, a number, true, false, a date or null, not list",
        ),
        ("custom", {"": 1}, "expected a name, not ''"),
        ("custom", {3: 1}, "expected a name, not 3"),
        ("custom", {"a": {"b": 1}}, "custom['a']: expected text, a number, true, false, a date or null"),
        ("custom", {"a": float("nan")}, "custom['a']: expected text, a number"),
        ("custom", {"a": Decimal("0.5")}, "custom['a']: expected text, a number"),
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
    assert "'stage': not one of customer_uuid, owner, " in str(raised.value)


def test_a_creation_misses_every_required_field() -> None:
    with pytest.raises(ValueError, match="missing") as raised:
        create_body({})
    assert str(raised.value) == " ".join(f"{name}: missing." for name in REQUIRED)


@pytest.mark.parametrize("name", ["customer_uuid", "uuid", "created_at", "amount-in-cents"])
def test_what_cannot_be_changed_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}': not one of owner, pipeline, "):
        update_body({name: "x", "currency": "USD"})


def test_a_change_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="Nothing to change; give at least one of owner"):
        update_body({})


@pytest.mark.parametrize("blank", [None, "", " \n"])
@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_field_cannot_be_empty(name: str, blank: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name}: missing.$"):
        create_body({**REQUIRED, name: blank})


@pytest.mark.parametrize("name", ["amount_in_cents", "estimated_close_date", "currency", "win_likelihood", "type"])
def test_a_field_that_is_no_text_cannot_become_empty_text(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: .*''"):
        update_body({name: ""})


@pytest.mark.parametrize("name", ["owner", "pipeline", "pipeline_stage"])
def test_empty_text_is_sent_on_change(name: str) -> None:
    assert update_body({name: ""}) == {name: ""}


def test_a_customer_is_named_in_lower_case() -> None:
    given = f" {REQUIRED['customer_uuid'].upper().replace('CUS', 'cus')}\n"
    assert create_body({**REQUIRED, "customer_uuid": given}) == REQUIRED


def test_filters_become_a_query() -> None:
    filters = {
        "customer_uuid": f" {REQUIRED['customer_uuid']} ",
        "owner": "ada@example.com",
        "pipeline": 2026,
        "pipeline_stage": None,
        "estimated_close_date_on_or_after": datetime.date(2030, 1, 1),
        "estimated_close_date_on_or_before": "2030-02-01T12:00:00Z",
    }
    assert list_query(filters) == {
        "customer_uuid": REQUIRED["customer_uuid"],
        "owner": "ada@example.com",
        "pipeline": "2026",
        "estimated_close_date_on_or_after": "2030-01-01",
        "estimated_close_date_on_or_before": "2030-02-01",
    }
    assert list_query({}) == {}


FILTERS = [*OpportunityFilters.__annotations__]


@pytest.mark.parametrize("blank", ["", " \n"])
@pytest.mark.parametrize("name", FILTERS)
def test_an_empty_filter_is_refused_with_the_reason(name: str, blank: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: empty, which may mean all or none; leave the filter out"):
        list_query({name: blank})


@pytest.mark.parametrize("name", ["stage", "custom", "cursor"])
def test_an_unknown_filter_is_refused_even_without_a_value(name: str) -> None:
    with pytest.raises(ValueError, match=f"^'{name}': not one of {', '.join(FILTERS)}"):
        list_query({name: None})


@pytest.mark.parametrize("field", ["estimated_close_date", "custom"])
def test_a_missing_date_of_pandas_is_refused(field: str) -> None:
    value = {"since": pandas.NaT} if field == "custom" else pandas.NaT
    with pytest.raises(ValueError, match=f"^{field}.*: expected "):
        update_body({field: value})


def test_a_mapping_can_come_as_json() -> None:
    assert read_mapping('{"a": 1}', "changes") == read_mapping({"a": 1}, "changes") == {"a": 1}


@pytest.mark.parametrize(
    "given", ["ada@example.com", "{'owner': 'ada@example.com'}", ["ada@example.com"], None, 3, "", "[" * 10**5]
)
def test_anything_else_than_a_mapping_is_refused_and_not_shown(given: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^changes: (the text is not JSON|expected a dict or a JSON object)"
    ) as raised:
        read_mapping(given, "changes")
    assert "ada" not in str(raised.value)


CREATED = {
    **REQUIRED,
    "uuid": "4ee13ca4-e7fe-11ee-fa7f-f303abf41acc",
    "type": "recurring",
    "forecast_category": "pipeline",
    "win_likelihood": 10,
    "custom": {},
    "created_at": "2030-01-01T00:00:00.000Z",
    "updated_at": "2030-01-01T00:00:00.000Z",
}


@pytest.mark.parametrize(
    ("given", "received"),
    [
        ({}, {}),
        ({}, {"win_likelihood": 99, "updated_at": "2030-01-02T00:00:00.000Z"}),
        ({"win_likelihood": 10}, {}),
        ({"custom": {"seats": 3, "plan": "a"}}, {"custom": {"plan": "a", "seats": 3}}),
        ({"custom": {"note": None}}, {}),
        ({"custom": {"note": None}}, {"custom": {"note": None, "other": None}}),
        ({"custom": {"id": 12345678901234567}}, {"custom": {"id": 12345678901234567}}),
    ],
)
def test_an_equal_opportunity_is_recognised(given: dict[str, Any], received: dict[str, Any]) -> None:
    body = create_body({**REQUIRED, **given})
    assert matches_request({**CREATED, **received}, body)
    assert may_match_request({**CREATED, **received}, body)


@pytest.mark.parametrize(
    ("given", "received"),
    [
        # Another lead, although similar:
        ({"custom": {"at": "2030-01-31T08:00:00Z"}}, {"custom": {"at": "2030-01-31T09:00:00Z"}}),
        ({"custom": {"id": 12345678901234567}}, {"custom": {"id": 12345678901234568}}),
        ({"custom": {"id": "007"}}, {"custom": {"id": "7"}}),
        ({"custom": {"id": "12e4"}}, {"custom": {"id": "120000"}}),
        ({"custom": {"id": "aB"}}, {"custom": {"id": "Ab"}}),
        # The same one, although different:
        ({"custom": {"at": "2030-01-31T08:00:00+02:00"}}, {"custom": {"at": "2030-01-31T06:00:00.000Z"}}),
        ({"custom": {"undefined": "x"}}, {"custom": {}}),
        ({"custom": {"undefined": "x"}}, {"custom": None}),
        ({"custom": {"undefined": "x"}}, {"custom": []}),
        ({"custom": {"added": "x"}}, {"custom": {"added": "x", "by a rule": 1}}),
        ({"custom": {"trial": True}}, {"custom": {"trial": 1}}),
        ({"custom": {"ratio": 3}}, {"custom": {"ratio": 3.0}}),
        ({"custom": {"name": "Cafe\u0301  Nord"}}, {"custom": {"name": "Café Nord"}}),
        ({"custom": {"note": "n" * 300}}, {"custom": {"note": "n" * 255}}),
        ({"forecast_category": "best_case"}, {"forecast_category": "pipeline"}),
        ({"win_likelihood": 40}, {"win_likelihood": 10}),
        ({}, {"pipeline": "New Business "}),
        ({}, {"pipeline_stage": "discovery"}),
        ({}, {"owner": "Ada@Example.com"}),
        ({}, {"estimated_close_date": "2030-01-30T23:00:00.000Z"}),
        ({}, {"currency": "eur"}),
        ({}, {"amount_in_cents": "120000"}),
        ({}, {"amount_in_cents": None}),
        # Edited since, or unknown:
        ({}, {"amount_in_cents": 1, "updated_at": "2030-01-01T00:00:01.000Z"}),
        ({}, {"amount_in_cents": 1, "created_at": None, "updated_at": None}),
    ],
)
def test_a_similar_opportunity_may_be_the_same_or_another(given: dict[str, Any], received: dict[str, Any]) -> None:
    body = create_body({**REQUIRED, **given})
    assert not matches_request({**CREATED, **received}, body)
    assert may_match_request({**CREATED, **received}, body)


@pytest.mark.parametrize("received", [{"amount_in_cents": 120_001}, {"currency": "USD"}])
def test_another_amount_or_currency_is_another_opportunity(received: dict[str, Any]) -> None:
    assert not matches_request({**CREATED, **received}, create_body(REQUIRED))
    assert not may_match_request({**CREATED, **received}, create_body(REQUIRED))
