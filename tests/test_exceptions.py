from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_chartmogul import exceptions
from airflow_provider_chartmogul.exceptions import (
    ChartMogulAmbiguousCreateError,
    ChartMogulAuthenticationError,
    ChartMogulConfigurationError,
    ChartMogulError,
    ChartMogulInvalidRequestError,
    ChartMogulInvalidResponseError,
    ChartMogulNotFoundError,
    ChartMogulPermissionError,
    ChartMogulRateLimitError,
    ChartMogulUnavailableError,
    ChartMogulUnreachableError,
)

TRANSIENT = {
    ChartMogulRateLimitError,
    ChartMogulUnavailableError,
    ChartMogulUnreachableError,
    ChartMogulInvalidResponseError,
}
PERMANENT = {
    ChartMogulConfigurationError,
    ChartMogulAuthenticationError,
    ChartMogulPermissionError,
    ChartMogulNotFoundError,
    ChartMogulInvalidRequestError,
    ChartMogulAmbiguousCreateError,
}


def test_the_tree_is_complete_and_outside_of_airflows() -> None:
    assert set(ChartMogulError.__subclasses__()) == TRANSIENT | PERMANENT
    assert not issubclass(ChartMogulError, AirflowException)
    assert {error for error in TRANSIENT | PERMANENT if error.transient} == TRANSIENT


def test_the_tree_is_drawn_in_the_documentation() -> None:
    for error in (ChartMogulError, *TRANSIENT, *PERMANENT):
        assert error.__name__ in (exceptions.__doc__ or "")


@pytest.mark.parametrize("error", sorted(TRANSIENT | PERMANENT - {ChartMogulConfigurationError}, key=repr))
def test_each_error_says_what_to_do(error: type[ChartMogulError]) -> None:
    assert error.advice.endswith(".")
    assert str(error("no", method="GET", path="/v1/ping", status=500)) == (
        f"GET /v1/ping: HTTP 500: no. {error.advice}"
    )
