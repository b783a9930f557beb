"""
Measure an export to a local file, beside a bare requests loop that writes the same lines and the official client.

The server is a process of its own that sends pages it has made before, as fast as it can. Each export runs in a new
process, forked from one that has Airflow imported, as a task's is.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.harness.listing import PAGE_SIZE, ListOf
from benchmarks.harness.network import AnsweringServer
from benchmarks.harness.plot import Line, Plot
from benchmarks.harness.processes import in_new_process
from benchmarks.harness.report import Answer, InShort, main, progress, table
from benchmarks.harness.rounds import interleaved, ratio
from benchmarks.harness.server import seconds_at_limit

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND = "make bench-export"
REMARKS = """\
Parsing and writing JSON is nearly all of it. The hook reads the next page while a page is written, and writes a page
at a time. What a small export takes is the import of `requests` and Airflow's look-up of the connection, which the
others have behind them when they are measured."""
DIFFERENT = 10_000
OURS, BARE, OFFICIAL = "this provider", "bare requests loop", "official client"
GROWTH = (10, 100, 1_000, 10_000, 100_000)
LARGEST = {OURS: GROWTH[-1], BARE: GROWTH[-1], OFFICIAL: 10_000}
MOST_MEMORY = 30 * 1024 * 1024
MOST_TIME_PER_PAGE = 1.1  # of the bare loop's


@dataclass(frozen=True)
class Measured:
    """
    What an export cost.

    :param rows: how many it wrote
    :param seconds: how long it took
    :param memory: bytes by which the process grew at most, what it imports for the export included
    """

    rows: int
    seconds: float
    memory: int

    @property
    def speed(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds


# Each returns what is measured; what a DAG file or a script imports before is not.


def ours(url: str, path: Path) -> Callable[[], object]:
    from airflow.sdk.listener import get_listener_manager

    from airflow_provider_chartmogul.transfers.object_storage import ChartMogulToObjectStorageOperator

    get_listener_manager()  # loads Airflow's plugins, as a task's process does before it runs the task
    connection = {"conn_type": "chartmogul", "host": url, "password": "api-key"}
    os.environ["AIRFLOW_CONN_CHARTMOGUL_DEFAULT"] = json.dumps(connection)
    operator = ChartMogulToObjectStorageOperator(task_id="export", path=str(path))
    return lambda: operator.execute({})


def bare(url: str, path: Path) -> Callable[[], object]:
    import requests

    session = requests.Session()
    session.auth = ("api-key", "")

    def export() -> None:
        query: dict[str, Any] = {"per_page": PAGE_SIZE}
        with path.open("w", encoding="utf-8") as file:
            has_more = True
            while has_more:
                page = session.get(f"{url}/v1/opportunities", params=query, timeout=30).json()
                for opportunity in page["entries"]:
                    file.write(json.dumps(opportunity, ensure_ascii=False, separators=(",", ":")) + "\n")
                has_more, query["cursor"] = page["has_more"], page["cursor"]

    return export


def official(url: str, path: Path) -> Callable[[], object]:
    import chartmogul

    config = chartmogul.Config("api-key")
    config.uri = f"{url}/v1"

    def export() -> None:
        query: dict[str, Any] = {"per_page": PAGE_SIZE}
        with path.open("w", encoding="utf-8") as file:
            has_more = True
            while has_more:
                page = chartmogul.Opportunity.all(config, **query).get()
                for opportunity in page.entries:
                    file.write(json.dumps(vars(opportunity), default=str, ensure_ascii=False) + "\n")
                has_more, query["cursor"] = page.has_more, page.cursor

    return export


EXPORTS: dict[str, Callable[[str, Path], Callable[[], object]]] = {OURS: ours, BARE: bare, OFFICIAL: official}


def answer(is_smoke: bool, rows: int = 200_000, rounds: int = 3) -> Answer:  # noqa: FBT001  # from the command line
    """
    Export in every way.

    :param rows: how many opportunities
    :param rounds: how often each way has its turn
    """
    if is_smoke:
        rows, rounds = 20_000, 1
    with tempfile.TemporaryDirectory() as folder:
        results = interleaved(rounds, {name: _exporting(name, _part(name, rows), Path(folder)) for name in EXPORTS})
        if not filecmp.cmp(Path(folder) / OURS, Path(folder) / BARE, shallow=False):
            raise RuntimeError("This provider and the bare loop wrote different lines.")
        sizes = GROWTH[:2] if is_smoke else GROWTH
        growth = {
            name: [(size, _exporting(name, size, Path(folder))().seconds) for size in sizes if size <= LARGEST[name]]
            for name in EXPORTS
        }
    speeds = {name: [one.speed for one in measured] for name, measured in results.items()}
    times_per_page = {name: ratio(speeds[BARE], speed) for name, speed in speeds.items()}
    medians = {name: statistics.median(speed) for name, speed in speeds.items()}
    memory = {name: max(one.memory for one in measured) for name, measured in results.items()}
    goals = times_per_page[OURS] <= MOST_TIME_PER_PAGE and memory[OURS] <= MOST_MEMORY
    verdict = "Too short to tell anything." if is_smoke else "Met." if goals else "MISSED."
    return Answer(
        title="What an export takes",
        body="\n\n".join(
            [
                table(
                    ["export", "rows", "rows/s, median", "time per page, of the bare loop's", "memory added"],
                    [
                        [
                            name,
                            f"{measured[0].rows:,}",
                            f"{medians[name]:,.0f}",
                            f"{times_per_page[name]:.2f}",
                            f"{memory[name] / 1024**2:.1f} MB",
                        ]
                        for name, measured in results.items()
                    ],
                ),
                f"Goals ({MOST_TIME_PER_PAGE} times the bare loop's time, {MOST_MEMORY // 1024**2} MB): {verdict}",
            ]
        ),
        remarks=REMARKS,
        in_short=InShort(
            "export of 10,000 rows",
            f"{10_000 / medians[OURS]:.2f} s",
            f"{10_000 / medians[OFFICIAL]:.2f} s (official client)",
            f"{ratio(speeds[OFFICIAL], speeds[OURS]):.2f}",
        ),
        plots=[
            Plot(
                name="export",
                title="Export: time for all opportunities",
                across="opportunities",
                up="seconds",
                lines=[
                    *(Line(name, points) for name, points in growth.items()),
                    Line(
                        "the least that ChartMogul's limit allows",
                        [(size, seconds_at_limit(size)) for size in sizes],
                        is_measured=False,
                    ),
                ],
            )
        ],
    )


def _part(name: str, rows: int) -> int:
    # The official client takes so long that a part has to do.
    return max(rows // 20, PAGE_SIZE) if name == OFFICIAL else rows


def _exporting(name: str, rows: int, folder: Path) -> Callable[[], Measured]:
    def export() -> Measured:
        with AnsweringServer(ListOf(rows, different=DIFFERENT)) as server:
            measured: Measured = in_new_process(measure, name, server.url, folder / name, rows)
        progress(f"export, {rows:,} rows, {name}: {measured.speed:,.0f} rows/s")
        return measured

    return export


def measure(name: str, url: str, path: Path, rows: int) -> Measured:
    """Export, in a process of its own."""
    export = EXPORTS[name](url, path)
    before = psutil.Process().memory_info().rss
    start = time.perf_counter()
    export()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    with path.open("rb") as file:
        written = sum(1 for _ in file)
    if written != rows:
        raise RuntimeError(f"{name} wrote {written} rows of {rows}.")
    return Measured(rows, seconds, max(0, peak - before))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    sys.exit(main(COMMAND, __doc__, lambda is_smoke: answer(is_smoke, options.rows, options.rounds)))
