"""Retrieving many opportunities by UUID."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_chartmogul.exceptions import (
    ChartMogulAuthenticationError,
    ChartMogulNotFoundError,
    ChartMogulRateLimitError,
    ChartMogulUnavailableError,
)
from airflow_provider_chartmogul.hooks._connection_settings import ConnectionSettings
from airflow_provider_chartmogul.hooks._rate_limit import RateLimit
from airflow_provider_chartmogul.hooks._retrieve_many import Pace, retrieve_many
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.sandbox import Fault, Sandbox
from tests.support.waits import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Connect, Logs

SINGLY = r"/v1/opportunities/[0-9a-f]"
LISTED = r"/v1/opportunities$"
MISSING = ["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"]


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Serve 300 opportunities without a relevant rate limit, with few connections."""
    with Sandbox(opportunities=300, requests_per_second=None) as sandbox:
        extra = '{"max_retries": 1, "max_requests_per_second": 10000, "max_concurrent_requests": 4}'
        uri = (
            f'{{"conn_type": "chartmogul", "host": "{sandbox.url}", "password": "{sandbox.api_key}", "extra": {extra}}}'
        )
        monkeypatch.setenv("AIRFLOW_CONN_CHARTMOGUL_DEFAULT", uri)
        yield sandbox


def uuids(sandbox: Sandbox) -> list[str]:
    return [opportunity["uuid"] for opportunity in sandbox.opportunities]


def paths(sandbox: Sandbox) -> list[str]:
    return [request.path for request in sandbox.requests]


@pytest.mark.parametrize("count", [0, 1, 4])
def test_a_few_are_retrieved_singly_in_the_order_given(count: int, account: Sandbox) -> None:
    wanted = uuids(account)[5 : 5 + count][::-1]
    assert ChartMogulHook().retrieve_opportunities(wanted) == [account.opportunity(one) for one in wanted]
    assert sorted(paths(account)) == sorted(f"/v1/opportunities/{one}" for one in wanted)


def test_many_are_found_in_the_list_where_that_is_faster(account: Sandbox) -> None:
    wanted = uuids(account)[::-1]
    account.inject_fault(Fault("slow", seconds=0.1, path=SINGLY, times=None))
    assert ChartMogulHook().retrieve_opportunities(iter(wanted)) == [account.opportunity(one) for one in wanted]
    assert paths(account).count("/v1/opportunities") == 2
    assert len(account.requests) < 100


def test_many_are_retrieved_singly_where_the_list_is_slow_or_fails(account: Sandbox, logs: Logs) -> None:
    wanted = uuids(account)[::10]
    for fault in (
        Fault("slow", seconds=0.5, path=LISTED, times=None),
        Fault("status", status=403, path=LISTED, times=None),
    ):
        account.clear_faults()
        account.inject_fault(fault)
        assert ChartMogulHook().retrieve_opportunities(wanted) == [account.opportunity(one) for one in wanted]
    assert any("HTTP 403" in message and "retrieved individually" in message for message in logs.messages)


def test_one_that_is_given_twice_is_retrieved_once_and_returned_twice(account: Sandbox) -> None:
    (one,) = uuids(account)[:1]
    given: list[str | uuid.UUID] = [one, f" {one.upper()}\n", uuid.UUID(one)]
    assert ChartMogulHook().retrieve_opportunities(given) == [account.opportunity(one)] * 3
    assert len(account.requests) == 1


@pytest.mark.parametrize("count", [1, 50])
def test_all_that_are_missing_are_named(count: int, account: Sandbox) -> None:
    wanted = uuids(account)[:count]
    with pytest.raises(ChartMogulNotFoundError) as failure:
        ChartMogulHook().retrieve_opportunities([MISSING[1], *wanted, MISSING[0], MISSING[1]])
    expected = f"2 of {count + 2} opportunities do not exist: {MISSING[1]}, {MISSING[0]}"
    assert failure.value.message == expected
    assert failure.value.status == 404
    assert all(one not in str(failure.value) for one in wanted)


def test_one_that_the_list_lacks_is_retrieved_individually(account: Sandbox) -> None:
    wanted = uuids(account)[:50]
    account.inject_fault(Fault("body", body='{"entries":[{"uuid":5},{}],"has_more":false}', path=LISTED))
    assert ChartMogulHook().retrieve_opportunities(wanted) == [account.opportunity(one) for one in wanted]


def test_a_transient_error_is_retried_and_one_that_stays_ends_all(account: Sandbox) -> None:
    wanted = uuids(account)[:20]
    account.inject_fault(Fault("status", status=503, path=SINGLY, retry_after=0))
    assert len(ChartMogulHook().retrieve_opportunities(wanted)) == 20
    account.inject_fault(Fault("status", status=503, retry_after=0, times=None))
    with pytest.raises(ChartMogulUnavailableError):
        ChartMogulHook().retrieve_opportunities(wanted)
    account.clear_faults()
    account.inject_fault(Fault("status", status=401, times=None))
    before = len(account.requests)
    with pytest.raises(ChartMogulAuthenticationError):
        ChartMogulHook().retrieve_opportunities(wanted)
    assert len(account.requests) - before <= 2 * 4


SETTINGS = ConnectionSettings("https://account.example/v1", is_loopback=False, api_key="key")


def test_nothing_more_is_requested_once_an_error_ends_all() -> None:
    wanted = [str(uuid.UUID(int=number)) for number in range(10_000)]
    has_failed = threading.Event()
    pages: list[str] = []
    others: list[str] = []

    def request(method: str, endpoint: str, **_: Any) -> Any:
        if endpoint.endswith(wanted[0]):
            has_failed.set()
            raise ChartMogulAuthenticationError("wrong key", method=method, path=f"/v1/{endpoint}", status=401)
        has_failed.wait(PATIENCE)
        if endpoint != "opportunities":
            others.append(endpoint)
            return {"uuid": endpoint.rpartition("/")[2]}
        pages.append(endpoint)
        return {"entries": [], "cursor": str(len(pages)), "has_more": len(pages) < 10_000}

    with pytest.raises(ChartMogulAuthenticationError):
        retrieve_many(wanted, request, SETTINGS)
    assert len(pages) < 10_000
    assert len(others) < len(wanted) - 1


def test_one_that_the_list_shows_is_not_missing() -> None:
    wanted = [str(uuid.UUID(int=number)) for number in range(50)]
    is_requested, is_listed = threading.Event(), threading.Event()

    def request(method: str, endpoint: str, *, params: Any = None, **_: Any) -> Any:
        if endpoint == "opportunities":
            if "cursor" in params:
                is_listed.set()
                return {"entries": [], "has_more": False}
            is_requested.wait(PATIENCE)
            return {"entries": [{"uuid": wanted[0], "updated_at": "now"}], "cursor": "next", "has_more": True}
        if endpoint.endswith(wanted[0]):
            is_requested.set()
        is_listed.wait(PATIENCE)
        if endpoint.endswith(wanted[0]):
            raise ChartMogulNotFoundError("gone", method=method, path=f"/v1/{endpoint}", status=404)
        return {"uuid": endpoint.rpartition("/")[2]}

    found = retrieve_many(wanted, request, SETTINGS)
    assert found.keys() == set(wanted)
    assert found[wanted[0]]["updated_at"] == "now"


def test_one_at_a_time_they_are_requested_in_the_order_given(account: Sandbox, connect: Connect) -> None:
    connect(host=account.url, password=account.api_key, port=None, extra={"max_concurrent_requests": 1})
    wanted = uuids(account)[:5][::-1]
    ChartMogulHook().retrieve_opportunities(wanted)
    assert paths(account) == [f"/v1/opportunities/{one}" for one in wanted]


def test_what_is_no_uuid_sends_nothing(account: Sandbox) -> None:
    with pytest.raises(ValueError, match="opportunity_uuid: expected one like"):
        ChartMogulHook().retrieve_opportunities([*uuids(account)[:3], "soon"])
    assert account.requests == []


def test_no_more_are_in_flight_than_the_connection_allows(account: Sandbox, connect: Connect) -> None:
    connect(host=account.url, password=account.api_key, port=None, extra={"max_concurrent_requests": 2})
    account.inject_fault(Fault("slow", seconds=0.02, times=None))
    ChartMogulHook().retrieve_opportunities(uuids(account)[:10])
    moments = sorted(request.at for request in account.requests)
    # With two in flight, the third begins when the first is done.
    assert all(third - first >= 0.019 for first, third in zip(moments, moments[2:], strict=False))


def test_requests_keep_the_connections_pace_and_slow_down_when_too_many(account: Sandbox, connect: Connect) -> None:
    connect(host=account.url, password=account.api_key, port=None, extra={"max_requests_per_second": 50})
    account.inject_fault(Fault("slow", seconds=2, path=LISTED, times=None))
    started = time.monotonic()
    ChartMogulHook().retrieve_opportunities(uuids(account)[:10])
    assert time.monotonic() - started >= 9 / 50
    account.inject_fault(Fault("status", status=429, retry_after=1))
    started = time.monotonic()
    ChartMogulHook().retrieve_opportunities(uuids(account)[:3])
    assert time.monotonic() - started >= 1


class Clock:
    """Stands in for the module ``time``."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock by which the rate limit is applied."""
    clock = Clock()
    monkeypatch.setattr("airflow_provider_chartmogul.hooks._retrieve_many.time", clock)
    return clock


def test_a_429_pauses_all_threads_and_another_error_none(clock: Clock) -> None:
    rate_limit = RateLimit(20)
    pace, pace_of_pages = Pace(rate_limit), Pace(rate_limit)
    pace.on_error(ChartMogulUnavailableError("down", status=503, retry_after=7))
    pace_of_pages.wait()
    assert clock.now == 0
    pace.on_error(ChartMogulRateLimitError("too many", status=429, retry_after=7))
    pace_of_pages.wait()
    assert clock.now == pytest.approx(7)
    pace.on_error(ChartMogulRateLimitError("too many", status=429))
    assert rate_limit.requests_per_second == 10


@pytest.mark.usefixtures("waits")
def test_a_429_pauses_the_requests_after_it(account: Sandbox, connect: Connect, clock: Clock) -> None:
    connect(host=account.url, password=account.api_key, port=None, extra={"max_concurrent_requests": 1})
    account.inject_fault(Fault("status", status=429, retry_after=30))
    ChartMogulHook().retrieve_opportunities(uuids(account)[:1])
    assert clock.now == pytest.approx(30)


def test_a_pause_that_begins_while_a_request_waits_is_kept(clock: Clock) -> None:
    rate_limit = RateLimit(1)
    pace = Pace(rate_limit)
    pace.wait()
    sleep = clock.sleep

    def sleep_through_a_429(seconds: float) -> None:
        clock.sleep = sleep  # type: ignore[method-assign]  # as in production, from now on
        rate_limit.on_rate_limited(clock.now, 5)
        sleep(seconds)

    clock.sleep = sleep_through_a_429  # type: ignore[method-assign]  # once
    pace.wait()
    assert clock.now == 5
    pace.wait()
    assert clock.now == 6


def test_a_page_waits_for_one_other_request_at_most() -> None:
    rate_limit = RateLimit(20)
    pace, pace_of_pages = Pace(rate_limit), Pace(rate_limit)
    order: list[str] = []
    pace.wait()

    def wait(name: str, pace: Pace) -> None:
        pace.wait()
        order.append(name)

    with ThreadPoolExecutor(9) as executor:
        for _ in range(8):
            executor.submit(wait, "opportunity", pace)
        executor.submit(wait, "page", pace_of_pages)
    assert len(order) == 9
    assert order.index("page") <= 4
