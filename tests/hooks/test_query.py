"""Endpoints and query parameters, as users write them and as ChartMogul gets them."""

from __future__ import annotations

import datetime
import decimal
import enum
import re
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import pendulum
import pytest

from airflow_provider_chartmogul.exceptions import ChartMogulNotFoundError
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.opportunity import ForecastCategory
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Fault

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox


class Stage(str, enum.Enum):  # noqa: UP042  # such enumerations are around, and str() shows them otherwise
    CLOSED = "Closed Won"


class Level(enum.Enum):
    THIRD = 3


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "true"),
        (False, "false"),
        (np.True_, "true"),
        (np.False_, "false"),
        (5, "5"),
        (0, "0"),
        (np.int64(7), "7"),
        (decimal.Decimal(12), "12"),
        (decimal.Decimal("1E+3"), "1000"),
        (decimal.Decimal("0.50"), "0.50"),
        (1.5, "1.5"),
        (2.0, "2"),
        (np.float64(0.25), "0.25"),
        (datetime.date(2026, 5, 5), "2026-05-05"),
        (datetime.datetime(2026, 5, 5, 10, tzinfo=datetime.UTC), "2026-05-05T10:00:00+00:00"),
        (pendulum.date(2026, 5, 5), "2026-05-05"),
        (uuid.UUID(EXAMPLE_OPPORTUNITY_UUID), EXAMPLE_OPPORTUNITY_UUID),
        (ForecastCategory.WON, "won"),
        (Stage.CLOSED, "Closed Won"),
        ([Stage.CLOSED, Level.THIRD], "Closed Won,3"),
        ("Köln & Bonn?", "Köln & Bonn?"),
        (["USA", "DE"], "USA,DE"),
        ((True, datetime.date(2026, 5, 5), 3), "true,2026-05-05,3"),
        ({"one"}, "one"),
    ],
)
def test_values_are_written_as_chartmogul_reads_them(value: Any, expected: str, sandbox: Sandbox) -> None:
    ChartMogulHook().request("GET", "ping", params={"value": value, "left_out": None})
    list(ChartMogulHook().paginate("opportunities", {"value": value, "left_out": None}))
    assert sandbox.requests[0].query == {"value": expected}
    assert sandbox.requests[1].query == {"value": expected, "per_page": "200"}


@pytest.mark.parametrize("value", ["\ud800", ["a", "b\udfff"]])
def test_text_that_utf8_cannot_hold_is_refused_before_a_request(value: Any, sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="value: has half of a surrogate pair"):
        ChartMogulHook().request("GET", "customers", params={"value": value})
    assert sandbox.requests == []


@pytest.mark.parametrize("value", ["", "  ", "\n", [], (), [""], ["a", ""], ["a", " "]])
def test_an_empty_value_may_mean_all_or_none_and_is_refused(value: Any, sandbox: Sandbox) -> None:
    for use in (
        ChartMogulHook().paginate,
        lambda endpoint, query: ChartMogulHook().request("GET", endpoint, params=query),
    ):
        with pytest.raises(ValueError, match="pipeline: empty, which may mean all or none; leave it out"):
            use("opportunities", {"pipeline": value})
    assert sandbox.requests == []


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1},
        b"bytes",
        object(),
        float("nan"),
        float("inf"),
        decimal.Decimal("NaN"),
        [{"a": 1}],
        1j,
        [b"grace@x.org"],
    ],
)
def test_what_has_no_form_in_a_query_is_refused_and_not_shown(value: Any, sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="owner: expected text, a number, true, false, a date, or a list") as refusal:
        ChartMogulHook().request("GET", "opportunities", params={"owner": value})
    assert "grace" not in str(refusal.value)
    assert sandbox.requests == []


def test_an_item_that_would_be_read_as_two_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="plans: an item with a comma"):
        ChartMogulHook().request("GET", "metrics/mrr", params={"plans": ["Gold, monthly", "Silver"]})
    assert sandbox.requests == []


def test_a_query_may_be_the_json_that_a_template_renders_to(sandbox: Sandbox) -> None:
    list(ChartMogulHook().paginate("opportunities", '{"pipeline": "Renewals", "per_page": 2, "owner": null}'))
    assert sandbox.requests[0].query == {"pipeline": "Renewals", "per_page": "2"}


@pytest.mark.parametrize("query", ["{'pipeline': 'Renewals'}", "[]", "5", "soon", ["pipeline"], 5])
def test_what_is_no_query_is_refused(query: Any, sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="query: "):
        ChartMogulHook().paginate("opportunities", query)
    assert sandbox.requests == []


@pytest.mark.parametrize(
    "endpoint",
    [
        "data_sources/ds_1/invoices/INV%231/status",
        "invoices/INV%2F2026%2F1",
        "invoices/100%25",
        "customers/K%C3%B6ln",
        "customers/a..b",
        "customers/...",
        "customers/-dashes-",
        "customers/tilde~",
        "customers/a%20b",
        "customers/%41",
    ],
)
def test_external_ids_may_be_percent_encoded(endpoint: str, sandbox: Sandbox) -> None:
    with pytest.raises(ChartMogulNotFoundError):
        ChartMogulHook().request("GET", endpoint)
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize(
    "endpoint",
    [
        "customers/%2e%2e/x",
        "customers/%2E%2e",
        "customers/.%2e/x",
        "customers/%2e/x",
        "customers/%252e%252e/x",
        "customers/%25252e%25252e/x",
        "customers/%25%32%65%25%32%65/x",
        "customers/..%2fx",
        "customers/x%2f..%2f..%2fy",
        "customers/x%252f..%252fy",
        "customers/x%5c..%5cy",
        "customers/..%3Bx/y",
        "customers/%2e%2e%20/y",
        "customers/%c0%ae%c0%ae/x",
        "customers/%00",
        "customers/a%0d%0ab",
        "customers/%250a",
        "%2e%2e",
        "%",
        "customers/%zz",
        "customers/100%",
    ],
)
def test_dot_segments_and_control_characters_are_refused_in_any_encoding(endpoint: str, sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="endpoint: expected a path below /v1"):
        ChartMogulHook().request("GET", endpoint)
    with pytest.raises(ValueError, match="endpoint: expected a path below /v1"):
        ChartMogulHook().pages(endpoint)
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("endpoint", "right"),
    [
        ("v1/customers", "customers"),
        ("/v1/customers", "customers"),
        ("/customers", "customers"),
        ("V1/customers", "customers"),
        ("//customers/", "customers"),
        ("customers/", "customers"),
        ("customers\n", "customers"),
        ("https://api.chartmogul.com/v1/customers/cus_1/attributes", "customers/cus_1/attributes"),
    ],
)
def test_the_right_spelling_of_an_endpoint_is_said(endpoint: str, right: str, sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match=rf"not {re.escape(repr(endpoint))}; write {right}$"):
        ChartMogulHook().request("GET", endpoint)
    assert sandbox.requests == []


@pytest.mark.parametrize("endpoint", ["customers/grace@example.com", "customers?email=grace%40example.com", 5, None])
def test_of_an_endpoint_that_is_none_no_address_is_shown(endpoint: Any, sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="percent-encode ids in it, and give query parameters as params") as refusal:
        ChartMogulHook().request("GET", endpoint)
    assert "grace" not in str(refusal.value)
    assert sandbox.requests == []


def test_an_address_in_a_path_is_in_no_error(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("status", status=422))
    with pytest.raises(Exception, match="/v1/customers/<email>") as failure:
        ChartMogulHook().request("GET", "customers/grace%2Bemea%40example.com")
    assert "grace" not in repr(vars(failure.value))
