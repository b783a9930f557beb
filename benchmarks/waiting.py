"""
Measure deferred waits, beside an asyncio program that retrieves each opportunity once an interval.

The account enforces ChartMogul's limits: 40 requests a second and 20 connections. Both sides get the same account, the
same interval and the same changes, one after the other. The row "limit" is the least time in which the account's limit
lets anybody poll once every opportunity waited for: individually, or by reading the list up to the last of them.
"""

from __future__ import annotations

import asyncio
import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.harness.account import API_KEY, LATENCIES, PAGE_SIZE, REQUESTS_PER_SECOND, Account, latency_name
from benchmarks.harness.observer import HEADER, Job, Noticed, Observer
from benchmarks.harness.report import Report, Row, main, progress, table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

COMMAND = "make bench-waiting"
REMARKS = """\
Few waits are polled individually, which nobody does faster than the account allows; many are found in the list, 200
with one request. A wait in a large account costs one GET an interval, however large the account is."""
OURS, AIOHTTP = "this provider", "aiohttp, one GET each"
CHANGES = 20


@dataclass(frozen=True)
class Case:
    """So many waits, spread over an account of that size, with an interval in seconds."""

    waits: int
    account: int
    interval: float

    @property
    def limit(self) -> float:
        """Seconds in which the account's limit allows one poll of each."""
        return min(self.waits, math.ceil(self.account / PAGE_SIZE)) / REQUESTS_PER_SECOND


CASES = (Case(50, 50_000, 10), Case(10_000, 50_000, 60))
SMOKE_CASES = (Case(10, 1_000, 1),)


async def ours(job: Job) -> AsyncIterator[str]:
    """Wait as deferred sensors do."""
    from airflow_provider_chartmogul.triggers.opportunity import OpportunityForecastCategoryTrigger

    ended: asyncio.Queue[str] = asyncio.Queue()

    async def wait(uuid: str) -> None:
        trigger = OpportunityForecastCategoryTrigger(
            opportunity_uuid=uuid, target_categories=["won"], poll_interval=job.interval
        )
        await anext(trigger.run())
        ended.put_nowait(uuid)

    tasks = [asyncio.create_task(wait(uuid)) for uuid in job.uuids]
    while tasks:
        yield await ended.get()


async def retrieve_each(job: Job) -> AsyncIterator[str]:
    """Retrieve each opportunity once an interval, at the limits of the account."""
    import aiohttp

    ended: asyncio.Queue[str] = asyncio.Queue()
    connector = aiohttp.TCPConnector(limit=20)
    async with aiohttp.ClientSession(auth=aiohttp.BasicAuth(API_KEY, ""), connector=connector) as session:

        async def poll_one(uuid: str, waiting: set[str]) -> None:
            async with session.get(f"{job.url}/v1/opportunities/{uuid}") as response:
                if response.status == 200 and (await response.json())["forecast_category"] == "won":
                    waiting.discard(uuid)
                    ended.put_nowait(uuid)

        async def poll() -> None:
            loop = asyncio.get_running_loop()
            waiting = set(job.uuids)
            while waiting:
                begin = loop.time()
                async with asyncio.TaskGroup() as group:
                    for uuid in list(waiting):
                        group.create_task(poll_one(uuid, waiting))
                        await asyncio.sleep(1 / 38)
                await asyncio.sleep(max(0.0, begin + job.interval - loop.time()))

        polling = asyncio.create_task(poll())
        while not polling.done():
            yield await ended.get()


def measure(is_smoke: bool) -> Report:  # noqa: FBT001  # the command line's
    """Let each side wait in each case."""
    rows = []
    readme = []
    for case in SMOKE_CASES if is_smoke else CASES:
        for latency in LATENCIES[-1:] if is_smoke or case.waits > 1_000 else LATENCIES:
            name = f"{case.waits:,} waits among {case.account:,}, every {case.interval:.0f} s, {latency_name(latency)}"
            sides = {side: _measure(name, side, case, latency) for side in (OURS, AIOHTTP)}
            rows += [[name, side, *noticed.cells] for side, noticed in sides.items()]
            rows.append([name, "limit", "", f"{case.limit:.1f} s a poll of each", *[""] * 4])
        mine, other = (sides[side] for side in (OURS, AIOHTTP))
        readme.append(
            Row(
                f"change to event, {name}",
                f"{mine.median:.1f} s",
                f"{other.median:.1f} s ({AIOHTTP})",
                f"{mine.median / other.median:.2f}",
            )
        )
    return Report(
        title="Deferred waits",
        body=table(["waits", "", *HEADER], rows),
        remarks=REMARKS,
        readme=readme[-1:],
    )


def _measure(name: str, side: str, case: Case, latency: tuple[float, float]) -> Noticed:
    progress(f"{name}, {side} ...")
    changes = min(CHANGES, case.waits)
    with Account(case.account, latency=latency) as account:
        uuids = account.uuids[:: case.account // case.waits][: case.waits]
        job = Job(account.url, account.connection_json, uuids, case.interval)
        with Observer(ours if side == OURS else retrieve_each, job) as observer:
            first_poll = case.waits / REQUESTS_PER_SECOND if side == AIOHTTP else 10 * case.limit
            return observer.measure(
                account,
                uuids[:: len(uuids) // changes][:changes],
                settle=5 + 1.2 * case.interval + first_poll,
                pause=min(case.interval / 5, 3.0),
                limit=3 * case.interval + first_poll,
            )


if __name__ == "__main__":
    sys.exit(main(COMMAND, __doc__, measure))
