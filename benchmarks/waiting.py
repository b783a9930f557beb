"""
Measure what deferred waits cost, beside the HTTP provider's HttpEventTrigger doing the same job.

The account has 10,000 opportunities, 40 requests a second, 20 connections and 50 ms latency. It and the process that
runs the triggers are processes of their own; the figures are those of the latter. Ours starts all its waits at once,
as after the restart of a triggerer; HttpEventTrigger gets its waits spread evenly over an interval, since otherwise the
account refuses most of what it sends. Airflow's own DateTimeTrigger, which only sleeps, shows what any wait costs.

The garbage collector has columns of its own: it stops the whole process, for a time that depends on all that lives
there, Airflow with its modules included. It looks at all of that a few times while the number of waits grows.

Leave the machine alone meanwhile: a process that has to wait for a processor looks like a blocked event loop.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
import time
from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import urlsplit

from benchmarks.harness.plot import Line, Plot
from benchmarks.harness.report import Answer, InShort, main, progress, table
from benchmarks.harness.server import REQUESTS_PER_SECOND, Server
from benchmarks.harness.triggerer import DATE_TIME_TRIGGER, HTTP_EVENT_TRIGGER, OURS, Job, Measured, Triggerer

COMMAND = "make bench-waiting"
REMARKS = """\
One look at everybody takes as many requests as the list has pages, however many wait, and stays at that; what
computing remains is parsing these pages. HttpEventTrigger sends a request for each wait, and computes for each."""
OPPORTUNITIES = 10_000
CHANGES = 20


@dataclass(frozen=True)
class Run:
    """
    A row of the table.

    :param trigger: which trigger waits
    :param waits: how many there are
    :param interval: seconds between two looks at an opportunity
    :param intervals: how many of them are measured
    """

    trigger: str
    waits: int
    interval: float
    intervals: int


RUNS = [
    Run(OURS, 1, 2, 5),
    Run(HTTP_EVENT_TRIGGER, 1, 2, 5),
    Run(OURS, 10, 2, 5),
    Run(HTTP_EVENT_TRIGGER, 10, 2, 5),
    Run(OURS, 100, 5, 3),
    Run(HTTP_EVENT_TRIGGER, 100, 5, 3),
    Run(OURS, 1_000, 5, 2),
    Run(HTTP_EVENT_TRIGGER, 1_000, 30, 1),
    Run(OURS, 10_000, 60, 1),
    Run(DATE_TIME_TRIGGER, 10_000, 10, 1),
]
SMOKE_RUNS = [Run(OURS, 100, 4, 1), Run(HTTP_EVENT_TRIGGER, 20, 2, 1), Run(DATE_TIME_TRIGGER, 100, 1, 1)]


@dataclass(frozen=True)
class Result:
    """
    What a run came to.

    :param run: the run
    :param measured: what it cost the process
    :param requests: what the account was sent while it was measured
    :param refused: how many of these it answered with 429 or 503
    :param changes: how many opportunities were won
    :param delays: seconds from the change to the event, for each event
    """

    run: Run
    measured: Measured
    requests: int
    refused: int
    changes: int
    delays: list[float]

    @property
    def cpu_per_look(self) -> float:
        """Seconds of computing per wait and interval."""
        return self.measured.cpu / self.run.waits / self.run.intervals

    @property
    def requests_per_interval(self) -> float:
        """Requests to the account, in each interval."""
        return self.requests / self.run.intervals

    def row(self) -> list[str]:
        """Return the result as a row of a table."""
        run, measured = self.run, self.measured
        return [
            run.trigger,
            f"{run.waits:,}",
            f"{run.interval:g} s",
            f"{self.requests_per_interval:,.0f}",
            f"{self.refused}",
            f"{measured.longest_block * 1000:.0f} ms",
            f"{measured.longest_collection_before * 1000:.0f} ms",
            f"{measured.longest_collection * 1000:.0f} ms",
            f"{self.cpu_per_look * 1000:.3f} ms",
            f"{measured.memory / run.waits / 1024:.1f} KB" if run.waits >= 1000 else "",
            f"{len(self.delays)} of {self.changes}" if self.changes else "",
            f"{statistics.median(self.delays):.1f} s" if self.delays else "",
            f"{max(self.delays):.1f} s" if self.delays else "",
        ]


COLUMNS = [
    "trigger",
    "waits",
    "interval",
    "requests per interval",
    "429 or 503",
    "longest block of the event loop",
    "garbage collection, at first",
    "then",
    "CPU per wait and interval",
    "memory per wait",
    "changes seen",
    "change to event, median",
    "longest",
]


def answer(is_smoke: bool) -> Answer:  # noqa: FBT001  # what the command line says, and nothing else
    """Run the waits."""
    results = []
    with tempfile.TemporaryDirectory(prefix="chartmogul-benchmark-") as airflow_home:
        for run in SMOKE_RUNS if is_smoke else RUNS:
            progress(f"{run.waits:,} waits, {run.trigger} ...")
            results.append(_measure(run, airflow_home))
    of = {
        trigger: [result for result in results if result.run.trigger == trigger]
        for trigger in (OURS, HTTP_EVENT_TRIGGER)
    }
    ours, theirs = of[OURS][-1], of[HTTP_EVENT_TRIGGER][-1]
    times = theirs.cpu_per_look / ours.cpu_per_look
    return Answer(
        title="What deferred waits cost",
        body=(
            f"{table(COLUMNS, [result.row() for result in results])}\n\n"
            f"Per wait and interval, HttpEventTrigger with {theirs.run.waits:,} waits takes {times:,.0f} times the CPU "
            f"that this provider takes with {ours.run.waits:,}."
        ),
        remarks=REMARKS,
        in_short=InShort(
            "CPU per deferred wait and look",
            f"{ours.cpu_per_look * 1000:.3f} ms ({ours.run.waits:,} waits)",
            f"{theirs.cpu_per_look * 1000:.3f} ms ({HTTP_EVENT_TRIGGER}, {theirs.run.waits:,} waits)",
            f"{1 / times:.3f}",
        ),
        plots=[_requests_plot(of)],
    )


def _requests_plot(of: dict[str, list[Result]]) -> Plot:
    lines = [
        Line(trigger, [(result.run.waits, result.requests_per_interval) for result in results])
        for trigger, results in of.items()
    ]
    beyond = [*lines[-1].points[-1:], (RUNS[-1].waits, RUNS[-1].waits)]
    return Plot(
        name="waiting",
        title="Waiting: requests, with a look at each opportunity every minute",
        across="waits",
        up="requests a minute",
        lines=[*lines, Line(f"{HTTP_EVENT_TRIGGER}, computed", beyond, is_measured=False)],
        limits={"what ChartMogul answers an account": REQUESTS_PER_SECOND * 60},
    )


def _measure(run: Run, airflow_home: str) -> Result:
    dice = random.Random(0)
    start_over = run.interval if run.trigger == HTTP_EVENT_TRIGGER else 0.0
    with Server(OPPORTUNITIES) as server:
        uuids = dice.sample(server.uuids, run.waits)
        job = Job(
            trigger=run.trigger,
            uuids=uuids,
            interval=run.interval,
            start_over=start_over,
            settle_for=start_over + min(8.0, run.interval),
            measure_for=run.interval * run.intervals,
        )
        with Triggerer(job, _connections(server), airflow_home) as triggerer:
            triggerer.until_settled()
            server.forget_requests()
            changing = dice.sample(uuids, CHANGES) if run.waits > CHANGES else uuids
            if run.trigger == DATE_TIME_TRIGGER:
                changing = []
            # Where changes would leave nothing to measure, they come later.
            changed = _win(changing, run, server) if len(changing) < run.waits else {}
            measured = triggerer.measured()
            requests = server.count_requests()
            changed = changed or _win(changing, run, server)
            delays: list[float] = []
            while len(delays) < len(changed) and (event := triggerer.next_event(run.interval + 10)):
                uuid, moment = event
                delays.append(moment - changed[uuid])
    return Result(run, measured, requests.total(), requests[429] + requests[503], len(changed), delays)


def _win(uuids: list[str], run: Run, server: Server) -> dict[str, float]:
    """Win opportunities at moments spread over half an interval; return when."""
    moments = {}
    for uuid in uuids:
        time.sleep(run.interval / 2 / len(uuids))
        moments[uuid] = server.win(uuid)
    return moments


def _connections(server: Server) -> dict[str, str]:
    ours = {"conn_type": "chartmogul", "host": server.url, "password": server.api_key}
    address = urlsplit(server.url)
    theirs = {
        "conn_type": "http",
        "schema": "http",
        "host": address.hostname,
        "port": address.port,
        # The HTTP provider takes the extra for headers.
        "extra": {"Authorization": f"Basic {b64encode(f'{server.api_key}:'.encode()).decode()}"},
    }
    return {
        "AIRFLOW_CONN_CHARTMOGUL_DEFAULT": json.dumps(ours),
        "AIRFLOW_CONN_HTTP_DEFAULT": json.dumps(theirs),
    }


if __name__ == "__main__":
    sys.exit(main(COMMAND, __doc__, answer))
