"""The polls of single opportunities: reported errors and due times, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.hooks.stand_ins import error_of
from tests.polling.recorder import Recorder, account_of, polled, virtual
from tests.polling.virtual_account import VirtualAccount, uuid_of
from tests.support.virtual_time import run_in_virtual_time


def account_with_faults(*statuses: int) -> VirtualAccount:
    """Return an account that responds to the first polls of one opportunity with these statuses; 200 is none."""
    account, left = account_of(10), list(statuses)

    def fault(endpoint: str, _query: dict[str, Any]) -> None:
        if endpoint.endswith(uuid_of(1)) and left and (status := left.pop(0)) != 200:
            raise error_of(endpoint, status)

    account.fault = fault
    return account


@pytest.mark.parametrize(("failures", "errors"), [(5, 0), (6, 1)])
def test_a_transient_error_is_reported_after_the_retries_of_the_connection(failures: int, errors: int) -> None:
    async def test() -> None:
        account, recorder = account_with_faults(*[504] * failures), Recorder([uuid_of(1)])
        with polled(account, Recorder([uuid_of(2)]), 1), polled(account, recorder, 60):
            await asyncio.sleep(60)
        assert len(recorder.errors) == errors

    run_in_virtual_time(test())


@virtual
async def test_a_404_before_a_success_does_not_confirm_one_after_it() -> None:
    account, recorder = account_with_faults(404, 200, 404, 200), Recorder([uuid_of(1)])
    with polled(account, recorder, 60):
        await asyncio.sleep(300)
    assert recorder.endings() == []


@virtual
async def test_a_404_ends_the_series_of_failures_before_it() -> None:
    account = account_with_faults(504, 504, 504, 504, 404, 504)
    with polled(account, Recorder([uuid_of(2)]), 1), polled(account, Recorder([uuid_of(1)]), 60):
        await asyncio.sleep(60)
    sent = [moment for moment, what in account.log if what == uuid_of(1)]
    assert sent[6] - sent[5] < 1


@virtual
async def test_an_interval_is_counted_from_the_due_time_but_missed_polls_are_not_made_up_for() -> None:
    account = account_of(10)
    account.get_seconds = 2
    with polled(account, Recorder([uuid_of(1)]), 10):
        await asyncio.sleep(105)
        assert len(account.polled) == 11
        account.get_seconds = 25
        await asyncio.sleep(300)
        account.get_seconds, polls = 0.01, len(account.polled)
        await asyncio.sleep(100)
    assert 8 <= len(account.polled) - polls <= 11


@virtual
async def test_an_outage_is_no_error_of_an_opportunity_that_is_watched() -> None:
    account, watcher = account_of(10), Recorder([uuid_of(1)])
    watcher.is_watcher = True
    with polled(account, watcher, 10):
        await asyncio.sleep(30)
        account.is_down = True
        await asyncio.sleep(600)
    assert [uuid for _, _, uuid in watcher.errors] == [None]
