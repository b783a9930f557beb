"""The times at which events are yielded: apache/airflow#54659 leaves early ones without a DAG run."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import airflow
import pytest

from airflow_provider_chartmogul._airflow.asset_events import EventSpacing, leaves_events_behind
from tests.support.virtual_time import run_in_virtual_time


class Event(NamedTuple):
    name: str
    round: int


async def handed_over(*arrivals: tuple[float, str, int], is_needed: bool = True) -> dict[str, float]:
    """Return the time at which each event is yielded, given its arrival and its round."""
    queue: asyncio.Queue[Event] = asyncio.Queue()
    spacing = EventSpacing(queue, is_needed=is_needed)
    clock = asyncio.get_running_loop().time
    times: dict[str, float] = {}

    async def consume() -> None:
        while True:
            event = await spacing.next_event()
            times[event.name] = round(clock(), 1)

    task = asyncio.create_task(consume())
    for seconds, name, round_number in arrivals:
        await asyncio.sleep(seconds - clock())
        queue.put_nowait(Event(name, round_number))
    await asyncio.sleep(30)
    task.cancel()
    return times


def check(*arrivals: tuple[float, str, int], expected: dict[str, float], is_needed: bool = True) -> None:
    async def test() -> None:
        assert await handed_over(*arrivals, is_needed=is_needed) == expected

    run_in_virtual_time(test())


def test_a_single_event_is_handed_over_when_it_arrives() -> None:
    check((5, "a", 1), (60, "b", 2), expected={"a": 5, "b": 60})


def test_of_several_events_the_last_comes_once_the_others_have_their_run() -> None:
    check((5, "a", 1), (5, "b", 1), (6, "c", 1), expected={"a": 5, "b": 6, "c": 16})


def test_events_of_a_long_round_are_not_held_back_longer_than_a_run_needs() -> None:
    check((5, "a", 1), (8, "b", 1), (40, "c", 1), expected={"a": 5, "b": 15, "c": 40})


def test_a_single_event_of_the_next_round_comes_within_a_second_however_short_the_interval() -> None:
    check((5, "a", 1), (7, "b", 2), (8, "c", 3), expected={"a": 5, "b": 7.9, "c": 8.9})


def test_an_event_of_the_next_round_takes_one_that_is_held_back_along() -> None:
    check((5, "a", 1), (5, "b", 1), (9, "c", 2), expected={"a": 5, "b": 9, "c": 19})


def test_nothing_is_held_back_on_a_version_without_the_defect() -> None:
    check((5, "a", 1), (5, "b", 1), (6, "c", 1), is_needed=False, expected={"a": 5, "b": 5, "c": 6})


@pytest.mark.parametrize(
    ("version", "expected"),
    [("3.0.6", True), ("3.3.2", True), ("3.3.3", False), ("3.4.0", False), ("3.3.3rc1", False), ("4.0.0.dev0", False)],
)
def test_the_versions_with_the_defect(version: str, monkeypatch: pytest.MonkeyPatch, *, expected: bool) -> None:
    monkeypatch.setattr(airflow, "__version__", version)
    assert leaves_events_behind() is expected
