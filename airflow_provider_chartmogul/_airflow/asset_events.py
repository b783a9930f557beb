"""The pace at which asset events are yielded to Airflow, so that each of them creates a DAG run."""

from __future__ import annotations

import asyncio
from typing import Any

import airflow
from packaging.version import Version

SECONDS_UNTIL_RUN = 10.0
"""The time within which Airflow creates a DAG run for an event. Triggerer and scheduler each loop once a second."""

_LONGEST_DELAY_OF_A_SINGLE_EVENT = 0.9  # seconds
_LAST_VERSION_THAT_LEAVES_EVENTS = (3, 3, 2)


def leaves_events_behind() -> bool:
    """
    Return whether this Airflow has apache/airflow#54659.

    With it, an event that arrives before the DAG run of an earlier one is created waits for the asset's next event.
    """
    return Version(airflow.__version__).release <= _LAST_VERSION_THAT_LEAVES_EVENTS


class EventSpacing:
    """
    Delay the last of several events, for Airflow versions that would leave it without a DAG run.

    It is yielded once the earlier ones have their DAG run; its own run includes any that Airflow left behind. A newer
    event releases it early.

    :param events: the queue of events, whose ``round`` is the number of the poll round that produced them
    :param is_needed: whether Airflow leaves events behind
    """

    def __init__(self, events: asyncio.Queue[Any], *, is_needed: bool | None = None) -> None:
        self._events = events
        self._is_needed = leaves_events_behind() if is_needed is None else is_needed
        self._held: list[Any] = []
        self._due = self._next_run = float("-inf")
        self._round = -1

    async def next_event(self) -> Any:
        """Wait until the next event may be yielded, and return it."""
        clock = asyncio.get_running_loop().time
        while True:
            try:
                async with asyncio.timeout_at(self._due if self._held else None):
                    event = await self._events.get()
            except TimeoutError:
                return self._sent(self._held.pop(), clock())
            now = clock()
            if self._held:
                held = self._sent(self._held.pop(), now)
                self._hold(event, self._next_run)
                return held
            if not self._is_needed or now >= self._next_run:
                return self._sent(event, now)
            is_alone = event.round != self._round
            self._hold(
                event, min(self._next_run, now + _LONGEST_DELAY_OF_A_SINGLE_EVENT) if is_alone else self._next_run
            )

    def _hold(self, event: Any, due: float) -> None:
        self._held = [event]
        self._due = due

    def _sent(self, event: Any, now: float) -> Any:
        self._next_run = now + SECONDS_UNTIL_RUN
        self._round = event.round
        return event
