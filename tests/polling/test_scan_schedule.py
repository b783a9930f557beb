"""How often the scan reads each part of the list, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.hooks.stand_ins import error_of
from tests.polling.recorder import Recorder, account_of, clock, polled, virtual
from tests.polling.virtual_account import uuid_of
from tests.support.virtual_time import run_in_virtual_time


@pytest.mark.parametrize(("count", "reads"), [(2, 20), (3, 30)])
def test_parts_with_one_or_two_open_opportunities_are_read_in_two_rounds_of_three(count: int, reads: int) -> None:
    async def test() -> None:
        account = account_of(2_000)
        for number, uuid in enumerate(account.categories):
            account.categories[uuid] = "pipeline" if number % 200 < count else "won"
        with polled(account, Recorder(), 10):
            await asyncio.sleep(200)
            begin = clock()
            await asyncio.sleep(300)
        # The head in each of thirty rounds.
        assert account.pages_since(begin) == pytest.approx(30 + 9 * reads, rel=0.05)

    run_in_virtual_time(test())


@virtual
async def test_a_closed_part_that_changed_is_read_in_each_round_for_a_while() -> None:
    account, watcher, uuid = account_of(2_000), Recorder(), uuid_of(5)
    account.categories.update(dict.fromkeys(account.categories, "lost"))
    with polled(account, watcher, 10):
        await asyncio.sleep(200)
        account.categories[uuid] = "won"
        while uuid not in watcher.changed:
            await asyncio.sleep(1)
        await asyncio.sleep(80)
        account.categories[uuid], changed = "lost", clock()
        await asyncio.sleep(11)
    assert watcher.changed[uuid] > changed


@virtual
async def test_what_is_created_is_found_in_a_round_also_if_all_the_others_are_closed() -> None:
    account, watcher = account_of(2_000), Recorder()
    account.categories.update(dict.fromkeys(account.categories, "lost"))
    with polled(account, watcher, 10):
        await asyncio.sleep(200)
        for number in range(5_000, 5_003):
            account.categories[uuid_of(number)] = "lost"
            await asyncio.sleep(11)
            assert uuid_of(number) in watcher.received


@pytest.mark.parametrize(("waits", "pages"), [(5, 0), (6, 1)])
def test_five_waits_are_polled_individually_and_six_are_looked_for_in_the_list(waits: int, pages: int) -> None:
    async def test() -> None:
        account = account_of(100)
        with polled(account, Recorder([uuid_of(number) for number in range(waits)]), 60):
            await asyncio.sleep(30)
        assert account.pages_since(0) == pages

    run_in_virtual_time(test())


@pytest.mark.parametrize(("interval", "lines"), [(5, 1), (20, 0)])
def test_a_round_that_takes_longer_than_its_interval_is_logged_once(
    interval: float, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        account = account_of(2_000, max_requests_per_second=1)
        with polled(account, Recorder(), interval):
            await asyncio.sleep(200)

    run_in_virtual_time(test())
    assert caplog.text.count("longer than the poll_interval") == lines


@virtual
async def test_reads_that_were_late_are_not_made_up_for() -> None:
    account = account_of(1_000)
    with polled(account, Recorder(), 10):
        await asyncio.sleep(60)
        account.page_seconds = 25
        await asyncio.sleep(300)
        account.page_seconds, begin = 0.01, clock()
        await asyncio.sleep(100)
    assert 40 <= account.pages_since(begin) <= 55


@virtual
async def test_opportunities_that_the_list_lacks_are_polled_200_at_a_time() -> None:
    class Forgetting(Recorder):
        def on_error(self, error: Exception, opportunity_uuid: str | None) -> bool:
            self.now.pop(opportunity_uuid or "", None)
            return super().on_error(error, opportunity_uuid)

    account, watcher = account_of(1_000), Forgetting()
    with polled(account, watcher, 60):
        await asyncio.sleep(100)
        deleted = list(account.categories)[:500]
        for uuid in deleted:
            del account.categories[uuid]
        await asyncio.sleep(60)
        assert len(set(account.polled)) == 200
        await asyncio.sleep(240)
    assert set(watcher.endings()) == set(deleted)


@virtual
async def test_a_round_of_chosen_opportunities_ends_once_an_interval() -> None:
    account, watcher = account_of(10), Recorder([uuid_of(1)])
    with polled(account, watcher, 10):
        await asyncio.sleep(100)
    assert 9 <= len(watcher.rounds) <= 11


@virtual
async def test_two_waits_that_are_left_on_a_page_are_polled_by_that_page() -> None:
    account = account_of(200)
    uuids = list(account.categories)
    with polled(account, Recorder(uuids[:2]), 10):
        with polled(account, Recorder(uuids[2:6]), 10):
            await asyncio.sleep(30)
        await asyncio.sleep(30)
        polls, begin = len(account.polled), clock()
        await asyncio.sleep(100)
    assert len(account.polled) == polls
    assert account.pages_since(begin) == pytest.approx(10, abs=1)


@virtual
async def test_pages_that_nobody_needed_are_read_once_more_waits_begin() -> None:
    account = account_of(1_000)
    uuids = [uuid for _, uuid in account.positions()]
    with polled(account, Recorder(uuids[:6]), 10):
        await asyncio.sleep(30)
        assert "end" not in [what for _, what in account.log]
        with polled(account, Recorder(uuids[600:620]), 10):
            await asyncio.sleep(30)
            polls = len(account.polled)
            await asyncio.sleep(100)
            assert len(account.polled) == polls


@virtual
async def test_the_page_of_a_wait_that_has_ended_is_not_searched() -> None:
    account = account_of(1_000)
    with polled(account, Recorder([uuid_of(number) for number in range(4)]), 10):
        await asyncio.sleep(30)
        with polled(account, Recorder([uuid_of(5)]), 10):
            await asyncio.sleep(30)
        with polled(account, Recorder([uuid_of(6)]), 10):
            await asyncio.sleep(30)
    assert account.pages_since(0) == 0


def test_a_first_round_that_takes_longer_than_the_others_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        account = account_of(4_000, max_requests_per_second=1)
        account.categories.update(dict.fromkeys(account.categories, "lost"))
        with polled(account, Recorder(), 15):
            await asyncio.sleep(600)

    run_in_virtual_time(test())
    assert "longer than the poll_interval" not in caplog.text


@pytest.mark.parametrize("is_ordered", [True, False], ids=["on a page that fails", "of a list read in sequence"])
def test_a_wait_is_polled_individually_at_once(*, is_ordered: bool) -> None:
    async def test() -> None:
        account = account_of(400)
        uuids = list(account.categories)
        if not is_ordered:
            account.extra = {uuid: {"created_at": f"2026-01-{1 + n % 28:02}"} for n, uuid in enumerate(uuids)}
        with polled(account, Recorder(), 60), polled(account, Recorder(uuids[:3]), 60):
            await asyncio.sleep(150)

            def fault(_endpoint: str, query: dict[str, Any]) -> None:
                if is_ordered and "cursor" in query:
                    raise error_of("opportunities", 504)

            account.fault = fault
            # Another wait is polled in between, since five failures in a row are an outage.
            with polled(account, Recorder([uuids[-1]]), 1):
                await asyncio.sleep(100)
                with polled(account, Recorder([uuids[5]]), 60):
                    await asyncio.sleep(1.5)
                assert uuids[5] in account.polled

    run_in_virtual_time(test())


@virtual
async def test_closed_parts_are_read_every_tenth_round_from_the_first_one_on() -> None:
    account = account_of(2_000)
    account.categories.update(dict.fromkeys(account.categories, "lost"))
    with polled(account, Recorder(), 10):
        await asyncio.sleep(99)
    # Ten pages, then the head in each round, and each of the others once at most.
    assert 10 + 9 <= account.pages_since(0) <= 10 + 9 + 9
