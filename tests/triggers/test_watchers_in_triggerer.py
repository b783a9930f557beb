"""Event triggers, run by Airflow's own TriggerRunner, with its asset state store."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID
from airflow_provider_chartmogul.triggers.opportunity import OpportunityForecastCategoryEventTrigger
from tests.support.airflow_versions import HAS_TASK_STATE_STORE
from tests.support.triggerers import hurry_runner
from tests.support.waits import eventually, make_open

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_chartmogul.sandbox import Sandbox

pytestmark = pytest.mark.skipif(not HAS_TASK_STATE_STORE, reason="Airflow has asset state stores from 3.3 on")

SECONDS_PER_READ = 0.033
"""The seconds of sequential reads of Airflow's state store."""


class Airflow:
    """A triggerer whose supervisor holds asset state in memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
        from tests.support import triggerers_airflow3

        stored: dict[tuple[str, str], Any] = {}

        class Supervisor(triggerers_airflow3._Supervisor):
            def _respond(self, message: Any) -> Any:
                from airflow.sdk.exceptions import ErrorType
                from airflow.sdk.execution_time import comms

                if isinstance(message, comms.GetAssetStateStoreByName):
                    time.sleep(SECONDS_PER_READ)
                    if (message.name, message.key) in stored:
                        value = stored[message.name, message.key]
                        return comms.AssetStateStoreResult(value=value, type="AssetStateStoreResult")
                    not_found = ErrorType.ASSET_STORE_NOT_FOUND
                    return comms.ErrorResponse(error=not_found, detail={}, type="ErrorResponse")
                if isinstance(message, comms.SetAssetStateStoreByName):
                    stored[message.name, message.key] = message.value
                return super()._respond(message)

        monkeypatch.setattr(triggerers_airflow3, "_Supervisor", Supervisor)
        hurry_runner(monkeypatch)
        self.stored = stored
        self._monkeypatch = monkeypatch
        self._sandbox = sandbox

    def watch(self, *triggers: OpportunityForecastCategoryEventTrigger, until: Callable[[Any], Any]) -> Any:
        """Run watchers of the asset ``won`` until a condition of the triggerer's report holds; return the report."""
        from airflow.executors.workloads import RunTrigger  # type: ignore[attr-defined]  # not said to be exported
        from airflow.jobs import triggerer_job_runner
        from airflow.models.trigger import Trigger

        from tests.support.triggerers_airflow3 import Airflow3Triggerer

        class Triggerer(Airflow3Triggerer):
            def _workload(self, number: int, classpath: str, kwargs: dict[str, Any]) -> Any:
                return RunTrigger(
                    id=number,
                    ti=None,
                    classpath=classpath,
                    encrypted_kwargs=Trigger.encrypt_kwargs(kwargs),
                    watched_assets={"won": "won"},
                )

            async def _until_all_have_reported(self, report: Any, count: int) -> None:
                runner = triggerer_job_runner.TriggerRunner()
                running = asyncio.create_task(runner.arun())
                await eventually(lambda: running.done() or until(report))
                runner.to_cancel.extend(range(1, count + 1))
                await eventually(lambda: running.done() or not runner.triggers)
                runner.stop = True
                await running
                runner.comms_decoder._async_writer.close()

        report = Triggerer(self._monkeypatch).run(
            *triggers, connections={"chartmogul_default": self._sandbox.connection}
        )
        assert report.failures == {}
        return report


def watcher(name: str, **kwargs: Any) -> OpportunityForecastCategoryEventTrigger:
    return OpportunityForecastCategoryEventTrigger(name=name, poll_interval=0.5, **kwargs)


def test_a_change_made_while_no_triggerer_ran_is_found_by_the_next(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, capfd: pytest.CaptureFixture[str]
) -> None:
    make_open(sandbox)
    airflow = Airflow(monkeypatch, sandbox)
    airflow.watch(watcher("won", target_categories="won"), until=lambda _: airflow.stored)
    sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won", owner="grace@example.com")
    report = airflow.watch(watcher("won", target_categories=["won", "lost"]), until=lambda report: report.events)
    (event,) = report.events[1]
    assert event.payload["opportunity_uuid"] == EXAMPLE_OPPORTUNITY_UUID
    assert event.payload["changes"]["forecast_category"]["current"] == "won"
    assert len(airflow.stored) == 1
    logged = "".join(capfd.readouterr())
    assert "fired" in logged
    assert "example.com" not in logged


def test_ten_watchers_of_a_small_account_begin_to_poll_within_two_seconds(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    airflow = Airflow(monkeypatch, sandbox)
    watchers = [watcher(str(number)) for number in range(10)]
    airflow.watch(*watchers, until=lambda _: len(airflow.stored) == 10)
    requests = len(sandbox.requests)
    begun = time.monotonic()
    seconds: list[float] = []

    def has_polled(_: Any) -> bool:
        if len(sandbox.requests) > requests:
            seconds.append(time.monotonic() - begun)
        return bool(seconds)

    airflow.watch(*watchers, until=has_polled)
    assert seconds[0] < 5, "Below 2 s where nothing else runs; 0.1 needed a minute and a half."
