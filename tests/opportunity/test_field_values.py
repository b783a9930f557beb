"""The fields that can be waited for and watched, and their values as ChartMogul writes them."""

from __future__ import annotations

import datetime
import enum
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy
import pendulum
import pytest

from airflow_provider_chartmogul.opportunity import ForecastCategory, OpportunityType
from airflow_provider_chartmogul.opportunity._field_values import (
    FIELDS,
    check_field,
    display_value,
    is_value,
    normalize_value,
    normalize_values,
    read_field,
)
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Sandbox


class Stage(str, enum.Enum):  # noqa: UP042  # such enumerations are around, and str() shows them otherwise
    DISCOVERY = "Discovery"


class Limit(enum.Enum):
    LARGE = 5000


def test_the_fields_are_those_of_the_json(sandbox: Sandbox) -> None:
    assert sorted(FIELDS) == sorted(sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID))


@pytest.mark.parametrize("name", [*FIELDS, "custom.seats", "custom.a b.c", "custom.é"])
def test_known_fields_and_custom_attributes_are_fields(name: str) -> None:
    assert check_field(name) == name


@pytest.mark.parametrize("name", ["stage", "Owner", "", "custom.", "customer.name", None, 5, ["owner"], "{{ x }}"])
def test_an_unknown_field_is_refused_with_the_known_ones(name: Any) -> None:
    with pytest.raises(ValueError, match=r"is not a field of an opportunity; use one of amount_in_cents, .*updated_at"):
        check_field(name)


@pytest.mark.parametrize(
    ("opportunity", "field", "value"),
    [
        ({"owner": "a@example.com"}, "owner", "a@example.com"),
        ({}, "owner", None),
        ({"custom": {"seats": 3}}, "custom.seats", 3),
        ({"custom": {"a.b": 3, "a": {"b": 4}}}, "custom.a.b", 3),
        ({"custom": {}}, "custom.seats", None),
        ({"custom": None}, "custom.seats", None),
        ({}, "custom.seats", None),
        ({"custom": "text"}, "custom.seats", None),
        ({"custom": {"seats": 3}}, "custom", {"seats": 3}),
    ],
)
def test_a_field_is_read(opportunity: dict[str, Any], field: str, value: Any) -> None:
    assert read_field(opportunity, field) == value


DAY = datetime.date(2024, 4, 21)


@pytest.mark.parametrize(
    ("field", "written", "as_the_api_writes_it"),
    [
        ("amount_in_cents", "5000", 5000),
        ("amount_in_cents", " 5000 ", 5000),
        ("amount_in_cents", 5000.0, 5000),
        ("amount_in_cents", -1, -1),
        ("amount_in_cents", Limit.LARGE, 5000),
        ("amount_in_cents", None, None),
        ("win_likelihood", "0", 0),
        ("estimated_close_date", DAY, "2024-04-21"),
        ("estimated_close_date", "2024-04-21T10:00:00Z", "2024-04-21"),
        ("estimated_close_date", pendulum.date(2024, 4, 21), "2024-04-21"),
        ("estimated_close_date", pendulum.datetime(2024, 4, 21, 23, tz="America/New_York"), "2024-04-21"),
        ("created_at", "2024-04-21T12:00:00.5+02:00", "2024-04-21T10:00:00.500Z"),
        ("created_at", datetime.datetime(2024, 4, 21, 10, tzinfo=datetime.UTC), "2024-04-21T10:00:00.000Z"),
        ("updated_at", pendulum.datetime(2024, 4, 21, 6, tz="America/New_York"), "2024-04-21T10:00:00.000Z"),
        ("updated_at", datetime.datetime(2024, 4, 21, 10), "2024-04-21T10:00:00.000Z"),  # noqa: DTZ001  # the case
        ("pipeline", "New Business", "New Business"),
        ("pipeline", 2026, "2026"),
        ("pipeline_stage", Stage.DISCOVERY, "Discovery"),
        ("type", OpportunityType.ONE_TIME, "one-time"),
        ("forecast_category", ForecastCategory.WON, "won"),
        ("forecast_category", "one that ChartMogul adds", "one that ChartMogul adds"),
        ("owner", "Ada@example.com", "Ada@example.com"),
        ("owner", " ada@example.com\n", "ada@example.com"),
        ("uuid", UUID(EXAMPLE_OPPORTUNITY_UUID), EXAMPLE_OPPORTUNITY_UUID),
        ("uuid", f"{EXAMPLE_OPPORTUNITY_UUID.upper()}\n", EXAMPLE_OPPORTUNITY_UUID),
        ("customer_uuid", "cus_F466E33D", "cus_f466e33d"),
        ("estimated_close_date", " 2024-04-21\n", "2024-04-21"),
        ("created_at", "2024-04-21T10:00:00Z\n", "2024-04-21T10:00:00.000Z"),
        ("custom.seats", numpy.int64(3), 3),
        ("custom.seats", Decimal(3), 3),
        ("custom.ratio", numpy.float32(0.5), 0.5),
        ("custom.is_campaign", numpy.bool_(1), True),
        ("custom.id", UUID(EXAMPLE_OPPORTUNITY_UUID), EXAMPLE_OPPORTUNITY_UUID),
        ("custom.seats", 3, 3),
        ("custom.seats", "3", "3"),
        ("custom.is_campaign", True, True),
        ("custom.ratio", 1.5, 1.5),
        ("custom.since", DAY, "2024-04-21"),
        ("custom", {"seats": 3, "since": DAY}, {"seats": 3, "since": "2024-04-21"}),
        ("custom", '{"seats": 3}', {"seats": 3}),
    ],
)
def test_a_value_is_written_as_the_api_writes_it(field: str, written: Any, as_the_api_writes_it: Any) -> None:
    normalized = normalize_value(field, written)
    assert normalized == as_the_api_writes_it
    assert type(normalized) is type(as_the_api_writes_it)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount_in_cents", "50.00"),
        ("amount_in_cents", "much"),
        ("amount_in_cents", 0.5),
        ("amount_in_cents", True),
        ("amount_in_cents", float("inf")),
        ("amount_in_cents", float("nan")),
        ("amount_in_cents", [5]),
        ("amount_in_cents", DAY),
        ("win_likelihood", ""),
        ("estimated_close_date", "soon"),
        ("estimated_close_date", 20240421),
        ("created_at", "soon"),
        ("created_at", DAY),
        ("created_at", 5),
        ("created_at", "0001-01-01T00:00:00+05:00"),  # in UTC before the year 1
        ("updated_at", "9999-12-31T23:00:00-05:00"),
        ("pipeline", True),
        ("pipeline", 1.5),
        ("pipeline", ["New Business"]),
        ("owner", b"ada@example.com"),
        ("custom.seats", [3]),
        ("custom.seats", float("nan")),
        ("custom", "[]"),
        ("custom", "x"),
        ("custom", 5),
        ("custom", {"a": []}),
    ],
)
def test_a_value_that_the_field_cannot_have_is_refused_by_the_name_of_its_parameter(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"^baseline_value: ") as refusal:
        normalize_value(field, value, "baseline_value")
    assert "example.com" not in str(refusal.value)
    with pytest.raises(ValueError, match=f"^{field}: "):
        normalize_value(field, value)


@pytest.mark.parametrize(
    ("field", "values", "expected"),
    [
        ("amount_in_cents", "5000", (5000,)),
        ("amount_in_cents", 0, (0,)),
        ("amount_in_cents", ["5000", 5000, None], (5000, None)),
        ("amount_in_cents", {5}, (5,)),
        ("pipeline", iter("ab"), ("a", "b")),
        ("pipeline", {"a": "the keys count"}, ("a",)),
        ("custom.x", [1, True, "1"], (1, True, "1")),
        ("custom", {"a": 1}, ({"a": 1},)),
        ("custom", [{"a": 1}, {}], ({"a": 1}, {})),
        ("pipeline", "['Köln', 'It\\'s']", ("Köln", "It's")),
        ("pipeline", ' ["a", null]\n', ("a", None)),
        ("pipeline", "[draft] x", ("[draft] x",)),
        ("pipeline", "[draft]", ("[draft]",)),
        ("amount_in_cents", "[1, '2']", (1, 2)),
    ],
)
def test_one_value_or_several_may_be_written(field: str, values: Any, expected: tuple[Any, ...]) -> None:
    assert normalize_values(field, values, "target_values") == expected


@pytest.mark.parametrize("field", ["pipeline", "amount_in_cents", "custom.seats"])
def test_bytes_are_no_list_of_numbers(field: str) -> None:
    with pytest.raises(ValueError, match=r"^target_values: expected "):
        normalize_values(field, b"abc", "target_values")


@pytest.mark.parametrize("values", [[], (), set(), {}])
def test_no_value_at_all_is_refused(values: Any) -> None:
    with pytest.raises(ValueError, match=r"^target_values: empty"):
        normalize_values("owner", values, "target_values")


@pytest.mark.parametrize(
    ("field", "actual", "expected", "is_same"),
    [
        ("amount_in_cents", 5000, 5000, True),
        ("amount_in_cents", "5000", 5000, True),
        ("custom", {"a": 1, "b": 1.0}, {"b": 1, "a": 1}, True),
        ("custom", {"a": 1}, {"a": True}, False),
        ("custom", {"a": 1}, {"a": 1, "b": None}, False),
        ("amount_in_cents", 5001, 5000, False),
        ("amount_in_cents", {"no": "number"}, 5000, False),
        ("amount_in_cents", None, 0, False),
        ("amount_in_cents", 0, None, False),
        ("estimated_close_date", "2024-04-21", "2024-04-21", True),
        ("estimated_close_date", "2024-04-21T00:00:00Z", "2024-04-21", True),
        ("created_at", "2024-04-21T10:00:00Z", "2024-04-21T10:00:00.000Z", True),
        ("created_at", "0001-01-01T00:00:00+05:00", "2024-04-21T10:00:00.000Z", False),
        ("owner", None, None, True),
        ("owner", "None", None, False),
        ("pipeline", "won", "Won", False),
        ("custom.seats", 3, "3", True),
        ("custom.seats", 1.5, "1.5", True),
        ("custom.seats", 5000.0, "5000", True),
        ("custom.seats", 5000.0, "5000.0", True),
        ("custom.seats", 5000.5, "5000", False),
        ("custom.seats", float("inf"), "5000", False),
        ("custom.flag", True, "True", True),
        ("custom.flag", True, "true", True),
        ("custom.flag", True, 1, False),
        ("custom.flag", 1, True, False),
        ("custom.flag", 1, 1.0, True),
        ("custom.flag", None, "None", False),
        ("custom", {"a": 1}, {"a": 1}, True),
        ("custom", {"a": 1}, {"a": 2}, False),
    ],
)
def test_a_value_of_the_api_is_compared_with_one_of_a_user(
    field: str, actual: Any, expected: Any, *, is_same: bool
) -> None:
    assert is_value(field, actual, expected) is is_same


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("amount_in_cents", 5000, "5000"),
        ("pipeline", "New Business", "New Business"),
        ("pipeline", None, "null"),
        ("custom.flag", True, "true"),
        ("custom", {"contact": "ada@example.com"}, '{"contact": "<email>"}'),
        ("custom.contact", "mail ada@example.com", "mail <email>"),
        ("owner", "ada@example.com", "<email>"),
        ("owner", "ada", "<email>"),
        ("owner", None, "null"),
        ("pipeline", "x" * 81, "x" * 79 + "…"),
        ("pipeline", "x" * 80, "x" * 80),
        ("custom.contact", "mail ada%40example.com", "mail <email>"),
        ("custom.notes", "x" * 3_000_000, "x" * 79 + "…"),
    ],
)
def test_a_value_is_shown_without_addresses_and_not_too_long(field: str, value: Any, shown: str) -> None:
    assert display_value(field, value) == shown
