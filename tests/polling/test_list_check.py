"""The comparison of remembered positions with the list, and its consequence."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

from tests.hooks.stand_ins import error_of
from tests.polling.recorder import Recorder, account_of, clock, polled
from tests.polling.virtual_account import uuid_of
from tests.support.virtual_time import run_in_virtual_time

if TYPE_CHECKING:
    import pytest

    from tests.polling.virtual_account import VirtualAccount

HIDDEN = uuid_of(300)
INTERVAL = 10.0


def hide_from_remembered_positions(account: VirtualAccount) -> set[str]:
    """Let pages at the cursors of the first minute lack an opportunity; return those cursors."""
    remembered: set[str] = set()

    def fault(_endpoint: str, query: dict[str, Any]) -> None:
        cursor = query.get("cursor")
        if clock() < 60 and cursor:
            remembered.add(cursor)
        account.unlisted = {HIDDEN} if cursor in remembered else set()

    account.fault = fault
    return remembered


def test_a_scan_that_misses_an_opportunity_is_given_up_for_the_account_until_the_triggerer_restarts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        account, late = account_of(1_000), "late"
        account.page_seconds = 1.0
        remembered: set[str] = set()

        def hide_behind_remembered_cursors(endpoint: str, query: dict[str, Any]) -> None:
            if clock() < 60:
                remembered.add(query.get("cursor", ""))
            elif endpoint == "opportunities" and query.get("cursor") in remembered:
                account.categories.pop(late, None)
            else:
                account.categories[late] = "pipeline"

        def page_times(begin: float) -> list[float]:
            return [sent for sent, subject in account.log if subject in ("head", "page") and sent >= begin]

        account.fault = hide_behind_remembered_cursors
        with polled(account, Recorder(), 10):
            await asyncio.sleep(60)
            account.created[late] = account.created[uuid_of(500)] + 1
            account.categories[uuid_of(1_000)] = "pipeline"  # so that the cursors of the check are new
            await asyncio.sleep(600)
            assert "opportunity late was missed" in caplog.text
        watcher, begin = Recorder(), clock()
        with polled(account, watcher, 10):
            await asyncio.sleep(100)
        assert watcher.rounds[-1][1] == 1_002
        times = page_times(begin)
        assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 0.9
        assert caplog.text.count("one page after another") == 1

    run_in_virtual_time(test())


def test_a_check_that_fails_is_repeated_soon() -> None:
    async def scenario() -> None:
        account, watcher = account_of(1_000), Recorder()
        hide_from_remembered_positions(account)
        hide, of_segments = account.fault, set()

        def fail_in_the_check(endpoint: str, query: dict[str, Any]) -> None:
            hide(endpoint, query)
            cursor = query.get("cursor")
            if clock() < 95:
                of_segments.add(cursor)
            elif clock() < 150 and cursor not in of_segments:
                failed.append(clock())
                raise error_of(endpoint, 503)

        failed: list[float] = []
        account.fault = fail_in_the_check
        with polled(account, watcher, INTERVAL):
            await asyncio.sleep(70)
            account.categories |= {uuid_of(number): "pipeline" for number in range(2_000, 2_050)}
            await asyncio.sleep(600)
            assert len(failed) == 1
            assert HIDDEN in watcher.received

    run_in_virtual_time(scenario())


def test_an_opportunity_that_was_deleted_since_is_not_missed(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        account, watcher = account_of(1_000), Recorder()
        hide_from_remembered_positions(account)
        with polled(account, watcher, INTERVAL):
            await asyncio.sleep(80)
            account.categories |= {uuid_of(number): "pipeline" for number in range(2_000, 2_050)}
            await asyncio.sleep(60)
            del account.categories[HIDDEN]
            await asyncio.sleep(600)
        assert "one page after another" not in caplog.text

    run_in_virtual_time(scenario())
