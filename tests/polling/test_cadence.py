"""Looks keep the beat of their interval, and leave the event loop free for others."""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
from typing import TYPE_CHECKING, Self

import pytest

from airflow_provider_chartmogul.sandbox import Fault
from tests.support.waits import eventually, make_open, run, trigger_for, uuids_of, waiting

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.polling.conftest import OpenSandbox

WAITS = 10_000
LONGEST_BLOCK = 0.05  # seconds


def _times_between_looks(sandbox: Sandbox) -> list[float]:
    return [after.at - before.at for before, after in itertools.pairwise(sandbox.requests)]


def test_slow_answers_do_not_shift_the_beat(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox(latency=0.15)
    (uuid,) = uuids_of(sandbox, 1)

    async def test() -> None:
        async with waiting([trigger_for(uuid, poll_interval=0.3)]):
            await eventually(lambda: len(sandbox.requests) > 20)
        times = _times_between_looks(sandbox)
        assert 0.29 < sum(times) / len(times) < 0.4

    run(test())


def test_a_round_longer_than_two_intervals_is_not_made_up_for(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox()
    (uuid,) = uuids_of(sandbox, 1)

    async def test() -> None:
        async with waiting([trigger_for(uuid, poll_interval=0.3)]):
            await eventually(lambda: len(sandbox.requests) >= 2)
            sandbox.clear_requests()
            sandbox.inject_fault(Fault(kind="slow", seconds=1.0))
            await eventually(lambda: len(sandbox.requests) >= 8)
        slow, *others = _times_between_looks(sandbox)
        assert slow >= 1.0
        # A busy machine may be late with one look, and then be in time with the next.
        assert sum(others) > 0.3 * (len(others) - 1)

    run(test())


def test_looks_that_a_suspended_machine_missed_are_not_made_up_for(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox()
    (uuid,) = uuids_of(sandbox, 1)

    async def test() -> None:
        loop = asyncio.get_running_loop()
        clock = loop.time
        async with waiting([trigger_for(uuid, poll_interval=0.3)]):
            await eventually(lambda: len(sandbox.requests) >= 2)
            loop.time = lambda: clock() + 100.0  # type: ignore[method-assign]  # all at once
            sandbox.clear_requests()
            await eventually(lambda: len(sandbox.requests) >= 6)
        assert min(_times_between_looks(sandbox)[1:]) > 0.1

    run(test())


class _LoopProbe:
    """Measure how long an event loop computes, at most, before it comes to others; other processes do not count."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._measure())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _measure(self) -> None:
        before = time.thread_time()
        while True:
            await asyncio.sleep(0.001)
            now = time.thread_time()
            self.longest, before = max(self.longest, now - before), now


@pytest.mark.parametrize("ending", ["won", "key rejected"])
@pytest.mark.parametrize("opportunities", [WAITS, 1], ids=["one opportunity each", "all for one opportunity"])
def test_ten_thousand_waits_do_not_block_the_event_loop(
    open_sandbox: OpenSandbox, opportunities: int, ending: str
) -> None:
    sandbox = open_sandbox(opportunities=opportunities)
    uuids = make_open(sandbox) * (WAITS // opportunities)

    def end_all_waits() -> None:
        if ending == "key rejected":
            sandbox.rotate_api_key("nobody-told-airflow")
        else:
            for uuid in set(uuids):
                sandbox.set_opportunity(uuid, forecast_category="won")

    async def test() -> None:
        ended = itertools.count()
        async with waiting(trigger_for(uuid, poll_interval=0.5) for uuid in uuids) as tasks:
            for task in tasks:
                task.add_done_callback(lambda _: next(ended))
            # What pytest keeps would have the garbage collector take longer than it does in a triggerer.
            gc.collect()
            gc.freeze()
            async with _LoopProbe() as probe:
                await asyncio.sleep(3)
                await asyncio.to_thread(end_all_waits)
                while f"count({WAITS})" != repr(ended):
                    await asyncio.sleep(0.05)
            gc.unfreeze()
            assert 0 < probe.longest < 3 * LONGEST_BLOCK

    run(test())
