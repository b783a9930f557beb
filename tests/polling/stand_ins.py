"""Parts of the polling engine for the tests of other packages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest import mock

from airflow_provider_chartmogul._polling import engine
from airflow_provider_chartmogul._polling.waiter import WaitEvent

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def without_gathering() -> AbstractContextManager[Any]:
    """Let the engine poll before others could join, which would share the requests."""
    return mock.patch.object(engine, "_LONGEST_GATHERING", 0.01)


def shortest_interval(seconds: float) -> AbstractContextManager[Any]:
    """Let the engine poll at shorter intervals than it otherwise does."""
    return mock.patch.object(engine, "_SHORTEST_INTERVAL", seconds)


def error_event(uuid: str | None, error: Exception, *, ends_wait: bool = False) -> WaitEvent:
    """Return the event of a poll that failed."""
    return WaitEvent(uuid, error=error, ends_wait=ends_wait)
