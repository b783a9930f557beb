"""Requests of all senders share the rate limit of the connection's extra."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import threading
import time
from operator import methodcaller
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from airflow_provider_chartmogul._polling.engine import open_hook
from airflow_provider_chartmogul._polling.rate_limited_client import RateLimitedClient
from airflow_provider_chartmogul.exceptions import (
    ChartMogulError,
    ChartMogulNotFoundError,
    ChartMogulRateLimitError,
    ChartMogulUnavailableError,
    ChartMogulUnreachableError,
)
from airflow_provider_chartmogul.sandbox import Fault, Sandbox
from tests.hooks.stand_ins import error_of, rate_limit, settings_of
from tests.polling.recorder import Recorder, account_of, clock, polled, virtual
from tests.polling.virtual_account import uuid_of
from tests.support.virtual_time import run_in_virtual_time
from tests.support.waits import eventually, run, trigger_for, uuids_of, waiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


def _connect(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, **extra: Any) -> None:
    connection = json.dumps({**sandbox.connection, "extra": extra})
    monkeypatch.setenv("AIRFLOW_CONN_CHARTMOGUL_DEFAULT", connection)


@pytest.mark.parametrize("limit", [20, 8])
def test_requests_in_any_second_keep_to_the_limit_also_with_two_intervals_on_one_connection(limit: int) -> None:
    async def test() -> None:
        account = account_of(10_000, max_requests_per_second=limit)
        uuids = list(account.categories)[:30]
        with polled(account, Recorder(uuids), 0.1), polled(account, Recorder(uuids), 0.3):
            await asyncio.sleep(10)
        sent = [moment for moment, what in account.log if what != "end"]
        in_a_second = [sum(first <= other < first + 1 for other in sent) for first in sent if first < sent[-1] - 1]
        assert limit <= min(in_a_second) <= max(in_a_second) <= limit + 1

    run_in_virtual_time(test())


@virtual
async def test_the_rate_limit_is_kept_while_nobody_is_subscribed() -> None:
    account = account_of(10, max_requests_per_second=0.1)
    for number in range(2):
        with polled(account, Recorder([uuid_of(number)]), 3_600):
            await asyncio.sleep(5 + 10 * number)
    (first, _), (second, _) = account.log
    assert second - first == pytest.approx(10)


@virtual
async def test_another_rate_limit_of_a_connection_applies_from_the_next_subscription_on() -> None:
    account = account_of(10, max_requests_per_second=0.1)
    with polled(account, Recorder([uuid_of(0)]), 1):
        await asyncio.sleep(5)
    account.settings = dataclasses.replace(account.settings, max_requests_per_second=1000)
    with polled(account, Recorder([uuid_of(1)]), 1):
        await asyncio.sleep(5)
    assert account.polled.count(uuid_of(1)) == 5


@pytest.mark.parametrize(("extra", "limit"), [({}, 10), ({"max_concurrent_requests": 2}, 2)])
def test_requests_at_once_keep_to_the_limit(monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any], limit: int) -> None:
    with Sandbox(opportunities=10_000, requests_per_second=None, max_connections=limit, latency=0.2) as sandbox:
        _connect(monkeypatch, sandbox, max_requests_per_second=1000, **extra)
        uuids = uuids_of(sandbox, 25, oldest=True)

        async def test() -> None:
            async with waiting(trigger_for(uuid, poll_interval=0.1) for uuid in uuids):
                await eventually(lambda: len(sandbox.requests) >= 5 * limit)

        run(test())
        assert {request.status for request in sandbox.requests} <= {200, None}
        at_once = max(
            sum(first.at <= other.at < first.at + 0.15 for other in sandbox.requests) for first in sandbox.requests
        )
        assert at_once == limit


@pytest_asyncio.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[RateLimitedClient]:
    assert sandbox.requests == []
    client = RateLimitedClient(await open_hook("chartmogul_default"), rate_limit(1000))
    yield client
    client.close()


@pytest.mark.asyncio
async def test_a_result_comes_back_from_the_thread(sandbox: Sandbox, client: RateLimitedClient) -> None:
    (uuid,) = uuids_of(sandbox, 1)
    response = await client.call(methodcaller("retrieve_opportunity", uuid))
    assert response.value == sandbox.opportunity(uuid)


@pytest.mark.asyncio
async def test_a_permanent_error_is_raised_immediately(sandbox: Sandbox, client: RateLimitedClient) -> None:
    with pytest.raises(ChartMogulNotFoundError):
        await client.call(methodcaller("retrieve_opportunity", "00000000-0000-0000-0000-000000000000"))
    assert len(sandbox.requests) == 1


@pytest.mark.asyncio
async def test_a_pause_too_long_to_sit_out_is_left_to_the_caller_and_kept_by_the_next_call(
    sandbox: Sandbox, client: RateLimitedClient
) -> None:
    (uuid,) = uuids_of(sandbox, 1)
    sandbox.inject_fault(Fault(kind="status", status=429, retry_after=100))
    with pytest.raises(ChartMogulRateLimitError) as raised:
        await client.call(methodcaller("retrieve_opportunity", uuid))
    assert raised.value.retry_after == 100
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.call(methodcaller("retrieve_opportunity", uuid)), 0.5)
    assert len(sandbox.requests) == 1


@pytest.mark.asyncio
async def test_a_request_whose_thread_does_not_return_is_given_up() -> None:
    class StuckHook:
        chartmogul_conn_id, host = "chartmogul_default", "https://stuck.example"
        settings = settings_of("https://stuck.example", timeout=0.1)

    released = threading.Event()
    client = RateLimitedClient(StuckHook(), rate_limit(1000))  # type: ignore[arg-type]  # has the parts that are used
    begin = time.monotonic()
    with pytest.raises(ChartMogulUnreachableError, match=r"no complete response from .* within 0\.1 s"):
        await client.call(lambda _: released.wait())
    assert time.monotonic() - begin < 5
    assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("chartmogul_"))
    released.set()


def client_in_virtual_time(requests_per_second: float) -> RateLimitedClient:
    """Return a client that awaits asynchronous functions, instead of calling others in threads."""

    class Hook:
        chartmogul_conn_id, host = "chartmogul_default", "https://virtual.example"
        settings = settings_of("https://virtual.example")

    async def run(function: Callable[[Any], Awaitable[None]], hook: Any) -> None:
        await function(hook)

    return RateLimitedClient(Hook(), rate_limit(requests_per_second), run)  # type: ignore[arg-type]  # has the parts that are used


async def succeed(_hook: Any) -> None:
    await asyncio.sleep(1)


def test_a_retry_after_pauses_a_request_that_waits_for_its_turn() -> None:
    async def fail(_hook: Any) -> None:
        await asyncio.sleep(0.5)
        raise ChartMogulRateLimitError("too many", status=429, retry_after=7)

    async def test() -> None:
        client = client_in_virtual_time(requests_per_second=1)
        results = await asyncio.gather(client.call(fail), client.call(succeed), return_exceptions=True)
        assert isinstance(results[0], ChartMogulRateLimitError)
        assert not isinstance(results[1], BaseException)
        assert results[1].sent == pytest.approx(7.5)

    run_in_virtual_time(test())


def test_a_page_waits_for_one_other_request_at_most() -> None:
    sent: list[str] = []

    def request(name: str) -> Callable[[Any], Awaitable[None]]:
        async def record(_hook: Any) -> None:
            sent.append(name)
            await asyncio.sleep(1)

        return record

    async def test() -> None:
        client = client_in_virtual_time(requests_per_second=20)
        async with asyncio.TaskGroup() as group:
            for _ in range(30):
                group.create_task(client.call(request("opportunity")))
            await asyncio.sleep(0.01)
            for _ in range(3):
                group.create_task(client.call(request("page"), is_page=True))

    run_in_virtual_time(test())
    assert len(sent) == 33
    assert sent[:8].count("page") == 3
    # Pages do not hold up the others either.
    assert sent[2:8].count("opportunity") >= 3


@pytest.mark.parametrize(("failures", "is_outage"), [(4, False), (5, True)])
def test_five_failures_in_a_row_are_an_outage_and_a_success_begins_the_count_again(
    failures: int, *, is_outage: bool
) -> None:
    async def fail(_hook: Any) -> None:
        await asyncio.sleep(1)
        raise ChartMogulUnavailableError("status 503", status=503)

    async def test() -> None:
        client = client_in_virtual_time(requests_per_second=1000)
        for count in (4, failures):
            await client.call(succeed)
            await asyncio.sleep(1)
            for _ in range(count):
                with pytest.raises(ChartMogulUnavailableError):
                    await client.call(fail)
        assert (client.outage is not None) == is_outage

    run_in_virtual_time(test())


@pytest.mark.parametrize("successes_meanwhile", [1, 0])
def test_failures_of_requests_sent_before_another_succeeded_are_no_outage(successes_meanwhile: int) -> None:
    async def fail_late(_hook: Any) -> None:
        await asyncio.sleep(10)
        raise ChartMogulUnavailableError("status 503", status=503)

    async def test() -> None:
        client = client_in_virtual_time(requests_per_second=1000)
        failing = [asyncio.create_task(client.call(fail_late)) for _ in range(6)]
        await asyncio.sleep(1)
        for _ in range(successes_meanwhile):
            await client.call(succeed)
        await asyncio.wait(failing)
        assert all(isinstance(task.exception(), ChartMogulUnavailableError) for task in failing)
        assert (client.outage is None) == (successes_meanwhile > 0)

    run_in_virtual_time(test())


@pytest.mark.parametrize("status", [429, 503])
def test_a_429_is_neither_a_failure_nor_a_success(status: int) -> None:
    async def test() -> None:
        client = client_in_virtual_time(requests_per_second=1000)
        for each in (503, 503, 503, 503, 429, 429, status):
            with pytest.raises(ChartMogulError):
                await client.call(_fail_with(each))
        assert (client.outage is None) == (status == 429)

    run_in_virtual_time(test())


@pytest.mark.parametrize("is_limited", [True, False])
def test_requests_that_time_out_are_an_outage_if_others_do_too_unless_there_was_a_429(*, is_limited: bool) -> None:
    async def test() -> None:
        client = client_in_virtual_time(requests_per_second=1000)
        await asyncio.gather(*[client.call(hang) for _ in range(5)], return_exceptions=True)
        await client.until_outage_is_suspected()
        assert client.outage is None
        await client.confirm_outage(hang, _fail_with(429) if is_limited else hang)
        assert (client.outage is None) == is_limited

    run_in_virtual_time(test())


def test_a_pause_that_begins_before_an_outage_is_confirmed_is_kept() -> None:
    sent: list[float] = []

    async def probe(_hook: Any) -> None:
        sent.append(asyncio.get_running_loop().time())

    async def test() -> None:
        client = client_in_virtual_time(requests_per_second=1)

        async def reject(_hook: Any) -> None:
            await asyncio.sleep(0.5)
            raise ChartMogulRateLimitError("too many", status=429, retry_after=30)

        first = asyncio.create_task(client.call(reject))
        await asyncio.sleep(0.1)
        await asyncio.gather(first, client.confirm_outage(probe, probe), return_exceptions=True)

    run_in_virtual_time(test())
    assert len(sent) == 2
    assert min(sent) >= 30.5


def test_the_hook_may_raise_by_itself_that_a_request_took_too_long() -> None:
    async def test() -> None:
        client = client_in_virtual_time(requests_per_second=1000)

        async def fail_late(_hook: Any) -> None:
            await asyncio.sleep(client.hook.settings.timeout + 0.5)
            raise ChartMogulUnreachableError("by the hook")

        with pytest.raises(ChartMogulUnreachableError, match="by the hook"):
            await client.call(fail_late)

    run_in_virtual_time(test())


def test_the_pauses_between_the_requests_of_an_outage_double_up_to_a_minute() -> None:
    sent: list[float] = []

    async def fail(_hook: Any) -> None:
        sent.append(clock())
        raise error_of("opportunities", 503)

    async def test() -> None:
        client = client_in_virtual_time(requests_per_second=1000)
        for _ in range(13):
            with pytest.raises(ChartMogulUnavailableError):
                await client.call(fail)

    run_in_virtual_time(test())
    pauses = [later - earlier for earlier, later in itertools.pairwise(sent[4:])]
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60], abs=0.01)


def test_in_an_outage_no_request_is_sent_before_the_one_in_flight_has_ended() -> None:
    in_flight, most = 0, 0

    async def hang_counted(_hook: Any) -> None:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        try:
            await asyncio.sleep(1000)
        finally:
            in_flight -= 1

    async def test() -> None:
        client = client_in_virtual_time(requests_per_second=1000)
        for _ in range(5):
            with pytest.raises(ChartMogulUnavailableError):
                await client.call(_fail_with(503))
        assert client.outage
        await asyncio.gather(*[client.call(hang_counted) for _ in range(3)], return_exceptions=True)
        assert most == 1

    run_in_virtual_time(test())


async def hang(_hook: Any) -> None:
    await asyncio.sleep(1000)


def _fail_with(status: int) -> Callable[[Any], Any]:
    async def fail(_hook: Any) -> None:
        raise error_of("opportunities", status)

    return fail
