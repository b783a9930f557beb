"""
Measure an export to a local file, beside a bare requests loop that writes the same lines and the official client.

The server is a process of its own that sends pages it has made before, as fast as it can. Each export runs in a new
process; they take turns, so that what else the machine does hits all alike.
"""

from __future__ import annotations

import argparse
import asyncio
import filecmp
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, urlsplit

import psutil

from airflow_provider_chartmogul.sandbox.generate import generate

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

PAGE_SIZE = 200
DIFFERENT_PAGES = 50
OURS, BARE, OFFICIAL = "this provider", "bare requests loop", "official client"
MOST_MEMORY = 30 * 1024 * 1024
LEAST_SPEED = 0.9  # of the bare loop's


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
    from airflow_provider_chartmogul.transfers.object_storage import ChartMogulToObjectStorageOperator

    connection = {"conn_type": "chartmogul", "host": url, "password": "key"}
    os.environ["AIRFLOW_CONN_CHARTMOGUL_DEFAULT"] = json.dumps(connection)
    operator = ChartMogulToObjectStorageOperator(task_id="export", path=str(path))
    return lambda: operator.execute({})


def bare(url: str, path: Path) -> Callable[[], object]:
    import requests

    session = requests.Session()
    session.auth = ("key", "")

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

    config = chartmogul.Config("key")
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


def main() -> int:
    """Run the benchmark and print its table; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description="Compare exports of many opportunities.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="how many opportunities (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each export runs (default: %(default)s)")
    parser.add_argument("--smoke", action="store_true", help="only see that it works, in less than half a minute")
    options = parser.parse_args()
    rows, rounds = (20_000, 1) if options.smoke else (options.rows, options.rounds)
    results: dict[str, list[Measured]] = {name: [] for name in EXPORTS}
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for name, measured in results.items():
                # The official client takes so long that a part has to do.
                part = max(rows // 20, PAGE_SIZE) if name == OFFICIAL else rows
                measured.append(in_new_process(context, name, part, Path(folder)))
                print(f"round {number + 1}, {name}: {measured[-1].speed:,.0f} rows/s", file=sys.stderr, flush=True)
            if not filecmp.cmp(Path(folder) / OURS, Path(folder) / BARE, shallow=False):
                raise RuntimeError("This provider and the bare loop wrote different lines.")
    return report(results, is_smoke=options.smoke)


def in_new_process(context: multiprocessing.context.SpawnContext, name: str, rows: int, folder: Path) -> Measured:
    """Run an export against a new server, each in a process of its own."""
    pipe, servers_end = context.Pipe()
    server = context.Process(target=serve, args=(servers_end, rows), daemon=True)
    server.start()
    try:
        url = pipe.recv()
        pipe, exports_end = context.Pipe()
        export = context.Process(target=measure, args=(exports_end, name, url, folder / name, rows))
        export.start()
        exports_end.close()
        measured: Measured = pipe.recv()
        export.join()
        return measured
    finally:
        server.kill()
        server.join()


def measure(pipe: Connection, name: str, url: str, path: Path, rows: int) -> None:
    with tempfile.TemporaryDirectory() as airflow_home:
        os.environ["AIRFLOW_HOME"] = airflow_home
        os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "ERROR"
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
    pipe.send(Measured(rows, seconds, max(0, peak - before)))


def serve(pipe: Connection, rows: int) -> None:
    pages = make_pages()
    last = (rows - 1) // PAGE_SIZE

    class Answering(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast("asyncio.Transport", transport)
            self.received = b""

        def data_received(self, data: bytes) -> None:
            self.received += data
            while b"\r\n\r\n" in self.received:
                head, _, self.received = self.received.partition(b"\r\n\r\n")
                target = urlsplit(head.split(b" ", 2)[1].decode())
                number = int(parse_qs(target.query).get("cursor", ["0"])[0])
                has_more = "true" if number < last else "false"
                entries = pages[number % DIFFERENT_PAGES]
                body = b'{"entries":[%b],"cursor":"%d","has_more":%b}' % (entries, number + 1, has_more.encode())
                head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
                self.transport.write(head + body)

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        pipe.send(f"http://{host}:{port}")
        await server.serve_forever()

    asyncio.run(run())


def make_pages() -> list[bytes]:
    entries = [
        json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
        for _, fields in generate(0, DIFFERENT_PAGES * PAGE_SIZE)
    ]
    return [b",".join(entries[start : start + PAGE_SIZE]) for start in range(0, len(entries), PAGE_SIZE)]


def report(results: dict[str, list[Measured]], *, is_smoke: bool) -> int:
    print(
        f"Airflow {version('apache-airflow')}, chartmogul {version('chartmogul')}, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores\n"
    )
    print("| export | rows | rows/s, median | pages/s | of the bare loop's speed, in the same round | memory added |")
    print("|---|--:|--:|--:|--:|--:|")
    ratios = {}
    for name, measured in results.items():
        in_round = [ours.speed / bare.speed for ours, bare in zip(measured, results[BARE], strict=True)]
        ratios[name] = statistics.median(in_round)
        speed = statistics.median(one.speed for one in measured)
        memory = max(one.memory for one in measured)
        print(
            f"| {name} | {measured[0].rows:,} | {speed:,.0f} | {speed / PAGE_SIZE:,.0f} "
            f"| {ratios[name]:.2f} ({min(in_round):.2f} to {max(in_round):.2f}) | {memory / 1024**2:.1f} MB |"
        )
    if is_smoke:
        print("\nA smoke run is too short to tell anything.")
        return 0
    memory = max(one.memory for one in results[OURS])
    is_good = ratios[OURS] >= LEAST_SPEED and memory <= MOST_MEMORY
    print(
        f"\nGoals, {LEAST_SPEED} of the bare loop's speed and {MOST_MEMORY // 1024**2} MB: "
        f"{'met' if is_good else 'MISSED'}."
    )
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
