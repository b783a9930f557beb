"""What runs triggers, in a process of its own and nothing else: an event loop that is looked at from outside."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import selectors
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import pendulum
import psutil

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

    from airflow.triggers.base import BaseTrigger

OURS = "this provider"
HTTP_EVENT_TRIGGER = "HttpEventTrigger"
DATE_TIME_TRIGGER = "DateTimeTrigger"


@dataclass(frozen=True)
class Job:
    """
    What to wait for.

    :param trigger: which trigger to use
    :param uuids: one wait for each of these opportunities to be won
    :param interval: seconds between two looks at an opportunity
    :param start_over: seconds over which the waits are started, evenly
    :param settle_for: seconds until the measurement begins
    :param measure_for: seconds that it lasts
    """

    trigger: str
    uuids: Sequence[str]
    interval: float
    start_over: float
    settle_for: float
    measure_for: float


@dataclass(frozen=True)
class Measured:
    """
    What the waits cost the process.

    :param cpu: seconds of computing while it was measured
    :param memory: bytes that the process grew by
    :param longest_block: seconds that the event loop was not free for others, at most, since the first wait started,
        without those in which Python collected garbage
    :param longest_collection_before: seconds that Python collected garbage at a time, at most, until it was measured
    :param longest_collection: the same while it was measured
    """

    cpu: float
    memory: int
    longest_block: float
    longest_collection_before: float
    longest_collection: float


class Triggerer:
    """Run a job while this context lasts; ``connections`` are environment variables."""

    def __init__(self, job: Job, connections: dict[str, str], airflow_home: str) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, triggerers_end = spawn.Pipe()
        environment = {**connections, "AIRFLOW_HOME": airflow_home}
        self._process = spawn.Process(target=_run, args=(triggerers_end, job, environment))

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    def until_settled(self) -> None:
        """Return when the measurement begins."""
        self._pipe.recv()

    def measured(self) -> Measured:
        """Return what was measured, once it was."""
        measured: Measured = self._pipe.recv()
        return measured

    def next_event(self, timeout: float) -> tuple[str, float] | None:
        """Return the next UUID whose wait ended, and when; None if none ended within so many seconds."""
        if not self._pipe.poll(timeout):
            return None
        event: tuple[str, float] = self._pipe.recv()
        return event


class _Collections:
    """Time the garbage collector, which stops all threads whatever they do."""

    def __init__(self) -> None:
        self.total = self.longest = self._began_at = 0.0
        gc.callbacks.append(self._note)

    def _note(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._began_at = time.monotonic()
        else:
            seconds = time.monotonic() - self._began_at
            self.total += seconds
            self.longest = max(self.longest, seconds)


class _TimedSelector(selectors.DefaultSelector):
    """Time what an event loop does between two moments at which it looks for news from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.collections = _Collections()
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.longest = self.collections.longest = 0.0
        self._returned_at, self._collected = time.monotonic(), self.collections.total

    def select(self, timeout: float | None = None) -> Any:
        seconds = time.monotonic() - self._returned_at - (self.collections.total - self._collected)
        self.longest = max(self.longest, seconds)
        events = super().select(timeout)
        self._returned_at, self._collected = time.monotonic(), self.collections.total
        return events


def _run(pipe: Connection, job: Job, environment: dict[str, str]) -> None:
    # What the waits log is no part of the benchmark's output; a triggerer sends it elsewhere too.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.environ.update(environment)
    selector = _TimedSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(_wait(pipe, job, selector))


async def _wait(pipe: Connection, job: Job, selector: _TimedSelector) -> None:
    _trigger(job, job.uuids[0])  # imports what it needs
    gc.collect()
    process = psutil.Process()
    memory = process.memory_info().rss
    selector.forget()
    ended: list[tuple[str, float]] = []
    begin = time.monotonic()
    tasks = []
    for number, uuid in enumerate(job.uuids):
        await asyncio.sleep(max(0.0, begin + job.start_over * number / len(job.uuids) - time.monotonic()))
        tasks.append(asyncio.create_task(_run_trigger(_trigger(job, uuid), uuid, ended)))
    await asyncio.sleep(max(0.0, begin + job.settle_for - time.monotonic()))

    pipe.send("settled")
    longest_collection_before, selector.collections.longest = selector.collections.longest, 0.0
    cpu = time.process_time()
    await asyncio.sleep(job.measure_for)
    cpu = time.process_time() - cpu
    memory = process.memory_info().rss - memory
    pipe.send(Measured(cpu, memory, selector.longest, longest_collection_before, selector.collections.longest))
    while True:
        await asyncio.sleep(0.005)
        while ended:
            pipe.send(ended.pop())


async def _run_trigger(trigger: BaseTrigger, uuid: str, ended: list[tuple[str, float]]) -> None:
    await anext(trigger.run())
    ended.append((uuid, time.monotonic()))


def _trigger(job: Job, uuid: str) -> BaseTrigger:
    if job.trigger == OURS:
        import airflow_provider_chartmogul._polling.engine  # noqa: F401  # as if it were not the first trigger of the process
        from airflow_provider_chartmogul.triggers.opportunity import OpportunityForecastCategoryTrigger

        return OpportunityForecastCategoryTrigger(
            opportunity_uuid=uuid, target_categories=["won"], poll_interval=job.interval
        )
    if job.trigger == DATE_TIME_TRIGGER:
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        return DateTimeTrigger(moment=pendulum.now("UTC").add(days=1))
    from airflow.providers.http.triggers.http import HttpEventTrigger

    return HttpEventTrigger(
        http_conn_id="http_default",
        endpoint=f"v1/opportunities/{uuid}",
        response_check_path="benchmarks.harness.response_check.is_won",
        poll_interval=job.interval,
    )
