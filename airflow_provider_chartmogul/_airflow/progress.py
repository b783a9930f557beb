"""The progress of a wait for several opportunities, in the task's log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SECONDS_BETWEEN_LINES = 600.0


class ProgressLog:
    """
    Log the progress at the beginning, and then at most every ten minutes.

    :param info: writes a line, as ``Logger.info`` does
    :param clock: returns seconds
    """

    def __init__(self, info: Callable[..., object], clock: Callable[[], float] = time.monotonic) -> None:
        self._info = info
        self._clock = clock
        self._next_line = -float("inf")

    def report(self, done: int, total: int, awaited: object) -> None:
        """
        Log a line if one is due.

        :param done: number of opportunities that met the condition
        :param total: number of opportunities
        :param awaited: the condition
        """
        now = self._clock()
        if now >= self._next_line:
            self._next_line = now + _SECONDS_BETWEEN_LINES
            self._info("%d of %d opportunities done, waiting for %s.", done, total, awaited)
