"""Individual polls in virtual time: their number, their delay, and the errors that end a wait."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import Any

import pytest

from tests.airflow.stand_ins import replace_gauge
from tests.hooks.stand_ins import error_of
from tests.polling.recorder import HANG, Recorder, account_of, clock, polled, virtual
from tests.polling.virtual_account import uuid_of
from tests.support.virtual_time import run_in_virtual_time


@virtual
async def test_a_wait_is_polled_once_an_interval() -> None:
    account, recorder = account_of(50), Recorder([uuid_of(7)])
    with polled(account, recorder):
        await asyncio.sleep(605)
    assert account.polled == [uuid_of(7)] * 11
    assert account.pages_since(0) == 0


@virtual
async def test_waits_that_a_few_pages_show_cost_those_pages() -> None:
    account = account_of(1000)
    recorders = [Recorder([uuid]) for uuid in account.categories]
    subscriptions = [polled(account, recorder).__enter__() for recorder in recorders]
    await asyncio.sleep(120)
    polls, begin = len(account.polled), clock()
    await asyncio.sleep(600)
    assert len(account.polled) == polls
    assert 50 <= account.pages_since(begin) <= 55
    for subscription in subscriptions:
        subscription.__exit__()


@virtual
async def test_a_few_waits_in_a_large_account_are_polled_individually() -> None:
    account = account_of(10_000)
    recorder = Recorder(list(account.categories)[::1250])
    with polled(account, recorder):
        await asyncio.sleep(60)
        begin, polls = clock(), len(account.polled)
        await asyncio.sleep(600)
        assert account.pages_since(begin) == 0
        assert len(account.polled) - polls == pytest.approx(80, abs=8)


@virtual
async def test_waits_are_on_time_beside_a_scan_that_takes_longer_than_their_interval() -> None:
    account = account_of(5_000, max_requests_per_second=2)
    watcher, wait = Recorder(), Recorder([uuid_of(3)])
    with polled(account, watcher, 5), polled(account, wait, 5):
        await asyncio.sleep(100)
        for _ in range(20):
            account.categories[uuid_of(3)] = "won" if account.categories[uuid_of(3)] == "pipeline" else "pipeline"
            begin = clock()
            await asyncio.sleep(10)
            assert begin < wait.changed[uuid_of(3)] <= begin + 10


@virtual
async def test_requests_that_hang_delay_no_other() -> None:
    account = account_of(3_000, timeout=HANG)
    uuids = [uuid_of(number) for number in range(0, 3000, 100)]
    hanging = set(uuids[:3])

    account.hanging = hanging
    recorder = Recorder(uuids)
    with polled(account, recorder, 10):
        await asyncio.sleep(300)
        changed = clock()
        account.categories.update(dict.fromkeys(uuids, "won"))
        await asyncio.sleep(40)
    assert max(recorder.changed[uuid] for uuid in uuids[3:]) <= changed + 15
    assert not hanging & recorder.received.keys()
    assert {str(error) for _, error, uuid in recorder.errors if uuid in hanging}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 500, 504])
def test_an_error_of_the_list_ends_no_wait_and_the_waits_go_on(status: int) -> None:
    async def test() -> None:
        account = account_of(300)
        uuids = list(account.categories)

        def fault(endpoint: str, _query: dict[str, Any]) -> None:
            if endpoint == "opportunities":
                raise error_of(endpoint, status)

        account.fault = fault
        recorder = Recorder(uuids)
        watcher = Recorder(name="watcher")
        with polled(account, recorder, 60), polled(account, watcher, 60):
            await asyncio.sleep(200)
            assert recorder.endings() == []
            assert {listed for _, listed in watcher.rounds} == {None}
            account.categories[uuids[9]] = "won"
            changed = clock()
            await asyncio.sleep(100)
            assert recorder.changed[uuids[9]] <= changed + 66

    run_in_virtual_time(test())


@virtual
async def test_a_404_ends_a_wait_only_when_a_second_poll_ten_seconds_later_confirms_it() -> None:
    account = account_of(10)
    recorder = Recorder([uuid_of(1), uuid_of(2), uuid_of(99)])
    once = {uuid_of(1)}

    def fault(endpoint: str, _query: dict[str, Any]) -> None:
        if endpoint.rpartition("/")[2] in once:
            once.clear()
            raise error_of(endpoint, 404)

    account.fault = fault
    with polled(account, recorder):
        await asyncio.sleep(300)
    assert set(recorder.endings()) == {uuid_of(99)}
    moment, error, _ = recorder.errors[0]
    assert 10 <= moment <= 12
    assert f"GET /v1/opportunities/{uuid_of(99)}" in str(error)


@pytest.mark.parametrize("status", [401, 403])
def test_a_rejected_key_ends_each_wait_with_its_own_request_once_confirmed(status: int) -> None:
    async def test() -> None:
        account = account_of(400)

        def fault(endpoint: str, _query: dict[str, Any]) -> None:
            raise error_of(endpoint, status)

        recorder = Recorder(list(account.categories))
        with polled(account, recorder, 60):
            await asyncio.sleep(120)
            account.fault = fault
            requests = account.requests
            await asyncio.sleep(120)
            assert set(recorder.endings()) == set(account.categories)
            assert all(f"/v1/opportunities/{uuid}" in str(error) for _, error, uuid in recorder.errors if uuid)
            assert account.requests - requests < 15

    run_in_virtual_time(test())


@virtual
async def test_an_opportunity_that_a_subscriber_discards_is_polled_no_more() -> None:
    account, recorder = account_of(10), Recorder([uuid_of(1), uuid_of(2)])
    with polled(account, recorder, 10) as subscription:
        await asyncio.sleep(30)
        subscription.discard(uuid_of(1))
        polls = account.polled.count(uuid_of(1))
        await asyncio.sleep(100)
        assert account.polled.count(uuid_of(1)) == polls
        assert account.polled.count(uuid_of(2)) > 10


@virtual
async def test_a_wait_that_ends_during_its_request_is_polled_no_more_whatever_the_response() -> None:
    account = account_of(10)
    account.get_seconds = 5.0
    with polled(account, Recorder([uuid_of(1)]), 10):
        with polled(account, Recorder([uuid_of(99)]), 10):
            await asyncio.sleep(3)
        await asyncio.sleep(300)
    assert account.polled.count(uuid_of(99)) == 1


@virtual
async def test_opportunities_that_the_list_hides_for_good_keep_no_deletion_from_being_confirmed() -> None:
    account, watchers = account_of(1_000), [Recorder(), Recorder()]
    hidden, deleted = ({uuid_of(number) for number in numbers} for numbers in (range(500, 900), range(100, 150)))
    with polled(account, watchers[0], 10), polled(account, watchers[1], 10):
        await asyncio.sleep(30)
        account.unlisted = hidden
        for uuid in deleted:
            del account.categories[uuid]
        await asyncio.sleep(900)
    assert set(watchers[0].endings()) == set(watchers[1].endings()) == deleted


@virtual
async def test_a_page_that_was_requested_before_an_individual_poll_does_not_undo_its_result() -> None:
    account, wait = account_of(100), Recorder([uuid_of(7)])
    with polled(account, Recorder(), 60), polled(account, wait, 5):
        await asyncio.sleep(30)
        account.page_seconds = 20
        requests = account.pages_since(0)
        while account.pages_since(0) == requests:
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.1)
        account.categories[uuid_of(7)] = "won"
        await asyncio.sleep(6)
        assert wait.now[uuid_of(7)] == "won"
        changed = wait.changed[uuid_of(7)]
        await asyncio.sleep(20)
        assert wait.changed[uuid_of(7)] == changed


@virtual
async def test_a_page_that_was_requested_before_a_deletion_was_confirmed_does_not_undo_it() -> None:
    account, watcher, deleted = account_of(100), Recorder(), uuid_of(7)
    pages = 0

    def fault(endpoint: str, _query: dict[str, Any]) -> None:
        nonlocal pages
        if endpoint != "opportunities":
            raise error_of(endpoint, 404)
        pages += 1
        # One page lacks it, and the next one, which is slow, still has it.
        account.unlisted = set() if pages in (1, 3) else {deleted}

    account.fault = fault
    account.page_seconds = 15
    with polled(account, watcher, 10):
        await asyncio.sleep(120)
    confirmed = watcher.errors[0][0]
    assert watcher.endings()[0] == deleted
    assert watcher.received[deleted] < confirmed


@virtual
async def test_many_requests_that_hang_leave_slots_to_the_opportunities_that_do_not() -> None:
    account = account_of(3_000, timeout=HANG, max_concurrent_requests=4)
    uuids = [uuid_of(number) for number in range(0, 2_400, 200)]
    with polled(account, Recorder(uuids), 10):
        await asyncio.sleep(30)
        account.hanging = set(uuids[:8])
        await asyncio.sleep(100)  # until each of them has failed
        begin = clock()
        await asyncio.sleep(600)
    for uuid in uuids[8:]:
        sent = [moment for moment, what in account.log if what == uuid and moment > begin]
        assert max(later - earlier for earlier, later in itertools.pairwise(sent)) < 15


def test_a_deletion_that_was_confirmed_is_no_wait_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    replace_gauge(monkeypatch, lambda name, value, **_: waits.append(value) if name == "waits" else None)

    class Forgetting(Recorder):
        def on_error(self, error: Exception, opportunity_uuid: str | None) -> bool:
            self.now.pop(opportunity_uuid or "", None)
            return super().on_error(error, opportunity_uuid)

    async def test() -> None:
        account = account_of(300)
        with polled(account, Forgetting(), 10):
            await asyncio.sleep(30)
            for number in (*range(50), 100):
                del account.categories[uuid_of(number)]
                await asyncio.sleep(60 if number >= 49 else 0)
            assert max(waits) >= 50
            assert waits[-1] <= 1

    run_in_virtual_time(test())


@virtual
async def test_the_short_interval_of_a_wait_ends_with_it() -> None:
    account = account_of(10)
    with polled(account, Recorder([uuid_of(1)]), 3_600):
        with polled(account, Recorder([uuid_of(1)]), 1):
            await asyncio.sleep(10)
        begin = len(account.polled)
        await asyncio.sleep(4 * 3_600)
    assert 4 <= len(account.polled) - begin <= 5


@virtual
async def test_waits_that_keep_arriving_for_an_opportunity_do_not_put_off_its_poll() -> None:
    account, first = account_of(10), Recorder([uuid_of(1)])
    with polled(account, first, 60), contextlib.ExitStack() as later:
        await asyncio.sleep(100)
        account.categories[uuid_of(1)], changed = "won", clock()
        for _ in range(600):
            later.enter_context(polled(account, Recorder([uuid_of(1)]), 60))
            await asyncio.sleep(0.5)
        assert first.changed[uuid_of(1)] - changed < 60
