"""Pauses for the other tasks of an event loop."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST_STEP = 0.005  # seconds until control returns to the event loop
_WAKE_UPS_IN_A_STEP = 50


class LoopYielder:
    """
    Let the event loop's other tasks run between the callbacks of a long series.

    :param clock: measures the time that the callbacks take
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._begin = clock()
        self._wake_ups = 0

    async def step(self, *, has_woken: bool) -> None:
        """Pause if enough was done."""
        self._wake_ups += has_woken
        if self._wake_ups == _WAKE_UPS_IN_A_STEP or self._clock() - self._begin > _LONGEST_STEP:
            await asyncio.sleep(0)
            self._begin, self._wake_ups = self._clock(), 0
