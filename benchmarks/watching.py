"""
Measure how watching all opportunities compares with a DAG that lists and compares them every minute.

The account has 50,000 opportunities, 40 requests a second, 20 connections and 50 ms latency; 100 of them are won within
a minute. Each way has an account of its own and both run at the same time. What the DAG's task does is written as users
would: a requests session reads the list, and what it finds is compared with the file that the run before wrote. It gets
a new process every minute, on the minute; what Airflow adds to start it is left out here and measured by
`make bench-airflow-cost`.

How the work grows with the number of opportunities is measured against a server without limits and latency.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from benchmarks.harness.listing import PAGE_SIZE, ListOf
from benchmarks.harness.network import AnsweringServer
from benchmarks.harness.plot import Line, Plot
from benchmarks.harness.processes import in_new_process, own_airflow_home
from benchmarks.harness.report import Answer, InShort, main, progress, table
from benchmarks.harness.server import Server, seconds_at_limit

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Set as AbstractSet
    from multiprocessing.connection import Connection

COMMAND = "make bench-watching"
REMARKS = """\
Half an interval is the least that polling can take: ChartMogul tells nobody of a change, and its list has no filter
for one. Both ways read the same pages, and parsing them is most of the computing in both; the DAG's task adds the
start of its process, its file, and Airflow's part, which is the task that does nothing in the table of `make
bench-airflow-cost`. Our trigger also spreads what it reads evenly, at half the account's requests a second, and holds
a look's last event back until 10 s after the look's end, so that Airflow has made a run for the others by then."""
SECONDS_BEFORE_LAST_EVENT = 10  # of a look
OURS, LISTING = "this provider", "a DAG that lists and compares"
GROWTH = (10, 100, 1_000, 10_000, 100_000)


@dataclass(frozen=True)
class Scene:
    """
    What is watched.

    :param opportunities: how many there are
    :param changes: how many are won while it is measured
    :param interval: seconds between two looks
    :param baseline: seconds that the first look at all of them may take
    """

    opportunities: int
    changes: int
    interval: float
    baseline: float


SCENE = Scene(opportunities=50_000, changes=100, interval=60.0, baseline=30.0)
SMOKE_SCENE = Scene(opportunities=1_000, changes=10, interval=3.0, baseline=5.0)


@dataclass(frozen=True)
class Watched:
    """
    What watching came to.

    :param requests: how many requests of the measured interval
    :param cpu: seconds of computing in that interval
    :param delays: seconds from a change to its event
    """

    requests: int
    cpu: float
    delays: list[float]

    def row(self, name: str, scene: Scene) -> list[str]:
        """Return the result as a row of a table."""
        return [
            name,
            f"{self.requests * 60 / scene.interval:,.0f}",
            f"{self.cpu * 60 / scene.interval:.2f} s",
            f"{len(self.delays)} of {scene.changes}",
            f"{statistics.median(self.delays):.1f} s",
            f"{max(self.delays):.1f} s",
        ]


def answer(is_smoke: bool) -> Answer:  # noqa: FBT001  # what the command line says, and nothing else
    """Watch in both ways, then see how both grow."""
    scene = SMOKE_SCENE if is_smoke else SCENE
    progress(f"watching {scene.opportunities:,} opportunities ...")
    results = _watch_in_both_ways(scene)
    growth = {}
    for size in GROWTH[:2] if is_smoke else GROWTH:
        progress(f"one look at {size:,} opportunities ...")
        growth[size] = _cpu_of_a_look(size, rounds=1 if is_smoke else 2)
    columns = ["watched by", "requests a minute", "CPU a minute", "changes seen", "change to event, median", "longest"]
    ours, listing = results[OURS], results[LISTING]
    lines = [Line(name, [(size, looks[name] * 1000) for size, looks in growth.items()]) for name in (OURS, LISTING)]
    least = [(size, seconds_at_limit(size) * 1000) for size in growth]
    limit = Line("the time that ChartMogul's limit makes it take", least, is_measured=False)
    return Answer(
        title=f"Watching {scene.opportunities:,} opportunities",
        body="\n\n".join(
            [
                table(columns, [result.row(name, scene) for name, result in results.items()]),
                table(
                    [
                        "opportunities",
                        "requests per look",
                        *(f"CPU per look, {name}" for name in (OURS, LISTING)),
                        "ratio",
                    ],
                    [
                        [
                            f"{size:,}",
                            f"{ListOf(size).pages}",
                            f"{looks[OURS] * 1000:,.1f} ms",
                            f"{looks[LISTING] * 1000:,.1f} ms",
                            f"{looks[OURS] / looks[LISTING]:.2f}",
                        ]
                        for size, looks in growth.items()
                    ],
                ),
            ]
        ),
        remarks=REMARKS,
        in_short=InShort(
            f"change to event, {scene.opportunities:,} opportunities watched",
            f"{statistics.median(ours.delays):.0f} s",
            f"{statistics.median(listing.delays):.0f} s (a DAG that lists and compares every minute)",
            f"{statistics.median(ours.delays) / statistics.median(listing.delays):.2f}",
        ),
        plots=[
            Plot(
                name="watching",
                title="Watching: computing for one look at all opportunities",
                across="opportunities",
                up="CPU, ms",
                lines=[*lines, limit],
            )
        ],
    )


def _watch_in_both_ways(scene: Scene) -> dict[str, Watched]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        servers = {name: stack.enter_context(Server(scene.opportunities)) for name in (OURS, LISTING)}
        context = multiprocessing.get_context("spawn")
        pipe, watchers_end = context.Pipe()
        own_airflow_home()
        environment = _environment(servers[OURS].url, servers[OURS].api_key)
        watcher = context.Process(target=watch, args=(watchers_end, environment, scene.interval), daemon=True)
        watcher.start()
        stack.callback(watcher.join)
        stack.callback(watcher.kill)
        pipe.recv()
        listing = _EveryMinute(servers[LISTING], Path(folder) / "opportunities.json", scene.interval)
        listing.start()
        time.sleep(scene.baseline)

        for server in servers.values():
            server.forget_requests()
        listing.cpu = 0.0
        pipe.send("cpu")
        cpu = pipe.recv()
        changed: dict[str, dict[str, float]] = {name: {} for name in servers}
        for uuid in random.Random(0).sample(servers[OURS].uuids, scene.changes):
            time.sleep(scene.interval / scene.changes)
            for name, server in servers.items():
                changed[name][uuid] = server.win(uuid)
        pipe.send("cpu")
        cpu = pipe.recv() - cpu
        requests = {name: server.count_requests().total() for name, server in servers.items()}
        listings_cpu = listing.cpu
        deadline = time.monotonic() + 1.5 * scene.interval + 3 * SECONDS_BEFORE_LAST_EVENT
        events: list[tuple[str, float]] = []
        while min(len(events), len(listing.events)) < scene.changes and time.monotonic() < deadline:
            time.sleep(0.5)
            pipe.send("events")
            events = pipe.recv()
        listing.stop()
        return {
            OURS: Watched(requests[OURS], cpu, _delays(changed[OURS], events)),
            LISTING: Watched(requests[LISTING], listings_cpu, _delays(changed[LISTING], listing.events)),
        }


def _delays(changed: dict[str, float], events: list[tuple[str, float]]) -> list[float]:
    """Return how long after its change each event came, leaving out repetitions."""
    first: dict[str, float] = {}
    for uuid, moment in events:
        first.setdefault(uuid, moment)
    return [first[uuid] - moment for uuid, moment in changed.items() if uuid in first]


def watch(pipe: Connection, environment: dict[str, str], interval: float) -> None:
    """Run our trigger and answer questions about it."""
    os.environ.update(environment)
    asyncio.run(_watch(pipe, interval))


async def _watch(pipe: Connection, interval: float) -> None:
    from airflow_provider_chartmogul.triggers.opportunity import OpportunityForecastCategoryEventTrigger

    trigger = OpportunityForecastCategoryEventTrigger(target_categories="won", poll_interval=interval)
    events: list[tuple[str, float]] = []

    async def note_events() -> None:
        async for event in trigger.run():
            events.append((event.payload["opportunity_uuid"], time.monotonic()))  # noqa: PERF401  # it never ends

    watching = asyncio.create_task(note_events())
    pipe.send("running")
    while not watching.done():
        await asyncio.sleep(0.05)
        if pipe.poll():
            pipe.send(time.process_time() if pipe.recv() == "cpu" else events)
    watching.result()


class _EveryMinute(Thread):
    """What a DAG with a schedule of one interval does, on the interval."""

    def __init__(self, server: Server, file: Path, interval: float) -> None:
        super().__init__(daemon=True)
        self._arguments = (server.url, server.api_key, str(file))
        self._interval = interval
        self._is_over = False
        self.cpu = 0.0
        self.events: list[tuple[str, float]] = []

    def stop(self) -> None:
        self._is_over = True
        self.join()

    def run(self) -> None:
        next_run = time.monotonic()
        while not self._is_over:
            won, cpu = in_new_process(list_and_compare, *self._arguments)
            self.cpu += cpu
            self.events += [(uuid, time.monotonic()) for uuid in won]
            next_run += self._interval
            while time.monotonic() < next_run and not self._is_over:
                time.sleep(0.05)


def list_and_compare(url: str, api_key: str, path: str) -> tuple[list[str], float]:
    """Return what was won since the file was written, and the seconds of computing; write the file anew."""
    began_at = time.process_time()
    import requests

    session = requests.Session()
    session.auth = (api_key, "")
    categories = {}
    query: dict[str, Any] = {"per_page": PAGE_SIZE}
    while True:
        response = session.get(f"{url}/v1/opportunities", params=query, timeout=30)
        response.raise_for_status()
        page = response.json()
        for opportunity in page["entries"]:
            categories[opportunity["uuid"]] = opportunity["forecast_category"]
        if not page["has_more"]:
            break
        query["cursor"] = page["cursor"]
    file = Path(path)
    before = json.loads(file.read_text()) if file.exists() else categories
    file.write_text(json.dumps(categories))
    won = [uuid for uuid, category in categories.items() if category == "won" and before.get(uuid) != "won"]
    return won, time.process_time() - began_at


def _cpu_of_a_look(opportunities: int, rounds: int) -> dict[str, float]:
    """Return the seconds of computing that one look at all opportunities takes, in each way."""
    with tempfile.TemporaryDirectory() as folder, AnsweringServer(ListOf(opportunities)) as server:
        environment = _environment(server.url, "api-key", max_requests_per_second=10_000)
        file = str(Path(folder) / "opportunities.json")
        listing = [in_new_process(list_and_compare, server.url, "api-key", file)[1] for _ in range(rounds + 1)]
        ours = in_new_process(cpu_of_our_looks, environment, rounds)
    # The first has nothing to compare with.
    return {OURS: ours, LISTING: statistics.median(listing[1:])}


def cpu_of_our_looks(environment: dict[str, str], rounds: int) -> float:
    """Return the seconds of computing per look, once all was seen for the first time."""
    os.environ.update(environment)
    return asyncio.run(_cpu_of_our_looks(rounds))


async def _cpu_of_our_looks(rounds: int) -> float:
    from airflow_provider_chartmogul._polling.change_detector import ChangeDetector, subscribe
    from airflow_provider_chartmogul._polling.snapshot_store import SnapshotStore
    from airflow_provider_chartmogul.opportunity._watch_condition import WatchCondition

    ended: asyncio.Queue[None] = asyncio.Queue()

    class Detector(ChangeDetector):
        async def on_round_end(self, listed: AbstractSet[str] | None) -> Collection[str]:
            ended.put_nowait(None)
            return await super().on_round_end(listed)

    detector = Detector(
        SnapshotStore([], "benchmark", {}),
        WatchCondition.parse("changed", "forecast_category", None, None),
        name="benchmark",
        chartmogul_conn_id="chartmogul_default",
    )
    with subscribe(detector, chartmogul_conn_id="chartmogul_default", interval=0.1):
        await ended.get()
        began_at = time.process_time()
        for _ in range(rounds):
            await ended.get()
        return (time.process_time() - began_at) / rounds


def _environment(url: str, api_key: str, **extra: float) -> dict[str, str]:
    connection = {"conn_type": "chartmogul", "host": url, "password": api_key, "extra": extra}
    return {"AIRFLOW_CONN_CHARTMOGUL_DEFAULT": json.dumps(connection)}


if __name__ == "__main__":
    sys.exit(main(COMMAND, __doc__, answer))
