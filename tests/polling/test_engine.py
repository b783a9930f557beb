"""The engine with an account in virtual time: shared keys, connections, outages, and the end of subscriptions."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import logging
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_chartmogul._polling import engine
from tests.airflow.stand_ins import replace_gauge
from tests.polling.recorder import Recorder, account_of, clock, polled, virtual
from tests.polling.virtual_account import VirtualHook, uuid_of
from tests.support.virtual_time import run_in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Set as AbstractSet


@virtual
async def test_two_connections_with_one_key_share_scans_waits_and_pace() -> None:
    account = account_of(2_000, max_requests_per_second=2)
    first, second = Recorder(name="first"), Recorder(name="second")
    with polled(account, first, 10, "a"), polled(account, second, 10, "b"):
        await asyncio.sleep(30)
        begin = clock()
        await asyncio.sleep(100)
        assert account.pages_since(begin) == pytest.approx(100, abs=11)
        assert len(first.now) == len(second.now) == 2_000
    sent = sorted(moment for moment, subject in account.log if subject != "end")
    assert min(after - before for before, after in itertools.pairwise(sent)) == pytest.approx(0.5)


@virtual
async def test_an_error_of_shared_requests_names_the_connection_of_each_wait() -> None:
    account = account_of(10)
    account.is_down = True
    subscribers = {conn_id: Recorder([uuid_of(1)]) for conn_id in ("a", "b")}
    with polled(account, subscribers["a"], 10, "a"), polled(account, subscribers["b"], 10, "b"):
        await asyncio.sleep(30)
    named = {
        conn_id: {error.conn_id for _, error, _ in subscriber.errors} for conn_id, subscriber in subscribers.items()
    }
    assert named == {"a": {"a"}, "b": {"b"}}


@virtual
async def test_a_rotated_key_is_picked_up_before_a_wait_ends() -> None:
    account = account_of(400)
    recorder = Recorder(list(account.categories))
    with polled(account, recorder, 60):
        await asyncio.sleep(120)
        account.key = "new"
        account.connections["chartmogul_default"] = dataclasses.replace(account.settings, api_key="new")
        account.categories[uuid_of(3)] = "won"
        await asyncio.sleep(100)
        assert recorder.endings() == []
        assert recorder.now[uuid_of(3)] == "won"


@virtual
async def test_a_connection_that_was_never_found_ends_waits_and_one_that_is_lost_does_not() -> None:
    account = account_of(10)
    account.connections["nowhere"] = AirflowNotFoundException("The conn_id `nowhere` isn't defined")
    lost, missing = Recorder([uuid_of(1)]), Recorder([uuid_of(2)])
    with polled(account, lost, 60), polled(account, missing, 60, "nowhere"):
        await asyncio.sleep(30)
        assert set(missing.endings()) == {uuid_of(2)}
    for error in (AirflowNotFoundException("isn't defined"), OSError("timed out")):
        account.connections["chartmogul_default"] = error
        again = Recorder([uuid_of(1)])
        with polled(account, again, 60):
            await asyncio.sleep(300)
            assert "Check the secrets backend and Airflow's metadata database." in str(again.errors[0][1])
            assert again.endings() == []
            del account.connections["chartmogul_default"]
            await asyncio.sleep(100)
            assert again.now


@pytest.mark.parametrize("waits", [1, 200], ids=["polled individually", "on pages beside a watcher"])
def test_an_outage_is_met_with_few_requests_and_its_end_is_noticed_within_a_minute(waits: int) -> None:
    async def test() -> None:
        account = account_of(2_000)
        recorders = [Recorder(list(account.categories)[:waits])]
        if waits > 1:
            recorders.append(Recorder())
        with contextlib.ExitStack() as stack:
            for recorder in recorders:
                stack.enter_context(polled(account, recorder, 10))
            await asyncio.sleep(60)
            account.is_down = True
            requests = account.requests
            await asyncio.sleep(600)
            assert 15 <= account.requests - requests <= 20
            account.is_down = False
            account.categories[uuid_of(0)] = "won"
            ended = clock()
            await asyncio.sleep(100)
            assert all(recorder.changed[uuid_of(0)] <= ended + 75 for recorder in recorders)

    run_in_virtual_time(test())


def test_a_failing_connection_is_logged_once_and_once_more_when_it_works_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        account = account_of(2_000)
        with polled(account, Recorder(name="won deals"), 10):
            await asyncio.sleep(60)
            account.is_down = True
            await asyncio.sleep(300)
            account.is_down = False
            await asyncio.sleep(120)

    caplog.set_level(logging.INFO, "airflow_provider_chartmogul")
    run_in_virtual_time(test())
    lines = [record.getMessage() for record in caplog.records if "_polling" in record.name]
    assert len(lines) == 2, lines
    assert all("Connection chartmogul_default (watchers: won deals)" in line for line in lines)
    assert "503" in lines[0]
    assert "works again after 3" in lines[1]


def test_an_outage_is_not_reported_as_a_round_that_takes_too_long(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        account = account_of(25)
        with polled(account, Recorder(), 5):
            await asyncio.sleep(60)
            account.is_down = True
            await asyncio.sleep(120)
            account.is_down = False
            await asyncio.sleep(300)

    run_in_virtual_time(test())
    assert "all requests fail" in caplog.text
    assert "longer than the poll_interval" not in caplog.text


def test_the_gauges_return_to_zero_when_nobody_is_subscribed_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    gauges: dict[str, float] = {}
    replace_gauge(monkeypatch, lambda name, value, **_: gauges.update({name: value}))

    async def test() -> None:
        with polled(account_of(10), Recorder(), 10):
            await asyncio.sleep(60)
            assert gauges["subscribers"] == 1
        await asyncio.sleep(60)

    run_in_virtual_time(test())
    assert (gauges["waits"], gauges["subscribers"]) == (0, 0)


@virtual
async def test_a_defect_of_a_subscriber_ends_nothing_for_others() -> None:
    class Broken(Recorder):
        def on_opportunity(self, opportunity: dict[str, Any]) -> bool:
            raise LookupError("a defect")

        async def on_round_end(self, listed: AbstractSet[str] | None) -> Collection[str]:
            raise LookupError("a defect")

    account, watcher = account_of(300), Recorder()
    with polled(account, Broken(), 10), polled(account, watcher, 10):
        await asyncio.sleep(60)
        assert len(watcher.rounds) >= 4


def test_the_hook_is_closed_once_nobody_is_subscribed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[float] = []
    monkeypatch.setattr(VirtualHook, "close", lambda _: closed.append(clock()))

    async def test() -> None:
        account = account_of(10)
        with polled(account, Recorder([uuid_of(1)]), 10):
            await asyncio.sleep(60)
            assert closed == []
        assert closed == [60]

    run_in_virtual_time(test())


@virtual
async def test_nothing_is_requested_and_no_task_runs_once_nobody_is_subscribed() -> None:
    account = account_of(300)
    with polled(account, Recorder(), 10), polled(account, Recorder([uuid_of(1)]), 10):
        await asyncio.sleep(60)
    requests = account.requests
    await asyncio.sleep(600)
    assert account.requests == requests
    assert len(asyncio.all_tasks()) == 1
    polling = engine._engines[asyncio.get_running_loop()]
    assert not polling._sources
    assert not polling._accounts


def test_a_lookup_of_the_connection_that_hangs_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        account, recorder = account_of(10), Recorder([uuid_of(1)])
        account.lookup_seconds = 100
        with polled(account, recorder):
            await asyncio.sleep(99)
            assert "Connection chartmogul_default: Airflow has not loaded it after 60 s" in caplog.text
            await asyncio.sleep(100)
            assert recorder.received

    run_in_virtual_time(test())
