"""Airflow 2's TriggerRunner, which receives trigger instances and reads connections itself."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow.jobs.triggerer_job_runner import TriggerRunner
from airflow.triggers.base import TaskSuccessEvent

from tests.support.triggerers import Report
from tests.support.waits import eventually

if TYPE_CHECKING:
    import pytest
    from airflow.triggers.base import BaseTrigger


class Airflow2Triggerer:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def run(self, *triggers: BaseTrigger, connections: dict[str, dict[str, Any]]) -> Report:
        for conn_id, connection in connections.items():
            self._monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        runner: Any = TriggerRunner()
        for number, trigger in enumerate(triggers, start=1):
            classpath, kwargs = trigger.serialize()
            made_anew = runner.get_trigger_by_classpath(classpath)(**json.loads(json.dumps(kwargs)))
            ti = SimpleNamespace(
                dag_id="dag", run_id="run", task_id="wait", map_index=number, try_number=1, trigger_timeout=None
            )
            runner.set_trigger_logging_metadata(ti, number, made_anew)
            runner.to_create.append((number, made_anew))
        asyncio.run(self._until_all_have_reported(runner, len(triggers)))
        report = Report(failures={number: repr(error) for number, error in runner.failed_triggers})
        for number, event in runner.events:
            report.events.setdefault(number, []).append(event)
            if isinstance(event, TaskSuccessEvent) and event.xcoms:
                report.results[number] = event.xcoms["return_value"]
        return report

    async def _until_all_have_reported(self, runner: Any, count: int) -> None:
        running = asyncio.create_task(runner.arun())
        await eventually(lambda: len(runner.events) + len(runner.failed_triggers) >= count and not runner.triggers)
        runner.stop = True
        await running
