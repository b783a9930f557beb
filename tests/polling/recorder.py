"""A recording subscriber of the engine, and an account for it, in virtual time."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul._polling import engine
from airflow_provider_chartmogul._polling.subscriber import Subscriber
from airflow_provider_chartmogul.exceptions import ChartMogulError
from tests.polling.virtual_account import VirtualAccount, pipeline_of
from tests.support.virtual_time import run_in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine
    from collections.abc import Set as AbstractSet

    from airflow_provider_chartmogul._polling.subscription import Subscription

HANG = 30.0
"""A timeout of requests, in seconds."""


class Recorder(Subscriber):
    """Records all calls by the engine, with the times."""

    def __init__(self, uuids: Collection[str] | None = None, name: str = "recorder") -> None:
        self.opportunity_uuids = uuids
        self.name = name
        self.is_watcher = uuids is None
        self.now: dict[str, Any] = {}
        self.received: dict[str, float] = {}
        self.changed: dict[str, float] = {}
        self.errors: list[tuple[float, ChartMogulError, str | None]] = []
        self.rounds: list[tuple[float, int | None]] = []

    def on_opportunity(self, opportunity: dict[str, Any]) -> bool:
        uuid, moment = opportunity["uuid"], clock()
        self.received[uuid] = moment
        if uuid in self.now and self.now[uuid] != opportunity["forecast_category"]:
            self.changed[uuid] = moment
        self.now[uuid] = opportunity["forecast_category"]
        return False

    def on_error(self, error: Exception, opportunity_uuid: str | None) -> bool:
        assert isinstance(error, ChartMogulError)
        self.errors.append((clock(), error, opportunity_uuid))
        return False

    async def on_round_end(self, listed: AbstractSet[str] | None) -> Collection[str]:
        self.rounds.append((clock(), None if listed is None else len(listed)))
        return [] if listed is None else [uuid for uuid in self.now if uuid not in listed]

    def endings(self) -> list[str | None]:
        """Return the opportunities with a permanent error."""
        return [uuid for _, error, uuid in self.errors if not error.transient and uuid]


def clock() -> float:
    return asyncio.get_running_loop().time()


def account_of(count: int, **settings: Any) -> VirtualAccount:
    account = VirtualAccount(pipeline_of(count))
    account.settings = dataclasses.replace(account.settings, **settings)
    return account


def polled(
    account: VirtualAccount, recorder: Recorder, interval: float = 60, conn_id: str = "chartmogul_default"
) -> Subscription:
    if asyncio.get_running_loop() not in engine._engines:
        account.poll()
    return engine.subscribe(recorder, chartmogul_conn_id=conn_id, interval=interval)


def virtual(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        run_in_virtual_time(test())

    run.__name__ = test.__name__
    return run
