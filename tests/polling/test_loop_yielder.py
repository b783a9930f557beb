"""Long series of callbacks leave time to the other tasks of the event loop."""

from __future__ import annotations

import asyncio

import pytest

from airflow_provider_chartmogul._polling.loop_yielder import LoopYielder


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
