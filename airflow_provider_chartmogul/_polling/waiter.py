"""The polling engine's subscriber for waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_chartmogul._polling.subscriber import Subscriber
from airflow_provider_chartmogul.exceptions import ChartMogulError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_EVENTS_PER_STEP = 50  # of the event loop, which other tasks share


class WaitEvent(NamedTuple):
    """
    An event for a wait.

    :param opportunity_uuid: the opportunity; None: the list or the connection
    :param opportunity: its JSON
    :param error: the error, instead of the JSON
    :param ends_wait: whether the error is permanent and concerns this opportunity
    """

    opportunity_uuid: str | None
    opportunity: dict[str, Any] | None = None
    error: Exception | None = None
    ends_wait: bool = False


class Waiter(Subscriber):
    """
    Queue an event for each change that polls find, and for the beginning and end of errors.

    :param opportunity_uuids: the UUIDs of the opportunities, as ChartMogul writes them
    :param read: returns the part of an opportunity's JSON whose changes make events
    """

    opportunity_uuids: frozenset[str]

    def __init__(self, opportunity_uuids: Iterable[str], read: Callable[[dict[str, Any]], Any]) -> None:
        self.opportunity_uuids = frozenset(opportunity_uuids)
        self._read = read
        self._last_value: dict[str, str] = {}
        self._failing: set[str | None] = set()
        self._events: asyncio.Queue[WaitEvent] = asyncio.Queue()

    async def next_event(self) -> WaitEvent:
        """
        Return the next event, in the order of the polls.

        :return: an opportunity's first poll, a change, or its first poll after an error; or an error, except for a
            transient one while another persists
        """
        if self._events.qsize() % _EVENTS_PER_STEP == 0:
            await asyncio.sleep(0)
        return await self._events.get()

    def on_opportunity(self, opportunity: dict[str, Any]) -> bool:
        """Queue an event unless the opportunity is unchanged."""
        uuid = opportunity["uuid"]
        value = repr(self._read(opportunity))  # compared as text, since True == 1 in Python
        is_unchanged = self._last_value.get(uuid) == value
        if is_unchanged and not self._failing & {uuid, None}:
            return False
        self._last_value[uuid] = value
        self._failing -= {uuid, None}
        return self._put(WaitEvent(uuid, opportunity))

    def on_error(self, error: Exception, opportunity_uuid: str | None) -> bool:
        """Queue an event unless the error is transient and one of its kind persists."""
        is_transient = isinstance(error, ChartMogulError) and error.transient
        ends_wait = opportunity_uuid is not None and not is_transient
        # One event for many opportunities that fail for one reason.
        is_known = bool(self._failing)
        self._failing.add(opportunity_uuid)
        return (ends_wait or not is_known) and self._put(WaitEvent(opportunity_uuid, error=error, ends_wait=ends_wait))

    def _put(self, event: WaitEvent) -> bool:
        self._events.put_nowait(event)
        return True
