"""The log of each error and recovery."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from typing import TYPE_CHECKING

import pytest

from airflow_provider_chartmogul.sandbox import Fault
from tests.support.waits import eventually, payload_of, run, trigger_for, uuids_of

if TYPE_CHECKING:
    from tests.polling.conftest import OpenSandbox


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
        # Triggers of Airflow 3.1 and later log through structlog, which the tests configure in another way.
        monkeypatch.setattr(trigger, "_log", package_log.getChild("trigger"))
        await payload_of(trigger)

    async def test() -> None:
        waits = [asyncio.create_task(wait("first's", first)), asyncio.create_task(wait("second's", second))]
        await eventually(lambda: len(sandbox.requests) >= 6)
        sandbox.inject_fault(Fault(kind="status", times=None))
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
