"""An outage is one log line when it begins and one when it ends, whoever polls."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_chartmogul._polling import engine
from airflow_provider_chartmogul._polling.change_detector import ChangeDetector
from airflow_provider_chartmogul._polling.snapshot_store import SnapshotStore
from airflow_provider_chartmogul._polling.waiter import Waiter
from tests.hooks.stand_ins import error_of
from tests.opportunity.stand_ins import watch_condition
from tests.polling.virtual_account import VirtualAccount, pipeline_of, uuid_of
from tests.support.virtual_time import run_in_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_chartmogul._polling.subscriber import Subscriber

CONN_ID = "chartmogul_default"


def watcher_of(name: str, uuids: list[str] | None) -> ChangeDetector:
    condition = watch_condition("changed", "forecast_category")
    store = SnapshotStore([], "key", {"columns": ["forecast_category"]})
    return ChangeDetector(store, condition, name=name, chartmogul_conn_id=CONN_ID, opportunity_uuids=uuids)


@dataclasses.dataclass
class Users:
    """The number of waits, and the opportunities of each watcher; None: all."""

    label: str
    waits: int
    watched: list[list[str] | None]


USERS = {
    "a watcher of all": Users("watchers: w0", 0, [None]),
    "a watcher of one": Users("watchers: w0", 0, [[uuid_of(1)]]),
    "two watchers and two waits": Users("watchers: w0, w1; waits: 2", 2, [None, [uuid_of(1), uuid_of(2)]]),
    "a wait": Users("waits: 1", 1, []),
}


@contextlib.asynccontextmanager
async def polled(account: VirtualAccount, users: Users, interval: float) -> AsyncIterator[None]:
    account.poll()
    subscribers: list[Subscriber] = [watcher_of(f"w{number}", uuids) for number, uuids in enumerate(users.watched)]
    subscribers += [Waiter([uuid_of(number)], lambda opportunity: opportunity) for number in range(users.waits)]
    with contextlib.ExitStack() as stack:
        for subscriber in subscribers:
            stack.enter_context(engine.subscribe(subscriber, chartmogul_conn_id=CONN_ID, interval=interval))
        yield


@pytest.mark.parametrize("interval", [10, 60])
@pytest.mark.parametrize("max_retries", [0, 5])
@pytest.mark.parametrize("status", [401, 403, 500, 503])
@pytest.mark.parametrize("users", USERS.values(), ids=USERS)
def test_an_outage_is_one_line_when_it_begins_and_one_when_it_ends(
    users: Users, status: int, max_retries: int, interval: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "airflow_provider_chartmogul")

    async def test() -> None:
        account = VirtualAccount(pipeline_of(300))
        account.settings = dataclasses.replace(account.settings, max_retries=max_retries)

        def fault(endpoint: str, _query: dict[str, Any]) -> None:
            raise error_of(endpoint, status)

        async with polled(account, users, interval):
            await asyncio.sleep(300)
            account.fault = fault
            await asyncio.sleep(1_800)
            account.fault = lambda _endpoint, _query: None
            await asyncio.sleep(600)

    run_in_virtual_time(test())
    begin, end = [record.getMessage() for record in caplog.records]
    assert begin.startswith(f"Connection {CONN_ID} ({users.label}): all requests fail; ")
    assert str(status) in begin
    assert begin.count(CONN_ID) == 1
    assert re.fullmatch(rf"Connection {CONN_ID} \({users.label}\) works again after 1[78]\d\d s\.", end)


def test_a_connection_that_cannot_be_loaded_is_one_line_and_one_when_it_is_loaded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "airflow_provider_chartmogul")

    async def test() -> None:
        account = VirtualAccount(pipeline_of(300))
        account.connections[CONN_ID] = AirflowNotFoundException("The conn_id isn't defined")
        async with polled(account, Users("", 0, [None, [uuid_of(1)]]), 60):
            await asyncio.sleep(300)
            del account.connections[CONN_ID]
            await asyncio.sleep(300)

    run_in_virtual_time(test())
    begin, end = [record.getMessage() for record in caplog.records]
    assert begin.startswith(f"Connection {CONN_ID} (watchers: w0, w1): ")
    assert "The conn_id isn't defined" in begin
    assert re.fullmatch(rf"Connection {CONN_ID} \(watchers: w0, w1\) works again after 3\d\d s\.", end)


def test_one_opportunity_that_fails_is_a_line_of_its_watcher(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "airflow_provider_chartmogul")

    async def test() -> None:
        account = VirtualAccount(pipeline_of(300))

        def fault(endpoint: str, _query: dict[str, Any]) -> None:
            if uuid_of(1) in endpoint:
                raise error_of(endpoint, 504)

        async with polled(account, Users("", 0, [[uuid_of(number) for number in range(4)]]), 1):
            await asyncio.sleep(300)
            account.fault = fault
            await asyncio.sleep(600)
            account.fault = lambda _endpoint, _query: None
            await asyncio.sleep(300)

    run_in_virtual_time(test())
    begin, end = [record.getMessage() for record in caplog.records]
    assert begin.startswith(f"Watcher w0 on connection {CONN_ID}: GET /v1/opportunities/{uuid_of(1)}: ")
    assert begin.count(CONN_ID) == 1
    assert re.fullmatch(rf"Watcher w0 on connection {CONN_ID} works again after \d+ s\.", end)
