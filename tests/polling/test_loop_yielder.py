"""Long series of callbacks leave time to the other tasks of the event loop."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from typing import Any

import pytest

from airflow_provider_chartmogul._polling import loop_yielder
from airflow_provider_chartmogul._polling.loop_yielder import LoopYielder
from tests.polling.recorder import Recorder, account_of, polled
from tests.polling.virtual_account import uuid_of
from tests.support.virtual_time import VirtualTimeLoop, run_in_virtual_time


@pytest.mark.parametrize(("milliseconds", "has_woken", "runs"), [(2, False, 334), (0, True, 21), (0, False, 1)])
async def test_a_long_series_of_callbacks_lets_other_tasks_run(
    *, milliseconds: int, has_woken: bool, runs: int
) -> None:
    now = 0.0
    runs_of_another_task = 0

    async def another_task() -> None:
        nonlocal runs_of_another_task
        while True:
            runs_of_another_task += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(another_task())
    yielder = LoopYielder(clock=lambda: now)
    for _ in range(1_000):
        now += milliseconds / 1000
        await yielder.step(has_woken=has_woken)
    await asyncio.sleep(0)
    task.cancel()
    assert runs_of_another_task == runs


def test_a_page_for_ten_watchers_and_many_waits_is_delivered_over_many_iterations_of_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: Counter[int] = Counter()

    class Counting(Recorder):
        def on_opportunity(self, opportunity: dict[str, Any]) -> bool:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualTimeLoop)
            calls[loop.iterations] += 1
            return super().on_opportunity(opportunity)

    async def test() -> None:
        account = account_of(1_000, max_concurrent_requests=1)
        with ExitStack() as stack:
            for uuids in [*[None] * 10, *[list(account.categories)] * 10]:
                stack.enter_context(polled(account, Counting(uuids), 10))
            await asyncio.sleep(25)

    monkeypatch.setattr(loop_yielder, "_LONGEST_STEP", -1.0)  # any callback takes longer
    run_in_virtual_time(test())
    assert calls.total() >= 2 * 20 * 1_000
    # One from the page, and one from each of the two workers that poll individually.
    assert max(calls.values()) <= 3


def test_a_wait_for_many_opportunities_begins_over_many_iterations_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        account = account_of(1_000)
        with polled(account, Recorder(list(account.categories)), 3_600):
            await asyncio.sleep(0.5)
        assert loop.iterations >= 1_000
        assert not account.log

    monkeypatch.setattr(loop_yielder, "_LONGEST_STEP", -1.0)
    run_in_virtual_time(test())


async def iterate(iterations: int) -> None:
    for _ in range(iterations):
        await asyncio.sleep(0)


def test_waits_may_end_begin_and_discard_opportunities_while_others_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        account = account_of(10)
        # None is on a page of the list.
        left, discarded, later = (
            [uuid_of(number) for number in range(start, start + 300)] for start in (300, 600, 900)
        )
        with ExitStack() as stack:
            subscription = stack.enter_context(polled(account, Recorder(discarded), 3_600))
            await iterate(150)
            for uuid in discarded[1:]:
                subscription.discard(uuid)
            with polled(account, Recorder(left), 3_600):
                stack.enter_context(polled(account, Recorder(later), 3_600))
                with polled(account, Recorder(), 60):
                    await iterate(300)
            await asyncio.sleep(600)
        assert set(account.polled) == {discarded[0], *later}
        assert account.pages_since(100) == 0

    monkeypatch.setattr(loop_yielder, "_LONGEST_STEP", -1.0)
    run_in_virtual_time(test())
