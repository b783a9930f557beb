"""Subscribers of the polling engine for tests."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul._polling import engine
from airflow_provider_chartmogul._polling.waiter import Waiter
from tests.support.waits import INTERVAL

if TYPE_CHECKING:
    from collections.abc import Iterator


class Listener:
    """Receives the poll results of one opportunity."""

    def __init__(self, waiter: Waiter) -> None:
        self._waiter = waiter

    async def next_result(self) -> dict[str, Any] | Exception:
        """Return the next opportunity or error that a wait would receive."""
        event = await self._waiter.next_event()
        result = event.error or event.opportunity
        assert result is not None
        return result


@contextlib.contextmanager
def listening(
    uuid: str, interval: float = INTERVAL, chartmogul_conn_id: str = "chartmogul_default"
) -> Iterator[Listener]:
    """Poll an opportunity."""
    waiter = Waiter([uuid], lambda opportunity: opportunity.get("forecast_category"))
    with engine.subscribe(waiter, chartmogul_conn_id=chartmogul_conn_id, interval=interval):
        yield Listener(waiter)
