"""
Measure an export to a local file, beside a bare requests loop that writes the same lines and the official client.

Each export runs in a new process, forked from one that has Airflow imported, as a task's is; the imports that a client
needs for the export count. The server is a process of its own.
"""

from __future__ import annotations

import filecmp
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness.account import (
    API_KEY,
    LATENCIES,
    PAGE_SIZE,
    REQUESTS_PER_SECOND,
    Account,
    latency_name,
)
from benchmarks.harness.processes import in_new_process
from benchmarks.harness.report import Report, Row, main, progress, table
from benchmarks.harness.rounds import interleaved, ratio

COMMAND = "make bench-export"
REMARKS = """\
Each page is written while the next one is on its way, so that at a user's latency an export takes as long as the pages
take to arrive. Pages cannot be requested concurrently: each cursor comes with the page before."""
OURS, BARE, OFFICIAL = "this provider", "bare requests loop", "official client"
ROWS = 10_000


class Cost(NamedTuple):
    """The seconds of an export, and the bytes by which the process grew at most."""

    seconds: float
    memory: int


def ours(url: str, path: Path) -> None:
    """Export with the operator."""
    from airflow_provider_chartmogul.transfers.object_storage import ChartMogulToObjectStorageOperator

    os.environ["AIRFLOW_CONN_CHARTMOGUL_DEFAULT"] = json.dumps(
        {"conn_type": "chartmogul", "host": url, "password": API_KEY}
    )
    ChartMogulToObjectStorageOperator(task_id="export", path=str(path)).execute({})


def bare(url: str, path: Path) -> None:
    """Export with a requests session."""
    import requests

    session = requests.Session()
    session.auth = (API_KEY, "")
    query: dict[str, Any] = {"per_page": PAGE_SIZE}
    with path.open("w", encoding="utf-8") as file:
        has_more = True
        while has_more:
            page = session.get(f"{url}/v1/opportunities", params=query, timeout=30).json()
            for opportunity in page["entries"]:
                file.write(json.dumps(opportunity, ensure_ascii=False, separators=(",", ":")) + "\n")
            has_more, query["cursor"] = page["has_more"], page["cursor"]


def official(url: str, path: Path) -> None:
    """Export with ChartMogul's client, which turns dates into objects."""
    import chartmogul

    config = chartmogul.Config(API_KEY)
    config.uri = f"{url}/v1"
    query: dict[str, Any] = {"per_page": PAGE_SIZE}
    with path.open("w", encoding="utf-8") as file:
        has_more = True
        while has_more:
            page = chartmogul.Opportunity.all(config, **query).get()
            for opportunity in page.entries:
                file.write(json.dumps(vars(opportunity), default=str, ensure_ascii=False) + "\n")
            has_more, query["cursor"] = page.has_more, page.cursor


EXPORTS = {OURS: ours, BARE: bare, OFFICIAL: official}


def measure(is_smoke: bool) -> Report:  # noqa: FBT001  # the command line's
    """Export with every client at every latency."""
    number, rounds = (1_000, 1) if is_smoke else (ROWS, 3)
    rows, readme = [], []
    with tempfile.TemporaryDirectory() as folder:
        for latency in LATENCIES[-1:] if is_smoke else LATENCIES:
            name = f"{latency[0] * 1000:.0f} ms a page"
            progress(f"export of {number:,} rows, {latency_name(latency)} ...")
            with Account(number, latency=latency, limited=False) as account:
                exports = {c: partial(in_new_process, cost, c, account.url, Path(folder) / c) for c in EXPORTS}
                costs: dict[str, list[Cost]] = interleaved(rounds, exports)
            if not filecmp.cmp(Path(folder) / OURS, Path(folder) / BARE, shallow=False):
                raise RuntimeError("This provider and the bare loop wrote different lines.")
            seconds = {client: [one.seconds for one in found] for client, found in costs.items()}
            rows += [
                [
                    name,
                    client,
                    f"{statistics.median(seconds[client]):.2f} s",
                    f"{ratio(seconds[client], seconds[BARE]):.2f}",
                    f"{max(one.memory for one in costs[client]) / 1024**2:.1f} MB",
                ]
                for client in EXPORTS
            ]
            rows.append(
                [name, "limit: pages / 40 a second", f"{number / PAGE_SIZE / REQUESTS_PER_SECOND:.2f} s", "", ""]
            )
            readme = [
                Row(
                    f"export of {number:,} rows, {name}",
                    f"{statistics.median(seconds[OURS]):.1f} s",
                    f"{statistics.median(seconds[BARE]):.1f} s ({BARE})",
                    f"{ratio(seconds[OURS], seconds[BARE]):.2f}",
                )
            ]
    return Report(
        title=f"Export of {number:,} rows",
        body=table(["latency", "client", "time, median", "of the bare loop's", "memory added"], rows),
        remarks=REMARKS,
        readme=readme,
    )


def cost(client: str, url: str, path: Path) -> Cost:
    """Export in this process."""
    from airflow.sdk.listener import get_listener_manager

    get_listener_manager()  # loads Airflow's plugins, as a task's process does before it runs the task
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    EXPORTS[client](url, path)
    seconds = time.perf_counter() - start
    return Cost(seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024)


if __name__ == "__main__":
    sys.exit(main(COMMAND, __doc__, measure))
