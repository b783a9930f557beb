"""The engine in virtual time: how often it sends requests and asks Airflow for connections."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_chartmogul._polling import engine
from tests.hooks.stand_ins import error_of
from tests.polling.recorder import Recorder, account_of, clock, polled, virtual
from tests.polling.virtual_account import uuid_of
from tests.support.virtual_time import run_in_virtual_time


@virtual
async def test_an_interval_of_zero_is_a_tenth_of_a_second() -> None:
    account = account_of(10)
    with polled(account, Recorder([uuid_of(1)]), 0):
        await asyncio.sleep(10)
    assert len(account.polled) == pytest.approx(100, abs=1)


@pytest.mark.parametrize(("interval", "seconds"), [(5, 0.5), (3_600, 1.0)])
def test_the_first_request_waits_for_others_that_subscribe_but_no_longer_than_a_second(
    interval: float, seconds: float
) -> None:
    async def test() -> None:
        account = account_of(10)
        with polled(account, Recorder([uuid_of(1)]), interval):
            await asyncio.sleep(2)
        ((moment, uuid),) = account.log
        assert moment == pytest.approx(seconds)
        assert uuid == uuid_of(1)

    run_in_virtual_time(test())


@virtual
async def test_other_settings_of_a_connection_apply_once_it_is_loaded_again() -> None:
    account = account_of(10)
    with polled(account, Recorder([uuid_of(1)]), 10):
        await asyncio.sleep(30)
        polling = engine._engines[asyncio.get_running_loop()]
        account.settings = dataclasses.replace(account.settings, timeout=5)
        (source,) = polling._sources.values()
        await polling.reload([source])
        assert source.account
        assert source.account.client.hook.settings.timeout == 5


@virtual
async def test_a_connection_that_cannot_be_loaded_is_one_error_however_many_opportunities_wait() -> None:
    account, recorder = account_of(10), Recorder([uuid_of(number) for number in range(3)])
    account.connections["chartmogul_default"] = OSError("the secrets backend is down")
    with polled(account, recorder, 3_600):
        await asyncio.sleep(200)
    # After 2, 4, 8, 16 and 32 seconds, then every minute.
    assert [moment for moment, _, _ in recorder.errors] == [0, 2, 6, 14, 30, 62, 122, 182]
    assert {uuid for _, _, uuid in recorder.errors} == {None}


@virtual
async def test_a_connection_that_does_not_exist_is_looked_up_once_more_and_then_every_minute() -> None:
    account, watcher = account_of(10), Recorder()
    account.connections["chartmogul_default"] = AirflowNotFoundException("isn't defined")
    with polled(account, watcher, 3_600):
        await asyncio.sleep(200)
    assert [moment for moment, _, _ in watcher.errors] == [0, 10, 70, 130, 190]


@virtual
async def test_a_failed_poll_is_repeated_after_a_minute_whatever_the_response_asks_for() -> None:
    account = account_of(10)
    faults = [error_of("opportunities", 503, retry_after=600)]

    def fault(_endpoint: str, _query: dict[str, Any]) -> None:
        if faults:
            raise faults.pop()

    account.fault = fault
    with polled(account, Recorder([uuid_of(1)]), 3_600):
        await asyncio.sleep(100)
    (first, _), (second, _) = account.log
    assert second - first == pytest.approx(60, abs=0.1)


@pytest.mark.parametrize("interval", [10, 3_600])
def test_pauses_after_failures_double_up_to_the_interval_or_a_minute(interval: float) -> None:
    def fault(endpoint: str, _query: dict[str, Any]) -> None:
        if endpoint.endswith(uuid_of(1)):
            raise error_of(endpoint, 504)

    async def test() -> None:
        account = account_of(10)
        account.fault = fault
        with polled(account, Recorder([uuid_of(2)]), 1), polled(account, Recorder([uuid_of(1)]), interval):
            await asyncio.sleep(200)
        sent = [moment for moment, what in account.log if what == uuid_of(1)]
        assert len(sent) >= 9
        for number, (earlier, later) in enumerate(itertools.pairwise(sent)):
            longest = min(0.5 * 2**number, 60)
            assert min(longest / 2, interval) <= later - earlier <= min(longest, interval) + 0.1

    run_in_virtual_time(test())


@virtual
async def test_pauses_after_failures_of_a_page_double_up_to_a_minute() -> None:
    account, is_failing = account_of(400), False

    def fault(endpoint: str, query: dict[str, Any]) -> None:
        if is_failing and "cursor" in query:
            raise error_of(endpoint, 504)

    account.fault = fault
    with polled(account, Recorder([uuid_of(2)]), 1), polled(account, Recorder(), 3_600):
        await asyncio.sleep(10)
        is_failing, begin = True, clock()
        await asyncio.sleep(3_900)
    sent = [moment for moment, what in account.log if what == "page" and moment > begin]
    assert len(sent) >= 9
    for number, (earlier, later) in enumerate(itertools.pairwise(sent)):
        longest = min(0.5 * 2**number, 60)
        assert longest / 2 <= later - earlier <= longest + 0.1


@virtual
async def test_a_success_resets_the_pauses_after_failures() -> None:
    account, failing = account_of(10), True

    def fault(endpoint: str, _query: dict[str, Any]) -> None:
        if failing and endpoint.endswith(uuid_of(1)):
            raise error_of(endpoint, 504)

    account.fault = fault
    with polled(account, Recorder([uuid_of(2)]), 1), polled(account, Recorder([uuid_of(1)]), 30):
        await asyncio.sleep(10)
        failing = False
        await asyncio.sleep(50)
        failing, begin = True, clock()
        await asyncio.sleep(40)
    first, second, *_ = [sent for sent, what in account.log if what == uuid_of(1) and sent >= begin]
    assert second - first < 1


@virtual
async def test_a_page_that_is_read_resets_the_count_of_refused_cursors() -> None:
    account, watcher = account_of(400), Recorder()
    refusals: list[int] = []

    def fault(endpoint: str, query: dict[str, Any]) -> None:
        if refusals and "cursor" in query:
            refusals.pop()
            raise error_of(endpoint, 400)

    account.fault = fault
    with polled(account, watcher, 10):
        for number in range(10):
            refusals.append(number)
            await asyncio.sleep(20)
    assert refusals == []
    assert watcher.errors == []


@pytest.mark.parametrize("recorder", [Recorder(), Recorder([uuid_of(1)])], ids=["watcher", "wait"])
def test_airflow_is_asked_for_a_connection_once_while_requests_succeed(recorder: Recorder) -> None:
    run_in_virtual_time(_count_lookups(recorder))


async def _count_lookups(recorder: Recorder) -> None:
    account = account_of(1_000)
    with polled(account, recorder, 10):
        await asyncio.sleep(100)
    assert account.lookups == 1


@virtual
async def test_requests_after_a_429_keep_their_distance_from_the_first_one_on() -> None:
    account = account_of(3_000, max_requests_per_second=2)
    rejected: list[float] = []

    def fault(endpoint: str, _query: dict[str, Any]) -> None:
        if clock() > 5 and not rejected:
            rejected.append(clock())
            raise error_of(endpoint, 429, retry_after=7)

    account.fault = fault
    with polled(account, Recorder([uuid_of(number) for number in range(0, 3_000, 100)]), 60):
        await asyncio.sleep(30)
    sent = sorted(moment for moment, _ in account.log if moment > rejected[0] + 1)
    assert sent[0] >= rejected[0] + 7
    assert min(later - earlier for earlier, later in itertools.pairwise(sent)) == pytest.approx(0.5)
