"""A ChartMogul account with its limits, in a process of its own."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_chartmogul.sandbox import Sandbox
from benchmarks.harness.listing import PAGE_SIZE

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

REQUESTS_PER_SECOND = 40
MAX_CONNECTIONS = 20
LATENCY = 0.05  # seconds


def seconds_at_limit(opportunities: int) -> float:
    """Return the least time in which ChartMogul lets anybody read so many opportunities."""
    return math.ceil(opportunities / PAGE_SIZE) / REQUESTS_PER_SECOND


class Server:
    """
    Run the account while this context lasts.

    :param opportunities: how many it has; none of them is won
    """

    def __init__(self, opportunities: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, servers_end = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(servers_end, opportunities))

    def __enter__(self) -> Self:
        self._process.start()
        self.url: str
        self.api_key: str
        self.uuids: list[str]
        self.url, self.api_key, self.uuids = self._pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send(("stop", None))
        self._process.join()

    def forget_requests(self) -> None:
        """Count from now on."""
        self._ask("forget")

    def count_requests(self) -> Counter[int | None]:
        """Return how many requests there were of each status."""
        counter: Counter[int | None] = self._ask("count")
        return counter

    def win(self, uuid: str) -> float:
        """Move an opportunity to won; return when, by this machine's monotonic clock."""
        moment: float = self._ask("win", uuid)
        return moment

    def _ask(self, question: str, argument: Any = None) -> Any:
        self._pipe.send((question, argument))
        return self._pipe.recv()


def _serve(pipe: Connection, opportunities: int) -> None:
    with Sandbox(
        opportunities=opportunities,
        requests_per_second=REQUESTS_PER_SECOND,
        max_connections=MAX_CONNECTIONS,
        latency=LATENCY,
    ) as sandbox:
        for opportunity in sandbox.opportunities:
            sandbox.set_opportunity(opportunity["uuid"], forecast_category="pipeline")
        pipe.send((sandbox.url, sandbox.api_key, [entry["uuid"] for entry in sandbox.opportunities]))
        while True:
            question, argument = pipe.recv()
            if question == "stop":
                return
            if question == "forget":
                sandbox.clear_requests()
                pipe.send(None)
            elif question == "count":
                pipe.send(Counter(request.status for request in sandbox.requests))
            else:
                sandbox.set_opportunity(argument, forecast_category="won")
                pipe.send(time.monotonic())
