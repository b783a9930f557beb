"""Waits begin and end at any moment; the others do not notice, and nothing is left of them."""

from __future__ import annotations

import asyncio
import gc
import random
import time
import tracemalloc
from functools import partial
from typing import TYPE_CHECKING

import psutil

from airflow_provider_chartmogul._polling.engine import Waiter
from tests.support.waits import (
    INTERVAL,
    eventually,
    looks,
    make_open,
    run,
    threads_of_waits,
    trigger_for,
    uuids_of,
    waiting,
)

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.polling.conftest import OpenSandbox

JOINS = 10_000


def test_waits_that_begin_and_end_do_not_disturb_the_others(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox(opportunities=300, latency=0.02)
    steady, *others = make_open(sandbox)
    dice = random.Random(0)

    async def one_after_the_other() -> None:
        while True:
            async with waiting([trigger_for(dice.choice(others))]):
                await asyncio.sleep(dice.random() * INTERVAL * 2)

    async def test() -> None:
        begin = time.monotonic()
        async with waiting([trigger_for(steady)]) as (task,):
            churn = [asyncio.create_task(one_after_the_other()) for _ in range(30)]
            await eventually(lambda: time.monotonic() - begin > 15 * INTERVAL)
            assert not task.done()
            seen = [look for look in looks(sandbox) if look in (steady, "first page")]
            assert 7 <= len(seen) <= 17
            sandbox.set_opportunity(steady, forecast_category="won")
            await eventually(task.done)
            assert task.result().payload["opportunity"]["forecast_category"] == "won"
            for other in churn:
                other.cancel()
            await asyncio.gather(*churn, return_exceptions=True)

    run(test())


def test_the_first_look_of_a_newcomer_comes_with_the_next_round(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox()
    uuid, newcomer = uuids_of(sandbox, 2)

    async def test() -> None:
        async with waiting([trigger_for(uuid)]):
            await eventually(lambda: len(sandbox.requests) >= 2)
            rounds = looks(sandbox).count(uuid)
            with Waiter(newcomer, chartmogul_conn_id="chartmogul_default", interval=INTERVAL) as waiter:
                assert await waiter.news() == sandbox.opportunity(newcomer)
            assert looks(sandbox).count(uuid) <= rounds + 2

    run(test())


def test_the_last_to_leave_ends_tasks_threads_and_connections(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox(opportunities=300, latency=0.05)
    uuids = make_open(sandbox)

    async def test() -> None:
        for waits in (1, 5, 300):
            async with waiting(trigger_for(uuid) for uuid in uuids[:waits]):
                await eventually(lambda: threads_of_waits() and _connections_to(sandbox))
            await eventually(lambda: not threads_of_waits())
            await eventually(lambda: len(asyncio.all_tasks()) == 1)
            await eventually(lambda: not _connections_to(sandbox))

    run(test())


def _connections_to(sandbox: Sandbox) -> int:
    connections = psutil.Process().net_connections("tcp")
    return sum(bool(c.raddr) and c.raddr.port == sandbox.port and c.status == "ESTABLISHED" for c in connections)


def test_the_second_to_last_to_leave_ends_nothing(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox()
    (uuid,) = uuids_of(sandbox, 1)

    async def test() -> None:
        async with waiting([trigger_for(uuid)]) as (task,):
            async with waiting([trigger_for(uuid), trigger_for(uuid, poll_interval=0.3)]):
                await eventually(lambda: sandbox.requests)
            made = len(sandbox.requests)
            await eventually(lambda: len(sandbox.requests) >= made + 2)
            sandbox.set_opportunity(uuid, forecast_category="won")
            await eventually(task.done)

    run(test())


def test_ten_thousand_joins_and_leaves_leave_no_memory_behind(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox(opportunities=100)
    uuids = make_open(sandbox)

    async def join_and_leave(times: int) -> None:
        for number in range(times):
            uuid = uuids[number % len(uuids)]
            with Waiter(uuid, chartmogul_conn_id="chartmogul_default", interval=INTERVAL) as waiter:
                if number % 1000 == 0:
                    await waiter.news()
                await asyncio.sleep(0)

    def is_nothing_left(before: int) -> bool:
        gc.collect()
        # The sandbox remembers each of its few requests.
        sandbox.clear_requests()
        return tracemalloc.get_traced_memory()[0] - before < JOINS * 20

    async def test() -> None:
        for somebody_stays in (True, False):
            async with waiting([trigger_for(uuids[0])] * somebody_stays):
                await join_and_leave(JOINS // 10)
            await eventually(lambda: not threads_of_waits())
            gc.collect()
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            async with waiting([trigger_for(uuids[0])] * somebody_stays):
                await join_and_leave(JOINS)
            await eventually(lambda: not threads_of_waits())
            # More than once, since the sandbox, in this process too, may hold a buffer of 256 KiB at any moment.
            await eventually(partial(is_nothing_left, before))
            tracemalloc.stop()
            await eventually(lambda: len(asyncio.all_tasks()) == 1)

    run(test())
