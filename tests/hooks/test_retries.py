from __future__ import annotations

import email.utils
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_chartmogul.exceptions import (
    ChartMogulError,
    ChartMogulInvalidResponseError,
    ChartMogulRateLimitError,
    ChartMogulUnavailableError,
    ChartMogulUnreachableError,
)
from airflow_provider_chartmogul.hooks._retries import backoff_delay
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Fault
from tests.conftest import MAX_RETRIES

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Connect, Logs

NEW = {
    "customer_uuid": "cus_f466e33d-ff2b-4a11-8f85-417eb02157a7",
    "owner": "owner@example.com",
    "pipeline": "New Business",
    "pipeline_stage": "Discovery",
    "estimated_close_date": "2026-12-31",
    "amount_in_cents": 10000,
    "currency": "USD",
}
RETRIED_STATUSES = [429, 500, 502, 503, 504, 520, 524]


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE", "PUT"])
@pytest.mark.parametrize("status", RETRIED_STATUSES)
def test_what_can_be_repeated_is_sent_again_after_these_statuses(
    method: str, status: int, sandbox: Sandbox, waits: list[float]
) -> None:
    sandbox.inject_fault(Fault("status", status=status, times=None))
    with pytest.raises(ChartMogulError) as failure:
        ChartMogulHook().request(method, f"opportunities/{EXAMPLE_OPPORTUNITY_UUID}")
    assert failure.value.status == status
    assert len(sandbox.requests) == 1 + MAX_RETRIES
    assert len(waits) == MAX_RETRIES


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 409, 418, 422, 501, 505])
def test_nothing_is_sent_again_after_others(status: int, sandbox: Sandbox, waits: list[float]) -> None:
    sandbox.inject_fault(Fault("status", status=status, times=None))
    with pytest.raises(ChartMogulError):
        ChartMogulHook().request("GET", "ping")
    assert len(sandbox.requests) == 1
    assert waits == []


@pytest.mark.parametrize("kind", ["reset", "truncate"])
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_what_can_be_repeated_is_sent_again_after_network_errors(
    method: str, kind: Any, sandbox: Sandbox, waits: list[float]
) -> None:
    sandbox.inject_fault(Fault(kind, times=2))
    body: dict[str, Any] | None = {} if method == "PATCH" else None
    ChartMogulHook().request(method, f"opportunities/{EXAMPLE_OPPORTUNITY_UUID}", json=body)
    assert len(sandbox.requests) == 3
    assert len(waits) == 2


@pytest.mark.usefixtures("waits")
def test_a_success_after_retries_is_a_success(sandbox: Sandbox, logs: Logs) -> None:
    sandbox.inject_fault(Fault("status", status=503, times=MAX_RETRIES))
    assert ChartMogulHook().request("GET", "ping") == {"data": "pong!"}
    said = [message for message in logs.messages if "Trying again" in message]
    assert len(said) == MAX_RETRIES
    assert said[0].startswith(
        "GET /v1/ping: HTTP 503: Service unavailable (connection: chartmogul_default). Trying again in "
    )
    assert said[-1].endswith(f"(retry {MAX_RETRIES} of {MAX_RETRIES}).")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("reset", times=None), ChartMogulUnreachableError),
        (Fault("hang", times=None), ChartMogulUnreachableError),
        (Fault("truncate", times=None), ChartMogulUnreachableError),
        (Fault("html", times=None), ChartMogulInvalidResponseError),
        *((Fault("status", status=status, times=None), ChartMogulUnavailableError) for status in RETRIED_STATUSES[1:]),
    ],
    ids=lambda value: f"{value.kind}-{value.status}" if isinstance(value, Fault) else "",
)
def test_a_post_is_sent_once_where_the_server_may_have_acted(
    fault: Fault, error: type[ChartMogulError], sandbox: Sandbox, connect: Connect, waits: list[float]
) -> None:
    connect(extra={"max_retries": 5, "timeout": 0.2})
    sandbox.inject_fault(fault)
    with pytest.raises(error) as failure:
        ChartMogulHook().request("POST", "opportunities", json=NEW)
    assert failure.value.may_have_acted
    assert len(sandbox.requests) == 1
    assert waits == []


def test_a_post_whose_response_was_lost_does_not_create_twice(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("reset", after_acting=True))
    before = len(sandbox.opportunities)
    with pytest.raises(ChartMogulUnreachableError):
        ChartMogulHook().request("POST", "opportunities", json=NEW)
    assert len(sandbox.opportunities) == before + 1


def test_a_post_is_sent_again_after_429(sandbox: Sandbox, waits: list[float]) -> None:
    sandbox.inject_fault(Fault("status", status=429, times=2))
    before = len(sandbox.opportunities)
    created = ChartMogulHook().request("POST", "opportunities", json=NEW)
    assert created["amount_in_cents"] == 10000
    assert len(sandbox.opportunities) == before + 1
    assert len(sandbox.requests) == 3
    assert len(waits) == 2


def test_a_post_is_sent_again_where_no_connection_came_about(sandbox: Sandbox, waits: list[float]) -> None:
    sandbox.stop()
    with pytest.raises(ChartMogulUnreachableError) as failure:
        ChartMogulHook().request("POST", "opportunities", json=NEW)
    assert not failure.value.may_have_acted
    assert len(waits) == MAX_RETRIES


def test_a_post_is_not_sent_again_after_a_400(sandbox: Sandbox) -> None:
    with pytest.raises(ChartMogulError, match="missing"):
        ChartMogulHook().request("POST", "opportunities", json={})
    assert len(sandbox.requests) == 1


def test_max_retries_of_a_hook_is_the_number_that_counts(connect: Connect) -> None:
    connect(extra={"max_retries": 4})
    assert ChartMogulHook().max_retries == 4
    assert ChartMogulHook(max_retries=0).max_retries == 0
    assert ChartMogulHook(max_retries=7).max_retries == 7


def test_the_hooks_own_number_of_retries_overrides_the_connections(sandbox: Sandbox, waits: list[float]) -> None:
    sandbox.inject_fault(Fault("status", times=None))
    for max_retries in (0, 3):
        sandbox.clear_requests()
        with pytest.raises(ChartMogulUnavailableError):
            ChartMogulHook(max_retries=max_retries).request("GET", "ping")
        assert len(sandbox.requests) == 1 + max_retries
    assert len(waits) == 3


def test_waits_double_from_half_a_second_to_a_minute_and_are_spread(
    sandbox: Sandbox, connect: Connect, waits: list[float]
) -> None:
    connect(extra={"max_retries": 10})
    sandbox.inject_fault(Fault("status", times=None))
    with pytest.raises(ChartMogulUnavailableError):
        ChartMogulHook().request("GET", "ping")
    longest = [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert len(waits) == len(longest)
    assert all(most / 2 <= wait <= most for wait, most in zip(waits, longest, strict=True))
    assert len(set(waits[-3:])) == 3


def test_the_backoff_of_the_engine_which_retries_without_end_stays_at_a_minute() -> None:
    assert all(30 <= backoff_delay(retry, None) <= 60 for retry in (7, 100, 10_000))


def test_retry_after_is_waited_for(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("status", status=429, retry_after=1))
    started = time.monotonic()
    assert ChartMogulHook().request("GET", "ping") == {"data": "pong!"}
    first, second = sandbox.requests
    assert second.at - first.at >= 1.0
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("status", "retry_after", "least", "most"),
    [(429, 0, 0, 0), (429, 7, 7, 8), (500, 7, 7, 8), (503, 7, 7, 8), (429, 60, 60, 61), (429, "  3 ", 3, 4)],
)
def test_retry_after_takes_the_place_of_the_backoff(
    *, status: int, retry_after: Any, least: float, most: float, sandbox: Sandbox, waits: list[float]
) -> None:
    sandbox.inject_fault(Fault("status", status=status, retry_after=retry_after))
    ChartMogulHook().request("GET", "ping")
    (wait,) = waits
    assert least <= wait <= most


def test_what_failed_together_does_not_return_together(sandbox: Sandbox, waits: list[float]) -> None:
    sandbox.inject_fault(Fault("status", status=429, retry_after=7, times=2))
    ChartMogulHook().request("GET", "ping")
    assert len(set(waits)) == 2


@pytest.mark.parametrize(("seconds", "least", "most"), [(30, 25, 32), (-3600, 0, 0)])
def test_retry_after_may_be_a_date(
    seconds: int, least: float, most: float, sandbox: Sandbox, waits: list[float]
) -> None:
    date = email.utils.formatdate(time.time() + seconds, usegmt=True)
    sandbox.inject_fault(Fault("status", status=429, retry_after=date))
    ChartMogulHook().request("GET", "ping")
    (wait,) = waits
    assert least <= wait <= most


@pytest.mark.parametrize(
    "retry_after",
    [
        "soon",
        "",
        "-5",
        "1.5",
        "nan",
        "Wed, 99 Foo 2026 99:99:99 GMT",
        "Sun, 06 Nov 99999 08:49:37 GMT",
        "Sun, 06 Nov 99999999999 08:49:37 GMT",
        "9" * 5000,
    ],
)
def test_a_retry_after_that_makes_no_sense_does_no_harm(retry_after: str, sandbox: Sandbox, waits: list[float]) -> None:
    sandbox.inject_fault(Fault("status", status=429, retry_after=retry_after, times=None))
    with pytest.raises(ChartMogulRateLimitError):
        ChartMogulHook().request("GET", "ping")
    assert all(wait <= 60 for wait in waits)


@pytest.mark.parametrize(
    "retry_after",
    [61, 3600, 10**12, pytest.param(email.utils.formatdate(time.time() + 7200, usegmt=True), id="a date")],
)
def test_a_retry_after_above_a_minute_is_given_up_at_once(
    retry_after: Any, sandbox: Sandbox, waits: list[float]
) -> None:
    sandbox.inject_fault(Fault("status", status=429, retry_after=retry_after, times=None))
    with pytest.raises(ChartMogulRateLimitError) as failure:
        ChartMogulHook().request("GET", "ping")
    assert failure.value.retry_after is not None
    assert failure.value.retry_after >= 61
    assert len(sandbox.requests) == 1
    assert waits == []


def test_a_server_that_says_nothing_is_given_up_after_the_timeout(sandbox: Sandbox, connect: Connect) -> None:
    connect(extra={"max_retries": 0, "timeout": "0.2"})
    sandbox.inject_fault(Fault("hang", seconds=60))
    started = time.monotonic()
    with pytest.raises(ChartMogulUnreachableError, match="timed out"):
        ChartMogulHook().request("GET", "ping")
    assert 0.2 <= time.monotonic() - started < 30


def test_an_earlier_try_that_may_have_acted_is_remembered(sandbox: Sandbox, waits: list[float]) -> None:
    sandbox.inject_fault(Fault("reset", after_acting=True))
    with pytest.raises(ChartMogulError) as failure:
        ChartMogulHook().request("DELETE", f"opportunities/{EXAMPLE_OPPORTUNITY_UUID}")
    assert failure.value.status == 404
    assert failure.value.may_have_acted
    assert len(waits) == 1
