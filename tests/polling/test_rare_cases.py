"""The engine in virtual time when faults meet: attribution of errors, progress, and the number of requests."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_chartmogul._polling import engine
from airflow_provider_chartmogul._polling.due_queue import DueQueue
from airflow_provider_chartmogul.triggers.opportunity import OpportunityForecastCategoryTrigger
from tests.airflow.stand_ins import replace_gauge
from tests.hooks.stand_ins import error_of
from tests.polling.recorder import HANG, Recorder, account_of, clock, polled, virtual
from tests.polling.virtual_account import uuid_of
from tests.support.virtual_time import run_in_virtual_time


@virtual
async def test_a_403_for_one_opportunity_is_not_blamed_on_one_with_a_longer_interval() -> None:
    account = account_of(10)
    forbidden, patient = Recorder([uuid_of(1)]), Recorder([uuid_of(2)])

    def fault(endpoint: str, _query: dict[str, Any]) -> None:
        if endpoint.endswith(uuid_of(1)):
            raise error_of(endpoint, 403)

    with polled(account, patient, 3_600):
        await asyncio.sleep(100)
        account.fault = fault
        with polled(account, forbidden, 10):
            await asyncio.sleep(100)
    assert set(forbidden.endings()) == {uuid_of(1)}
    assert patient.endings() == []


@virtual
async def test_a_later_wait_does_not_shorten_the_time_after_which_a_404_is_confirmed() -> None:
    account = account_of(10)
    first, second = Recorder([uuid_of(99)]), Recorder([uuid_of(99)])
    with polled(account, first, 60):
        await asyncio.sleep(2)
        assert uuid_of(99) in account.polled
        with polled(account, second, 60):
            await asyncio.sleep(5)
            assert account.polled.count(uuid_of(99)) == 2
            assert first.endings() == second.endings() == []
            await asyncio.sleep(10)
            assert first.endings() == second.endings() == [uuid_of(99)]


@pytest.mark.parametrize(("interval", "interval_of_hanging"), [(10, 50), (60, 60), (600, 60)])
def test_requests_that_hang_together_are_no_outage_and_delay_nobody_else(
    interval: float, interval_of_hanging: float, caplog: pytest.LogCaptureFixture
) -> None:
    duration = 20 * max(interval, interval_of_hanging)

    async def test() -> None:
        account = account_of(3_000, timeout=HANG)
        hanging, other = Recorder([uuid_of(number) for number in range(0, 1_600, 200)]), Recorder([uuid_of(2_999)])
        with polled(account, other, interval), polled(account, hanging, interval_of_hanging):
            await asyncio.sleep(200)
            account.hanging, begin = set(hanging.received), clock()
            await asyncio.sleep(duration)
        polls = [sent for sent, subject in account.log if subject == uuid_of(2_999) and sent > begin]
        assert len(polls) >= duration / interval - 1
        assert max(later - earlier for earlier, later in itertools.pairwise(polls)) < interval + 5
        assert other.errors == []
        assert {uuid for _, _, uuid in hanging.errors} == account.hanging == set(hanging.opportunity_uuids or ())
        assert "all requests fail" not in caplog.text

    run_in_virtual_time(test())


@virtual
async def test_requests_that_all_hang_are_an_outage_whose_end_is_noticed() -> None:
    account = account_of(3_000, timeout=HANG)
    recorder = Recorder([uuid_of(number) for number in range(0, 1_600, 200)])
    with polled(account, recorder, 10):
        await asyncio.sleep(60)
        account.hanging, begin = {*account.categories, "head"}, clock()
        await asyncio.sleep(600)
        assert any(uuid is None for _, _, uuid in recorder.errors)
        assert sum(sent > begin + 120 for sent, _ in account.log) <= 7
        account.hanging, ended = set(), clock()
        account.categories.update(dict.fromkeys(recorder.received, "won"))
        await asyncio.sleep(120)
    assert max(recorder.changed.values()) < ended + 100
    assert recorder.changed.keys() == recorder.received.keys()


@virtual
async def test_a_cursor_that_is_always_refused_is_an_incomplete_round_and_not_one_without_end() -> None:
    account, watcher = account_of(1_000), Recorder()
    cursors: list[str] = []
    refused: list[float] = []

    def fault(endpoint: str, query: dict[str, Any]) -> None:
        cursor = query.get("cursor")
        if cursor and cursor not in cursors:
            cursors.append(cursor)
        if cursor and cursors.index(cursor) == 1:
            refused.append(clock())
            raise error_of(endpoint, 400)

    account.fault = fault
    with polled(account, watcher, 10):
        await asyncio.sleep(600)
        assert watcher.rounds[-1][1] is None
        assert account.requests < 180
        # The page before it is read again immediately, then after pauses that double.
        assert 7.5 <= refused[5] - refused[0] <= 16
        account.fault = lambda _endpoint, _query: None
        await asyncio.sleep(130)
        assert watcher.rounds[-1][1] == 1_000


@virtual
async def test_rounds_end_in_a_list_that_shrinks_while_its_pages_are_read_one_by_one() -> None:
    account, watcher = account_of(400, max_concurrent_requests=1), Recorder()
    with polled(account, watcher, 10):
        await asyncio.sleep(30)
        for number in range(300):
            del account.categories[uuid_of(number * 4 // 3)]
        await asyncio.sleep(60)
        moment, listed = watcher.rounds[-1]
        assert moment > clock() - 15
        assert listed == 100


def test_the_age_of_the_last_complete_round_is_counted_from_the_start_of_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ages: list[float] = []

    def gauge(name: str, value: float, **_: Any) -> None:
        if name == "seconds_since_complete_round":
            ages.append(value)

    replace_gauge(monkeypatch, gauge)

    async def test() -> None:
        account = account_of(1_000)
        account.page_seconds = 4.0
        await asyncio.sleep(100)
        with polled(account, Recorder(), 10):
            await asyncio.sleep(15)

    run_in_virtual_time(test())
    assert ages[:3] == pytest.approx([1, 2, 3], abs=0.5)


@virtual
async def test_a_connection_that_is_not_found_once_ends_no_wait() -> None:
    account, recorder = account_of(10), Recorder([uuid_of(1)])
    account.connections["chartmogul_default"] = AirflowNotFoundException("isn't defined")
    with polled(account, recorder, 60):
        await asyncio.sleep(5)
        assert recorder.errors
        del account.connections["chartmogul_default"]
        await asyncio.sleep(30)
    assert recorder.endings() == []
    assert uuid_of(1) in recorder.now


class UnheardOfError(BaseException):
    pass


def test_work_that_fails_in_an_unheard_of_way_is_logged_and_begun_again_once_a_second(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        account, recorder = account_of(10), Recorder([uuid_of(1)])
        lookups = 0
        account.poll()
        polling = engine._engines[asyncio.get_running_loop()]
        open_hook = polling._open_hook

        async def fail_often(conn_id: str) -> Any:
            nonlocal lookups
            lookups += 1
            if lookups <= 20:
                raise UnheardOfError
            return await open_hook(conn_id)

        polling._open_hook = fail_often
        with polled(account, recorder, 60):
            await asyncio.sleep(9.5)
            assert lookups == 10
            await asyncio.sleep(20)
            assert uuid_of(1) in recorder.now

    run_in_virtual_time(test())
    assert caplog.text.count("Unexpected error in the polling engine") == 20
    assert "UnheardOfError" in caplog.text


@pytest.mark.parametrize("error", [LookupError("a defect"), UnheardOfError()], ids=["defect", "unheard of"])
def test_the_list_is_read_after_an_unexpected_error_at_its_first_page(error: BaseException) -> None:
    async def test() -> None:
        account, watcher = account_of(1_000), Recorder()
        defects = [error]

        def fault(_endpoint: str, _query: dict[str, Any]) -> None:
            if defects:
                raise defects.pop()

        account.fault = fault
        with polled(account, watcher, 10):
            await asyncio.sleep(30)
            assert len(watcher.received) == 1_000
            assert watcher.rounds[-1][1] == 1_000

    run_in_virtual_time(test())


@virtual
async def test_a_page_that_only_a_new_watcher_needs_is_read_again_after_an_unexpected_error() -> None:
    account, watcher = account_of(400), Recorder()
    errors: list[BaseException] = []

    def fault(_endpoint: str, query: dict[str, Any]) -> None:
        if errors and "cursor" not in query:
            raise errors.pop()

    account.fault = fault
    with polled(account, Recorder([uuid_of(number) for number in range(10)]), 60):
        await asyncio.sleep(300)
        errors.append(UnheardOfError())
        with polled(account, watcher, 60):
            await asyncio.sleep(150)
            assert not errors
            assert len(watcher.received) == 400
            assert watcher.rounds[-1][1] == 400


@virtual
async def test_an_unexpected_error_ends_a_wait_only_when_a_second_poll_meets_it_too() -> None:
    account, trigger = account_of(10), OpportunityForecastCategoryTrigger(opportunity_uuid=uuid_of(1))
    trigger.target_categories = ["won"]
    defects = [LookupError("a defect")]

    def fault(_endpoint: str, _query: dict[str, Any]) -> None:
        if defects:
            raise defects.pop()

    account.fault = fault
    account.poll()
    wait = asyncio.ensure_future(anext(aiter(trigger.run())))
    await asyncio.sleep(30)
    account.categories[uuid_of(1)] = "won"
    event = await wait
    assert event.payload["opportunity"]["forecast_category"] == "won"


def test_a_wait_that_a_worker_began_goes_on_when_a_restarted_triggerer_does_not_find_the_connection() -> None:
    async def test(*, starts_wait: bool) -> None:
        account = account_of(10)
        account.connections["chartmogul_default"] = AirflowNotFoundException("The conn_id isn't defined")
        account.poll()
        trigger = OpportunityForecastCategoryTrigger(
            opportunity_uuid=uuid_of(1), target_categories=["won"], baseline_category="lost", starts_wait=starts_wait
        )
        wait = asyncio.ensure_future(anext(aiter(trigger.run())))
        await asyncio.sleep(600)
        account.connections.clear()
        account.categories[uuid_of(1)] = "won"
        payload = (await wait).payload
        assert ("error" in payload) is starts_wait

    run_in_virtual_time(test(starts_wait=False))
    run_in_virtual_time(test(starts_wait=True))


def test_the_age_of_the_last_complete_round_rises_while_none_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    ages: list[float] = []
    replace_gauge(
        monkeypatch, lambda name, value, **_: ages.append(value) if name.startswith("seconds_since") else None
    )

    async def test() -> None:
        account, watcher = account_of(1_000), Recorder()
        with polled(account, watcher, 10):
            await asyncio.sleep(60)
            assert max(ages) < 11
            account.is_down = True
            await asyncio.sleep(600)
            assert ages[-1] > 590
            account.is_down = False
            await asyncio.sleep(150)
            assert ages[-1] < 11

    run_in_virtual_time(test())


def test_an_outage_asks_airflow_for_the_connection_now_and_then_and_says_once_that_it_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)

    async def test() -> None:
        account, watcher = account_of(100), Recorder()
        with polled(account, watcher, 10):
            await asyncio.sleep(60)
            account.is_down = True
            account.connections["chartmogul_default"] = AirflowNotFoundException("isn't defined")
            await asyncio.sleep(600)
            assert 10 <= account.lookups <= 70
            assert caplog.text.count("is used as it was") == 1
            account.is_down = False
            account.connections["chartmogul_default"] = dataclasses.replace(account.settings)
            await asyncio.sleep(120)
            assert watcher.rounds[-1][1] == 100

    run_in_virtual_time(test())


def test_a_lookup_that_hangs_during_an_outage_is_not_joined_by_others_and_holds_up_no_metrics(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ages: list[float] = []
    replace_gauge(monkeypatch, lambda name, _value, **_: ages.append(clock()) if name == "waits" else None)

    async def test() -> None:
        account, watcher = account_of(100), Recorder()
        with polled(account, watcher, 10):
            await asyncio.sleep(60)
            lookups = account.lookups
            account.lookup_seconds = 10_000
            account.is_down = True
            await asyncio.sleep(600)
            assert account.lookups == lookups + 1
            assert ages[-1] > clock() - 2

    run_in_virtual_time(test())


@virtual
async def test_moving_items_to_other_times_leaves_nothing_behind_in_a_queue() -> None:
    queue: DueQueue[str] = DueQueue()
    sizes = set()
    for number in range(10_000):
        queue.put("daily", 86_400 + number)
        queue.put("hourly", 3_600)
        sizes.add(len(queue._heap))
    assert max(sizes) < 70
    assert (await queue.next(), await queue.next()) == (("hourly", 3_600), ("daily", 96_399))


@virtual
async def test_a_connection_that_is_left_and_joined_while_it_is_loaded_again_is_closed_in_the_end() -> None:
    account = account_of(10)
    with polled(account, Recorder([uuid_of(1)])):
        await asyncio.sleep(10)
        polling = engine._engines[asyncio.get_running_loop()]
        account.lookup_seconds = 5
        (source,) = polling._sources.values()
        loading = asyncio.ensure_future(polling.reload([source]))
    account.lookup_seconds = 0
    with polled(account, Recorder([uuid_of(1)])):
        await loading
    assert not polling._sources
    assert not polling._accounts


@virtual
async def test_a_watcher_receives_every_page_beside_a_few_waits() -> None:
    account = account_of(1_000)
    waits, watcher = Recorder([uuid_of(number) for number in range(3)]), Recorder()
    with polled(account, waits, 10), polled(account, watcher, 10):
        await asyncio.sleep(30)
    assert watcher.received.keys() == account.categories.keys()


@virtual
async def test_many_waits_that_begin_together_do_not_slow_down_the_scan_that_finds_them() -> None:
    account = account_of(10_000, max_requests_per_second=20)
    account.page_seconds, account.get_seconds = 0.3, 0.1
    waits = Recorder([uuid_of(number) for number in range(0, 10_000, 2)])
    with polled(account, waits, 60):
        await asyncio.sleep(60)
    # Fifty pages, each of which is requested once the one before has arrived.
    assert max(waits.received.values()) < 2 * 50 * account.page_seconds
    assert len(waits.received) == 5_000
