"""Waits survive transient errors; a permanent error ends those that it concerns."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_chartmogul._polling.change_detector import ChangeDetector
from airflow_provider_chartmogul._polling.engine import subscribe
from airflow_provider_chartmogul._polling.rate_limited_client import RateLimitedClient
from airflow_provider_chartmogul._polling.snapshot_store import SnapshotStore
from airflow_provider_chartmogul.exceptions import ChartMogulError
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.sandbox import Fault
from tests.opportunity.stand_ins import watch_condition
from tests.polling.conftest import UNLIMITED
from tests.polling.listeners import listening
from tests.support.waits import INTERVAL, eventually, make_open, polls_of, run, trigger_for, uuids_of, waiting

if TYPE_CHECKING:
    from tests.polling.conftest import OpenSandbox

TRANSIENT = {
    "429": Fault(kind="status", status=429, times=None),
    "500": Fault(kind="status", status=500, times=None),
    "503": Fault(kind="status", status=503, times=None),
    "520": Fault(kind="status", status=520, message="", times=None),
    "no response in time": Fault(kind="hang", times=None),
    "connection reset": Fault(kind="reset", times=None),
    "half a response": Fault(kind="truncate", times=None),
    "a web page": Fault(kind="html", times=None),
    "an error page": Fault(kind="html", status=502, times=None),
    "a redirect": Fault(kind="redirect", times=None),
    "no JSON": Fault(kind="body", body="{", times=None),
    "other JSON": Fault(kind="body", body="[1]", times=None),
}


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize(
    ("fault", "waits"),
    # Polled individually; 20 waits are polled in the list, here with one fault for each class of error.
    [*((fault, 1) for fault in TRANSIENT), *((fault, 20) for fault in ("429", "503", "connection reset", "no JSON"))],
)
def test_a_transient_fault_is_logged_once_and_the_wait_continues(
    open_sandbox: OpenSandbox, fault: str, waits: int
) -> None:
    sandbox = open_sandbox({**UNLIMITED, "timeout": 0.3, "max_retries": 1}, opportunities=20)
    uuids = make_open(sandbox)[:waits]
    interval = 0.1

    async def test() -> None:
        with listening(uuids[0], interval) as waiter:
            async with waiting(trigger_for(uuid, poll_interval=interval) for uuid in uuids) as tasks:
                assert isinstance(await waiter.next_result(), dict)
                sandbox.inject_fault(TRANSIENT[fault])
                error = await waiter.next_result()
                assert isinstance(error, ChartMogulError)
                assert error.transient
                made = len(sandbox.requests)
                await eventually(lambda: len(sandbox.requests) >= made + 3)
                sandbox.set_opportunity(uuids[0], forecast_category="won")
                sandbox.clear_faults()
                assert await waiter.next_result() == sandbox.opportunity(uuids[0])
                await eventually(tasks[0].done)
                assert tasks[0].result().payload["opportunity"]["forecast_category"] == "won"
                assert not any(task.done() for task in tasks[1:])

    run(test())


def test_one_opportunity_that_cannot_be_had_does_not_hold_up_the_others(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox()
    poisoned, *healthy = uuids_of(sandbox, 3)
    sandbox.inject_fault(Fault(kind="status", status=500, path=poisoned, times=None))

    async def test() -> None:
        async with waiting(trigger_for(uuid) for uuid in [poisoned, *healthy]) as tasks:
            await eventually(lambda: polls_of(sandbox).count(poisoned) >= 5)
            for uuid in healthy:
                sandbox.set_opportunity(uuid, forecast_category="won")
            await eventually(lambda: all(task.done() for task in tasks[1:]))
            assert not tasks[0].done()
            sandbox.set_opportunity(poisoned, forecast_category="won")
            sandbox.clear_faults()
            await eventually(tasks[0].done)

    run(test())


def test_a_refused_page_of_the_list_ends_no_wait(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox(opportunities=300)
    uuids = make_open(sandbox)
    sandbox.inject_fault(Fault(kind="status", status=400, path="/v1/opportunities", times=2))

    async def test() -> None:
        async with waiting(trigger_for(uuid) for uuid in uuids) as tasks:
            await eventually(lambda: [request.status for request in sandbox.requests].count(400) == 2)
            sandbox.set_opportunity(uuids[0], forecast_category="won")
            await eventually(tasks[0].done)
            assert tasks[0].result().payload["opportunity"]["forecast_category"] == "won"
            assert not any(task.done() for task in tasks[1:])

    run(test())


def test_an_opportunity_that_hangs_is_asked_for_no_more_often_than_the_others(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox({**UNLIMITED, "timeout": 0.5})
    hanging, other = uuids_of(sandbox, 2)
    sandbox.inject_fault(Fault(kind="hang", path=f"/v1/opportunities/{hanging}", times=None))

    async def test() -> None:
        async with waiting([trigger_for(hanging), trigger_for(other)]):
            await eventually(lambda: polls_of(sandbox).count(hanging) >= 4)
        assert polls_of(sandbox).count(other) >= 3

    run(test())


def test_an_unexpected_error_at_an_opportunity_ends_only_the_waits_for_it(
    open_sandbox: OpenSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = open_sandbox()
    cursed, other = uuids_of(sandbox, 2)
    retrieve = ChartMogulHook.retrieve_opportunity

    def fail_for_one(hook: ChartMogulHook, uuid: str) -> dict[str, Any]:
        if uuid == cursed:
            raise LookupError("a defect")
        return retrieve(hook, uuid)

    monkeypatch.setattr(ChartMogulHook, "retrieve_opportunity", fail_for_one)

    async def test() -> None:
        patient = trigger_for(cursed, silent_fail=True)
        async with waiting([trigger_for(cursed), trigger_for(other), patient]) as (ends, goes_on, silent):
            await eventually(ends.done)
            with pytest.raises(LookupError, match="a defect"):
                ends.result()
            monkeypatch.undo()
            for uuid in (cursed, other):
                sandbox.set_opportunity(uuid, forecast_category="won")
            await eventually(lambda: goes_on.done() and silent.done())

    connection = json.dumps({**sandbox.connection, "extra": UNLIMITED})
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AIRFLOW_CONN_CHARTMOGUL_DEFAULT", connection)
        run(test())


def test_a_later_wait_is_served_once_a_permanent_error_is_mended(
    open_sandbox: OpenSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox = open_sandbox()
    (uuid,) = uuids_of(sandbox, 1)
    rightful = sandbox.api_key
    sandbox.rotate_api_key("nobody-told-airflow")

    async def test() -> None:
        condition = watch_condition("changed")
        detector = ChangeDetector(
            SnapshotStore([], "", {}), condition, name="first", chartmogul_conn_id="chartmogul_default"
        )
        with subscribe(detector, chartmogul_conn_id="chartmogul_default", interval=INTERVAL):
            await eventually(lambda: "watchers: first" in caplog.text)
            sandbox.rotate_api_key(rightful)
            sandbox.set_opportunity(uuid, forecast_category="won")
            async with waiting([trigger_for(uuid)]) as (task,):
                await eventually(task.done)

    run(test())


def test_the_engine_goes_on_after_an_error_that_no_handler_of_exceptions_sees(
    open_sandbox: OpenSandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class UnheardOfError(BaseException):
        pass

    sandbox = open_sandbox()
    (uuid,) = uuids_of(sandbox, 1)
    call = RateLimitedClient.call

    async def end(*_: Any, **__: Any) -> None:
        monkeypatch.setattr(RateLimitedClient, "call", call)
        raise UnheardOfError

    async def test() -> None:
        monkeypatch.setattr(RateLimitedClient, "call", end)
        async with waiting([trigger_for(uuid)]) as (task,):
            await eventually(lambda: sandbox.requests)
            sandbox.set_opportunity(uuid, forecast_category="won")
            await eventually(task.done)

    run(test())
    assert "Unexpected error in the polling engine; it goes on." in caplog.messages


def test_a_pause_that_the_server_asks_for_is_kept_by_all_waits_of_the_connection(
    open_sandbox: OpenSandbox,
) -> None:
    sandbox = open_sandbox({**UNLIMITED, "max_concurrent_requests": 2}, opportunities=10_000)
    uuids = uuids_of(sandbox, 8, oldest=True)

    def later_than(moment: float) -> list[Any]:
        return [request for request in sandbox.requests if request.at > moment]

    async def test() -> None:
        many = [trigger_for(uuid, poll_interval=0.1) for uuid in uuids]
        at_another_interval = trigger_for(uuids[0], poll_interval=0.3)
        async with waiting([*many, at_another_interval]):
            await eventually(lambda: len(polls_of(sandbox)) >= 20)
            sandbox.inject_fault(Fault(kind="status", status=429, retry_after=2))
            await eventually(lambda: any(request.status == 429 for request in sandbox.requests))
            refused = next(request for request in sandbox.requests if request.status == 429)
            await eventually(lambda: len(later_than(refused.at + 2)) >= 8)
            # Without the requests in flight until the engine processed the response.
            assert len(later_than(refused.at + 1)) == len(later_than(refused.at + 2))

    run(test())
