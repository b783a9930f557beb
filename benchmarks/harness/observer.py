"""A process that waits for or watches opportunities, and the delays with which it notices changes."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import psutil

from benchmarks.harness.processes import own_airflow_home

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from multiprocessing.connection import Connection

    from benchmarks.harness.account import Account, Usage


@dataclass(frozen=True)
class Job:
    """
    The opportunities to wait for or to watch.

    :param url: address of the account
    :param connection: the Airflow connection to it, JSON
    :param uuids: the opportunities; empty: all
    :param interval: seconds between two polls
    """

    url: str
    connection: str
    uuids: Sequence[str]
    interval: float


@dataclass(frozen=True)
class Noticed:
    """
    The changes that were noticed, and their cost.

    :param delays: seconds from change to event
    :param changes: number of changes that were made
    :param usage: requests from the first change to the last event
    :param cpu: share of one processor meanwhile
    """

    delays: Sequence[float]
    changes: int
    usage: Usage
    cpu: float

    @property
    def median(self) -> float:
        """Seconds from change to event."""
        return statistics.median(self.delays)

    @property
    def cells(self) -> list[str]:
        """The cells of a row under :data:`HEADER`."""
        return [
            f"{len(self.delays)} of {self.changes}",
            f"{self.median:.1f} s",
            f"{max(self.delays):.1f} s",
            f"{self.usage.per_minute:,.0f}",
            f"{self.usage.refused}",
            f"{self.cpu:.1%}",
        ]


HEADER = ["changes noticed", "change to event, median", "longest", "requests a minute", "429 or 503", "CPU"]


class Observer:
    """
    Run an observer in a process of its own while this context lasts.

    :param observe: yields the UUID of each opportunity whose change it notices
    :param job: its argument
    """

    def __init__(self, observe: Callable[[Job], AsyncIterator[str]], job: Job) -> None:
        own_airflow_home()
        spawn = multiprocessing.get_context("spawn")
        self._pipe, observers_end = spawn.Pipe()
        self._process = spawn.Process(target=_run, args=(observers_end, observe, job), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    def measure(self, account: Account, uuids: Sequence[str], *, settle: float, pause: float, limit: float) -> Noticed:
        """
        Win opportunities one after the other and wait for the events.

        :param settle: seconds to wait before the first change
        :param pause: seconds between two changes, on average
        :param limit: seconds to wait for the event of the last change
        """
        time.sleep(settle)
        account.usage()
        process = psutil.Process(self._process.pid)
        begin, cpu = time.monotonic(), sum(process.cpu_times()[:2])
        noticed: dict[str, float] = {}
        changed: dict[str, float] = {}
        dice = random.Random(0)
        for uuid in uuids:
            changed[uuid] = account.win(uuid)
            self._read(noticed, time.monotonic() + pause * dice.uniform(0.5, 1.5))
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline and not changed.keys() <= noticed.keys():
            self._read(noticed, time.monotonic() + 0.1)
        cpu = sum(process.cpu_times()[:2]) - cpu
        delays = [noticed[uuid] - moment for uuid, moment in changed.items() if uuid in noticed]
        return Noticed(delays or [float("nan")], len(changed), account.usage(), cpu / (time.monotonic() - begin))

    def _read(self, noticed: dict[str, float], until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            if self._pipe.poll(left):
                uuid, moment = self._pipe.recv()
                noticed.setdefault(uuid, moment)


def _run(pipe: Connection, observe: Callable[[Job], AsyncIterator[str]], job: Job) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)  # for the log
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.environ["AIRFLOW_CONN_CHARTMOGUL_DEFAULT"] = job.connection

    async def run() -> None:
        async for uuid in observe(job):
            pipe.send((uuid, time.monotonic()))

    asyncio.run(run())
