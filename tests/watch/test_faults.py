"""What goes wrong for a while is waited out; what cannot mend itself ends the waits it concerns."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_chartmogul import paced_connection, watch
from airflow_provider_chartmogul.exceptions import ChartMogulAuthenticationError, ChartMogulError
from airflow_provider_chartmogul.forecast_memory import ForecastMemory
from airflow_provider_chartmogul.hooks import retries
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.overview import Overview
from airflow_provider_chartmogul.paced_connection import PacedConnection
from airflow_provider_chartmogul.sandbox import Fault
from airflow_provider_chartmogul.watch import Waiter
from tests.waits import INTERVAL, eventually, looks, make_open, payload_of, run, trigger_for, uuids_of, waiting
from tests.watch.conftest import UNLIMITED

if TYPE_CHECKING:
    from tests.watch.conftest import OpenSandbox

TRANSIENT = {
    "429": Fault(kind="status", status=429, times=None),
    "500": Fault(kind="status", status=500, times=None),
    "503": Fault(kind="status", status=503, times=None),
    "520": Fault(kind="status", status=520, message="", times=None),
    "no answer in time": Fault(kind="hang", times=None),
    "connection reset": Fault(kind="reset", times=None),
    "half an answer": Fault(kind="truncate", times=None),
    "a web page": Fault(kind="html", times=None),
    "an error page": Fault(kind="html", status=502, times=None),
    "a redirect": Fault(kind="redirect", times=None),
    "no JSON": Fault(kind="body", body="{", times=None),
    "other JSON": Fault(kind="body", body="[1]", times=None),
}


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits after failures, which are seconds."""
    monkeypatch.setattr(retries, "_FIRST_BACKOFF", 0.01)
    monkeypatch.setattr(watch, "_LONGEST_BACKOFF", 0.1)


def _wait_for(uuid: str, interval: float = INTERVAL) -> Waiter:
    return Waiter(uuid, chartmogul_conn_id="chartmogul_default", interval=interval)


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("waits", [1, 20], ids=["looked at singly", "swept for"])
@pytest.mark.parametrize("fault", TRANSIENT.values(), ids=TRANSIENT)
def test_a_transient_fault_is_told_once_and_the_wait_goes_on(
    open_sandbox: OpenSandbox, fault: Fault, waits: int
) -> None:
    sandbox = open_sandbox({**UNLIMITED, "timeout": 0.3}, opportunities=20)
    uuids = make_open(sandbox)[:waits]

    async def test() -> None:
        with _wait_for(uuids[0]) as waiter:
            async with waiting(trigger_for(uuid) for uuid in uuids) as tasks:
                assert isinstance(await waiter.news(), dict)
                sandbox.fail(fault)
                error = await waiter.news()
                assert isinstance(error, ChartMogulError)
                assert error.transient
                made = len(sandbox.requests)
                await eventually(lambda: len(sandbox.requests) >= made + 8)
                sandbox.set_opportunity(uuids[0], forecast_category="won")
                sandbox.clear_faults()
                assert await waiter.news() == sandbox.opportunity(uuids[0])
                await eventually(tasks[0].done)
                assert tasks[0].result().payload["opportunity"]["forecast_category"] == "won"
                assert not any(task.done() for task in tasks[1:])

    run(test())


def test_one_opportunity_that_cannot_be_had_does_not_hold_up_the_others(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox()
    poisoned, *healthy = uuids_of(sandbox, 3)
    sandbox.fail(Fault(kind="status", status=500, path=poisoned, times=None))

    async def test() -> None:
        async with waiting(trigger_for(uuid) for uuid in [poisoned, *healthy]) as tasks:
            await eventually(lambda: looks(sandbox).count(poisoned) >= 5)
            for uuid in healthy:
                sandbox.set_opportunity(uuid, forecast_category="won")
            await eventually(lambda: all(task.done() for task in tasks[1:]))
            assert not tasks[0].done()
            sandbox.set_opportunity(poisoned, forecast_category="won")
            sandbox.clear_faults()
            await eventually(tasks[0].done)

    run(test())


@pytest.mark.parametrize("waits", [1, 20], ids=["looked at singly", "swept for"])
def test_an_outage_is_met_with_few_requests(open_sandbox: OpenSandbox, waits: int) -> None:
    sandbox = open_sandbox(opportunities=20)
    uuids = make_open(sandbox)[:waits]
    sandbox.fail(Fault(kind="status", times=None))

    async def test() -> None:
        async with waiting(trigger_for(uuid, poll_interval=0.1) for uuid in uuids):
            await asyncio.sleep(8)
        assert 2 <= len(sandbox.requests) <= 14

    run(test())


def test_a_refused_page_of_the_list_ends_no_wait(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox(opportunities=300)
    uuids = make_open(sandbox)
    sandbox.fail(Fault(kind="status", status=400, path="/v1/opportunities", times=2))

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
    sandbox.fail(Fault(kind="hang", path=f"/v1/opportunities/{hanging}", times=None))

    async def test() -> None:
        async with waiting([trigger_for(hanging), trigger_for(other)]):
            await eventually(lambda: looks(sandbox).count(hanging) >= 4)
        assert looks(sandbox).count(other) >= 3

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


def test_a_newcomer_after_a_permanent_error_is_served_once_it_is_mended(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox()
    (uuid,) = uuids_of(sandbox, 1)
    rightful = sandbox.api_key
    sandbox.rotate_api_key("nobody-told-airflow")

    async def test() -> None:
        with Overview(
            ForecastMemory(None, {}),
            opportunity_uuids=None,
            chartmogul_conn_id="chartmogul_default",
            interval=INTERVAL,
        ) as overview:
            with pytest.raises(ChartMogulAuthenticationError):
                await overview.changes()
            sandbox.rotate_api_key(rightful)
            sandbox.set_opportunity(uuid, forecast_category="won")
            async with waiting([trigger_for(uuid)]) as (task,):
                await eventually(task.done)

    run(test())


def test_the_loop_begins_anew_after_what_no_handler_of_exceptions_sees(
    open_sandbox: OpenSandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class UnheardOfError(BaseException):
        pass

    sandbox = open_sandbox()
    (uuid,) = uuids_of(sandbox, 1)
    call = PacedConnection.call

    async def end(*_: Any, **__: Any) -> None:
        monkeypatch.setattr(PacedConnection, "call", call)
        raise UnheardOfError

    async def test() -> None:
        monkeypatch.setattr(PacedConnection, "call", end)
        async with waiting([trigger_for(uuid)]) as (task,):
            await eventually(lambda: sandbox.requests)
            sandbox.set_opportunity(uuid, forecast_category="won")
            await eventually(task.done)

    run(test())
    assert "The polling loop ended, and begins anew." in caplog.messages


def test_a_wait_outlasts_any_number_of_failures(open_sandbox: OpenSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_SHORTEST_INTERVAL", 0.001)
    monkeypatch.setattr(watch, "_LONGEST_BACKOFF", 0.001)
    monkeypatch.setattr(paced_connection, "_MAX_RETRIES", 0)
    sandbox = open_sandbox(opportunities=1)
    (uuid,) = uuids_of(sandbox, 1)
    sandbox.fail(Fault(kind="status", times=None))

    async def test() -> None:
        async with waiting([trigger_for(uuid, poll_interval=0)]) as (task,):
            # A few more than a float can be doubled.
            await eventually(lambda: len(sandbox.requests) >= 1100)
            sandbox.set_opportunity(uuid, forecast_category="won")
            sandbox.clear_faults()
            await eventually(task.done)

    run(test())


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
            await eventually(lambda: len(looks(sandbox)) >= 20)
            sandbox.fail(Fault(kind="status", status=429, retry_after=2))
            await eventually(lambda: any(request.status == 429 for request in sandbox.requests))
            refused = next(request for request in sandbox.requests if request.status == 429)
            await eventually(lambda: len(later_than(refused.at + 2)) >= 8)
            # Without what was under way until the loop heard of the answer.
            assert len(later_than(refused.at + 1)) == len(later_than(refused.at + 2))

    run(test())


@pytest.mark.parametrize("waits", [1, 20], ids=["looked at singly", "swept for"])
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


@pytest.mark.parametrize("waits", [1, 5, 20], ids=["one looked at singly", "five looked at singly", "swept for"])
def test_a_rejected_key_ends_all_waits_of_the_connection_at_once(open_sandbox: OpenSandbox, waits: int) -> None:
    sandbox = open_sandbox(opportunities=20)
    uuids = make_open(sandbox)[:waits]

    async def test() -> None:
        async with waiting(trigger_for(uuid) for uuid in uuids) as tasks:
            await eventually(lambda: set(uuids) <= set(looks(sandbox)) or "first page" in looks(sandbox))
            sandbox.rotate_api_key("nobody-told-airflow")
            sandbox.clear_requests()
            await eventually(lambda: all(task.done() for task in tasks))
            for task in tasks:
                assert "HTTP 401: No valid API key provided. Check the API key" in task.result().payload["error"]
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
            assert len(sandbox.requests) == 1

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
            assert looks(sandbox).count(unknown) == 1

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
        error = (await payload_of(trigger_for("00000000-0000-0000-0000-000000000000")))["error"]
        assert message in error

    run(test())


def _forget_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    monkeypatch.delenv("AIRFLOW_CONN_CHARTMOGUL_DEFAULT", raising=False)

    # Below Airflow 3 there is a database to ask, which the tests of waits do without.
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
        with _wait_for(uuid) as waiter:
            error = await waiter.news()
            assert isinstance(error, ChartMogulError)
            assert error.transient
            assert "the secrets backend is away" in str(error)
            assert await waiter.news() == sandbox.opportunity(uuid)

    run(test())


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


_whose_log = contextvars.ContextVar("whose_log", default="the triggerer's")


class _Sorted(logging.Handler):
    """Sort log lines as Airflow's triggerer does, by a context variable of the task they are written in."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: dict[str, list[str]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.setdefault(_whose_log.get(), []).append(record.getMessage())


@pytest.mark.usefixtures("quick_retries")
def test_the_loop_writes_to_the_triggerers_log_and_a_waiter_writes_what_changes_to_its_own(
    open_sandbox: OpenSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = open_sandbox()
    first, second = uuids_of(sandbox, 2)
    for uuid in (first, second):
        sandbox.set_opportunity(uuid, forecast_category="pipeline")
    handler = _Sorted()
    package_log = logging.getLogger("airflow_provider_chartmogul")
    monkeypatch.setattr(package_log, "handlers", [handler])
    monkeypatch.setattr(package_log, "level", logging.INFO)

    async def wait(name: str, uuid: str) -> None:
        _whose_log.set(name)
        trigger = trigger_for(uuid)
        # What a trigger of Airflow 3.1 and later writes goes to structlog, and what that does with it is the test's.
        monkeypatch.setattr(trigger, "_log", package_log.getChild("trigger"))
        await payload_of(trigger)

    async def test() -> None:
        waits = [asyncio.create_task(wait("first's", first)), asyncio.create_task(wait("second's", second))]
        await eventually(lambda: len(sandbox.requests) >= 6)
        sandbox.fail(Fault(kind="status", times=None))
        made = len(sandbox.requests)
        await eventually(lambda: len(sandbox.requests) >= made + 20)
        sandbox.clear_faults()
        made = len(sandbox.requests)
        await eventually(lambda: len(sandbox.requests) >= made + 4)
        sandbox.set_opportunity(first, forecast_category="committed")
        await eventually(lambda: any("committed" in line for line in handler.lines["first's"]))
        for uuid in (first, second):
            sandbox.set_opportunity(uuid, forecast_category="won")
        await asyncio.gather(*waits)

    begin = time.monotonic()
    run(test())
    pipeline = "forecast category pipeline, waiting for won."
    fault = "HTTP 503"
    expected = {
        "first's": (first, [pipeline, fault, pipeline, "committed"]),
        "second's": (second, [pipeline, fault, pipeline]),
    }
    for name, (uuid, parts) in expected.items():
        lines = handler.lines[name]
        assert len(lines) == len(parts), lines
        assert all(part in line for part, line in zip(parts, lines, strict=True)), lines
        assert not any(other in line for line in lines for other in {first, second} - {uuid} if "503" not in line)
    assert any("503" in line for line in handler.lines["the triggerer's"])
    assert len(handler.lines["the triggerer's"]) < 100 * (time.monotonic() - begin)
