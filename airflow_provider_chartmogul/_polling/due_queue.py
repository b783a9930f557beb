"""A queue of items that become due at a time."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import math
from typing import Generic, TypeVar

_Item = TypeVar("_Item")

_MOST_LEFT_BEHIND = 64  # entries of the heap beside those of the items


class DueQueue(Generic[_Item]):
    """A queue of distinct items, ordered by the time at which they are due."""

    def __init__(self) -> None:
        self._due: dict[_Item, float] = {}
        self._heap: list[tuple[float, int, _Item]] = []
        self._numbers = itertools.count()
        self._has_earlier = asyncio.Event()
        self._lock = asyncio.Lock()

    def put(self, item: _Item, due: float) -> None:
        """Add an item, or move it to another time of the event loop's clock."""
        if self._due.get(item) == due:
            return
        self._due[item] = due
        if len(self._heap) > 2 * len(self._due) + _MOST_LEFT_BEHIND:
            # An item that is moved leaves an entry behind, which goes only when its time comes.
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (due, next(self._numbers), item))
        if self._heap[0][2] is item:
            self._has_earlier.set()

    def discard(self, item: _Item) -> None:
        """Remove an item if present."""
        self._due.pop(item, None)

    def __contains__(self, item: object) -> bool:
        return item in self._due

    def due(self, item: _Item) -> float:
        """Return the time at which an item is due; infinity if it is not queued."""
        return self._due.get(item, math.inf)

    async def next(self) -> tuple[_Item, float]:
        """Wait until an item is due; remove it, and return it with its due time."""
        clock = asyncio.get_running_loop().time
        async with self._lock:
            while True:
                while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
                    heapq.heappop(self._heap)
                wait = self._heap[0][0] - clock() if self._heap else None
                if wait is not None and wait <= 0:
                    due, _, item = heapq.heappop(self._heap)
                    del self._due[item]
                    return item, due
                self._has_earlier.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._has_earlier.wait()
