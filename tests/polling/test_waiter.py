"""The subscriber that waits use, without an engine."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_chartmogul._polling.waiter import Waiter, WaitEvent
from airflow_provider_chartmogul.exceptions import ChartMogulNotFoundError, ChartMogulUnavailableError

A, B = "4ee13ca4-e7fe-11ee-fa7f-f303abf41acc", "5ee13ca4-e7fe-11ee-fa7f-f303abf41acc"
TRANSIENT = ChartMogulUnavailableError("away", method="GET", path=f"/v1/opportunities/{A}", status=503)
PERMANENT = ChartMogulNotFoundError("gone", method="GET", path=f"/v1/opportunities/{A}", status=404)


def waiter_of(*uuids: str) -> Waiter:
    return Waiter(uuids, lambda opportunity: opportunity.get("stage"))


def polled(uuid: str, stage: Any, **others: Any) -> dict[str, Any]:
    return {"uuid": uuid, "stage": stage, **others}


async def events_of(waiter: Waiter) -> list[WaitEvent]:
    """Return the queued events."""
    events = []
    while True:
        try:
            events.append(await asyncio.wait_for(waiter.next_event(), 0.01))
        except TimeoutError:
            return events


@pytest.mark.asyncio
async def test_the_first_poll_and_each_transition_make_an_event_in_their_order() -> None:
    waiter = waiter_of(A, B)
    woken = [
        waiter.on_opportunity(polled(A, "x")),
        waiter.on_opportunity(polled(A, "x", updated_at="later")),
        waiter.on_opportunity(polled(B, None)),
        waiter.on_opportunity(polled(A, "y")),
        waiter.on_opportunity(polled(A, "x")),
        waiter.on_opportunity(polled(B, None)),
    ]
    assert woken == [True, False, True, True, True, False]
    assert [(event.opportunity or {}).get("stage") for event in await events_of(waiter)] == ["x", None, "y", "x"]


@pytest.mark.asyncio
async def test_true_is_not_1() -> None:
    waiter = waiter_of(A)
    assert [waiter.on_opportunity(polled(A, stage)) for stage in (1, True, True, 1)] == [True, True, False, True]


@pytest.mark.asyncio
async def test_it_polls_its_opportunities_and_names_itself() -> None:
    waiter = waiter_of(A, B, A)
    assert waiter.opportunity_uuids == {A, B}
    assert waiter.name == "wait"
    assert await waiter.on_round_end(None) == ()


@pytest.mark.asyncio
async def test_trouble_makes_an_event_when_it_begins_and_when_it_ends() -> None:
    waiter = waiter_of(A, B)
    assert waiter.on_opportunity(polled(A, "x"))
    woken = [
        waiter.on_error(TRANSIENT, A),
        waiter.on_error(TRANSIENT, A),
        waiter.on_error(TRANSIENT, B),
        waiter.on_error(TRANSIENT, None),
        waiter.on_opportunity(polled(A, "x")),
        waiter.on_opportunity(polled(A, "x")),
        waiter.on_opportunity(polled(B, "x")),
        waiter.on_error(TRANSIENT, B),
    ]
    assert woken == [True, False, False, False, True, False, True, True]
    events = await events_of(waiter)
    assert [(event.opportunity_uuid, event.error is TRANSIENT, event.ends_wait) for event in events] == [
        (A, False, False),
        (A, True, False),
        (A, False, False),
        (B, False, False),
        (B, True, False),
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [PERMANENT, LookupError("a defect")])
async def test_a_permanent_error_of_an_opportunity_ends_the_wait_and_one_of_the_list_does_not(error: Exception) -> None:
    waiter = waiter_of(A)
    assert waiter.on_error(error, None)
    assert waiter.on_error(error, A)
    assert [event.ends_wait for event in await events_of(waiter)] == [False, True]


@pytest.mark.asyncio
async def test_many_events_leave_the_loop_to_others() -> None:
    waiter = waiter_of(A)
    for stage in range(1000):
        waiter.on_opportunity(polled(A, stage))
    runs_of_another_task = 0

    async def other() -> None:
        nonlocal runs_of_another_task
        while True:
            runs_of_another_task += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    for _ in range(1000):
        await waiter.next_event()
    task.cancel()
    assert runs_of_another_task >= 10
