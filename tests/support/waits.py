"""Waits as a triggerer runs them: one task of the event loop for each trigger."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul.triggers.opportunity import OpportunityForecastCategoryTrigger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable

    from airflow.triggers.base import BaseTrigger, TriggerEvent

    from airflow_provider_chartmogul.sandbox import RecordedRequest, Sandbox

INTERVAL = 0.2
"""The default poll interval of the tests, in seconds."""

PATIENCE = 30.0
"""Seconds after which a test gives up; a busy machine needs a few."""

LIST = "/v1/opportunities"


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run an asynchronous test to its end."""

    async def within_reason() -> None:
        async with asyncio.timeout(10 * PATIENCE):
            await test

    asyncio.run(within_reason())


def trigger_for(opportunity_uuid: str, **kwargs: Any) -> OpportunityForecastCategoryTrigger:
    """Return a trigger that waits until the opportunity is won, unless told otherwise."""
    settings = {"target_categories": ["won"], "poll_interval": INTERVAL, **kwargs}
    return OpportunityForecastCategoryTrigger(opportunity_uuid=opportunity_uuid, **settings)


async def event_of(trigger: BaseTrigger) -> TriggerEvent:
    """Run a trigger to its end and return its one event."""
    (event,) = [event async for event in trigger.run()]
    return event


async def payload_of(trigger: BaseTrigger) -> Any:
    """Run a trigger to its end and return the payload of its one event."""
    return (await event_of(trigger)).payload


@contextlib.asynccontextmanager
async def waiting(
    triggers: Iterable[BaseTrigger],
) -> AsyncIterator[list[asyncio.Task[TriggerEvent]]]:
    """Run triggers, started one by one like a triggerer's, and cancel the remaining ones at the end."""
    tasks = []
    for trigger in triggers:
        tasks.append(asyncio.create_task(event_of(trigger)))
        await asyncio.sleep(0)
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def eventually(condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Return once a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "The condition did not become true."
        await asyncio.sleep(0.01)


def uuids_of(sandbox: Sandbox, count: int, *, oldest: bool = False) -> list[str]:
    """Return the UUIDs of a number of opportunities that are not won, from one end of the list."""
    still_open = [entry["uuid"] for entry in sandbox.opportunities if entry["forecast_category"] != "won"]
    return still_open[-count:] if oldest else still_open[:count]


def make_open(sandbox: Sandbox) -> list[str]:
    """Reopen all won opportunities; return the UUIDs of all, newest first."""
    for entry in sandbox.opportunities:
        if entry["forecast_category"] == "won":
            sandbox.set_opportunity(entry["uuid"], forecast_category="pipeline")
    return [entry["uuid"] for entry in sandbox.opportunities]


def polls_of(sandbox: Sandbox) -> list[str]:
    """Return the requests in order: a UUID for a single opportunity, ``"first page"`` or ``"page"`` for the list."""
    return [_subject(request) for request in sandbox.requests]


def _subject(request: RecordedRequest) -> str:
    if request.path == LIST:
        return "page" if "cursor" in request.query else "first page"
    return request.path.rpartition("/")[2]


def threads_of_waits() -> list[str]:
    """Return the names of the threads that send requests for waits."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("chartmogul_")]
