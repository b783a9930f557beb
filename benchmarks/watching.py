"""
Measure the delay from a change to the event of a watcher, beside a program that lists the account and compares.

The program stands for a DAG that is scheduled every interval, without the time that Airflow needs to start its task: it
reads all pages with one requests session, at most 38 a second so that none is rejected, compares, and begins again when
the interval is over. Both sides get the same account with its limits, the same interval and the same changes. The row
"limit" is the least time in which the account's 40 requests a second let anybody read the list.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks.harness.account import API_KEY, LATENCIES, PAGE_SIZE, REQUESTS_PER_SECOND, Account, latency_name
from benchmarks.harness.observer import HEADER, Job, Noticed, Observer
from benchmarks.harness.report import Report, Row, main, progress, table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

COMMAND = "make bench-watching"
REMARKS = """\
The list has no filter for changes, so every watcher has to read it. The provider reads its pages concurrently, from the
positions that its last scan remembered, and pages on which all is won or lost only every tenth round; a program that
follows the cursor reads one page after the other, so that its round grows with the latency."""
OURS, COMPARE = "this provider", "list and compare"
INTERVAL = 10.0
CHANGES = 20
OPPORTUNITIES = 50_000
NEWEST_OPEN, SCATTERED_OPEN = 2_000, 50


async def ours(job: Job) -> AsyncIterator[str]:
    """Watch as an asset watcher does."""
    from airflow_provider_chartmogul.triggers.opportunity import OpportunityForecastCategoryEventTrigger

    trigger = OpportunityForecastCategoryEventTrigger(target_categories=["won"], poll_interval=job.interval)
    async for event in trigger.run():
        yield event.payload["opportunity_uuid"]


async def list_and_compare(job: Job) -> AsyncIterator[str]:
    """Read the list once an interval and compare it with the last reading."""
    import requests

    session = requests.Session()
    session.auth = (API_KEY, "")

    def read() -> dict[str, str]:
        found: dict[str, str] = {}
        query = {"per_page": str(PAGE_SIZE)}
        while True:
            begin = time.monotonic()
            page: dict[str, Any] = session.get(f"{job.url}/v1/opportunities", params=query, timeout=30).json()
            found |= {entry["uuid"]: entry["forecast_category"] for entry in page["entries"]}
            if not page["has_more"]:
                return found
            query["cursor"] = page["cursor"]
            time.sleep(max(0.0, 1 / 38 - (time.monotonic() - begin)))

    loop = asyncio.get_running_loop()
    known: dict[str, str] = {}
    while True:
        begin = loop.time()
        current = await asyncio.to_thread(read)
        for uuid, category in current.items():
            if category == "won" and known.get(uuid, "won") != "won":
                yield uuid
        known = current
        await asyncio.sleep(max(0.0, begin + job.interval - loop.time()))


def measure(is_smoke: bool) -> Report:  # noqa: FBT001  # the command line's
    """Let each side watch, where most opportunities are closed and where all are open."""
    size, changes, interval = (1_000, 3, 1.0) if is_smoke else (OPPORTUNITIES, CHANGES, INTERVAL)
    mostly_closed = {*range(min(NEWEST_OPEN, size // 5)), *range(0, size, size // SCATTERED_OPEN)}
    accounts = {f"{size:,}, {len(mostly_closed):,} of them open": sorted(mostly_closed), f"{size:,}, all open": None}
    limit = math.ceil(size / PAGE_SIZE) / REQUESTS_PER_SECOND
    rows, readme = [], []
    for latency in LATENCIES[-1:] if is_smoke else LATENCIES:
        for kind, open_numbers in accounts.items():
            if open_numbers is None and latency != LATENCIES[-1]:
                continue
            name = f"{kind}, {latency_name(latency)}"
            sides: dict[str, Noticed] = {}
            for side in (OURS, COMPARE):
                progress(f"watching {name}, {side} ...")
                with Account(size, open_numbers=open_numbers, latency=latency) as account:
                    job = Job(account.url, account.connection_json, (), interval)
                    candidates = [account.uuids[number] for number in open_numbers or range(size)]
                    scan = size / PAGE_SIZE * max(latency[0], 0.05)
                    with Observer(ours if side == OURS else list_and_compare, job) as observer:
                        sides[side] = observer.measure(
                            account,
                            candidates[:: len(candidates) // changes][:changes],
                            settle=5 + 1.5 * scan + interval,
                            pause=interval / 4,
                            limit=2 * scan + 5 * interval + 15,  # the last event of several is held back for 10 s
                        )
            rows += [[name, side, *noticed.cells] for side, noticed in sides.items()]
            rows.append([name, "limit", "", f"{limit:.1f} s to read the list", *[""] * 4])
            if latency == LATENCIES[-1]:
                mine, other = sides[OURS], sides[COMPARE]
                readme.append(
                    Row(
                        f"change to event, {name}, every {interval:.0f} s",
                        f"{mine.median:.1f} s",
                        f"{other.median:.1f} s ({COMPARE})",
                        f"{mine.median / other.median:.2f}",
                    )
                )
    return Report(
        title="Watching an account",
        body=table(["account", "", *HEADER], rows),
        remarks=REMARKS,
        readme=readme[:1],
    )


if __name__ == "__main__":
    sys.exit(main(COMMAND, __doc__, measure))
