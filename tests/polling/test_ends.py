"""A permanent error ends the waits that it concerns, and no others."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_chartmogul.exceptions import ChartMogulError, ChartMogulUnreachableError
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from tests.polling.listeners import listening
from tests.support.waits import (
    INTERVAL,
    eventually,
    make_open,
    payload_of,
    polls_of,
    run,
    trigger_for,
    uuids_of,
    waiting,
)

if TYPE_CHECKING:
    from tests.polling.conftest import OpenSandbox


@pytest.mark.parametrize("waits", [1, 20], ids=["polled individually", "in the list"])
def test_a_rotated_key_is_picked_up(open_sandbox: OpenSandbox, monkeypatch: pytest.MonkeyPatch, waits: int) -> None:
    sandbox = open_sandbox(opportunities=20)
    uuids = make_open(sandbox)[:waits]

    async def test() -> None:
        async with waiting(trigger_for(uuid) for uuid in uuids) as tasks:
            await eventually(lambda: len(sandbox.requests) >= 2)
            monkeypatch.setenv(
                "AIRFLOW_CONN_CHARTMOGUL_DEFAULT", json.dumps({**sandbox.connection, "password": "new-key"})
            )
            sandbox.rotate_api_key("new-key")
            sandbox.set_opportunity(uuids[0], forecast_category="won")
            await eventually(tasks[0].done)
            assert tasks[0].result().payload["opportunity"]["forecast_category"] == "won"
            assert not any(task.done() for task in tasks[1:])

    run(test())


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("waits", [1, 20], ids=["polled individually", "in the list"])
def test_a_corrected_host_is_picked_up(open_sandbox: OpenSandbox, monkeypatch: pytest.MonkeyPatch, waits: int) -> None:
    sandbox = open_sandbox(opportunities=20)
    uuids = make_open(sandbox)[:waits]
    connection = "AIRFLOW_CONN_CHARTMOGUL_DEFAULT"
    corrected = os.environ[connection]
    monkeypatch.setenv(connection, json.dumps({**sandbox.connection, "host": "http://127.0.0.1:1"}))

    async def test() -> None:
        with listening(uuids[0], INTERVAL) as waiter:
            async with waiting(trigger_for(uuid) for uuid in uuids[1:]) as tasks:
                error = await waiter.next_result()
                assert isinstance(error, ChartMogulUnreachableError)
                monkeypatch.setenv(connection, corrected)
                assert await waiter.next_result() == sandbox.opportunity(uuids[0])
                assert not any(task.done() for task in tasks)

    run(test())


@pytest.mark.parametrize("waits", [1, 5, 20], ids=["one individually", "five individually", "in the list"])
def test_a_rejected_key_ends_all_waits_of_the_connection_at_once(open_sandbox: OpenSandbox, waits: int) -> None:
    sandbox = open_sandbox(opportunities=20)
    uuids = make_open(sandbox)[:waits]

    async def test() -> None:
        async with waiting(trigger_for(uuid) for uuid in uuids) as tasks:
            await eventually(lambda: set(uuids) <= set(polls_of(sandbox)) or "first page" in polls_of(sandbox))
            sandbox.rotate_api_key("nobody-told-airflow")
            sandbox.clear_requests()
            await eventually(lambda: all(task.done() for task in tasks))
            for task in tasks:
                assert (
                    "HTTP 401: No valid API key provided (connection: chartmogul_default). Check the API key"
                    in task.result().payload["error"]
                )
            assert len(sandbox.requests) <= 2 * min(waits, 10)

    run(test())


def test_a_key_without_a_crm_seat_ends_all_waits_of_the_connection_at_once(
    open_sandbox: OpenSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = open_sandbox(opportunities=20)
    connection = {**sandbox.connection, "password": sandbox.seatless_api_key}
    monkeypatch.setenv("AIRFLOW_CONN_CHARTMOGUL_DEFAULT", json.dumps(connection))

    async def test() -> None:
        async with waiting(trigger_for(uuid) for uuid in make_open(sandbox)) as tasks:
            await eventually(lambda: all(task.done() for task in tasks))
            assert all("made by a user with a CRM seat" in task.result().payload["error"] for task in tasks)
            assert len(sandbox.requests) <= 20

    run(test())


def test_an_opportunity_that_does_not_exist_ends_only_its_own_wait(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox()
    unknown = "00000000-0000-0000-0000-000000000000"

    async def test() -> None:
        async with waiting(trigger_for(uuid) for uuid in [unknown, *uuids_of(sandbox, 2)]) as tasks:
            await eventually(tasks[0].done)
            assert f'Opportunity "{unknown}" does not exist' in tasks[0].result().payload["error"]
            made = len(sandbox.requests)
            await eventually(lambda: len(sandbox.requests) >= made + 4)
            assert not any(task.done() for task in tasks[1:])
            assert polls_of(sandbox).count(unknown) == 2

    run(test())


@pytest.mark.parametrize(
    ("connection", "message"),
    [
        (None, "chartmogul_default"),
        ({"conn_type": "chartmogul"}, "password: missing"),
        ({"conn_type": "chartmogul", "password": "key", "host": "http://example.com"}, "must be https"),
    ],
)
def test_a_connection_that_is_missing_or_wrong_ends_the_waits(
    monkeypatch: pytest.MonkeyPatch, connection: dict[str, str] | None, message: str
) -> None:
    if connection is None:
        _forget_connection(monkeypatch)
    else:
        monkeypatch.setenv("AIRFLOW_CONN_CHARTMOGUL_DEFAULT", json.dumps(connection))

    async def test() -> None:
        # Begun by the trigger: on a worker, a wait finds a missing connection itself.
        trigger = trigger_for("00000000-0000-0000-0000-000000000000", starts_wait=True, baseline_category="lost")
        error = (await payload_of(trigger))["error"]
        assert message in error

    run(test())


def _forget_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    monkeypatch.delenv("AIRFLOW_CONN_CHARTMOGUL_DEFAULT", raising=False)

    # Airflow 2 would query its database, which the tests of waits do not have.
    def get_connection(conn_id: str) -> None:
        raise AirflowNotFoundException(f"The conn_id `{conn_id}` isn't defined")

    monkeypatch.setattr(BaseHook, "get_connection", staticmethod(get_connection))


@pytest.mark.usefixtures("quick_retries")
def test_a_connection_that_airflow_cannot_look_up_for_a_while_is_waited_for(
    open_sandbox: OpenSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = open_sandbox()
    (uuid,) = uuids_of(sandbox, 1)
    look_up = BaseHook.get_connection
    failures = iter([OSError("the secrets backend is away")] * 10)

    def get_connection(conn_id: str) -> Any:
        if failure := next(failures, None):
            raise failure
        return look_up(conn_id)

    monkeypatch.setattr(BaseHook, "get_connection", staticmethod(get_connection))

    async def test() -> None:
        with listening(uuid, INTERVAL) as waiter:
            error = await waiter.next_result()
            assert isinstance(error, ChartMogulError)
            assert error.transient
            assert "the secrets backend is away" in str(error)
            assert await waiter.next_result() == sandbox.opportunity(uuid)

    run(test())


def test_a_secrets_backend_that_hangs_holds_only_a_thread_that_the_process_need_not_join(
    open_sandbox: OpenSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    (uuid,) = uuids_of(open_sandbox(), 1)
    look_up = BaseHook.get_connection
    threads: list[threading.Thread] = []

    def get_connection(conn_id: str) -> Any:
        threads.append(threading.current_thread())
        return look_up(conn_id)

    monkeypatch.setattr(BaseHook, "get_connection", staticmethod(get_connection))

    async def test() -> None:
        with listening(uuid) as waiter:
            assert isinstance(await waiter.next_result(), dict)

    run(test())
    assert threads
    assert all(thread.daemon for thread in threads)


def test_an_unexpected_error_reaches_everybody_who_waits(
    open_sandbox: OpenSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = open_sandbox()

    def break_down(*_: object) -> None:
        raise LookupError("a defect")

    monkeypatch.setattr(ChartMogulHook, "retrieve_opportunity", break_down)

    async def test() -> None:
        async with waiting(trigger_for(uuid) for uuid in uuids_of(sandbox, 3)) as tasks:
            await eventually(lambda: all(task.done() for task in tasks))
            assert [repr(task.exception()) for task in tasks] == ["LookupError('a defect')"] * 3

    run(test())
