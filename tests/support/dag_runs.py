"""Run tasks the way Airflow does, in this process: by Airflow 3's task runner, or by Airflow 2's task instances."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from tests.support.airflow_versions import IS_AIRFLOW_3

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.providers.common.compat.sdk import DAG
    from airflow.triggers.base import BaseTrigger, TriggerEvent


@dataclass(frozen=True)
class Outcome:
    """
    What one start of a task came to.

    :param state: what Airflow calls it: success, failed, up_for_retry, up_for_reschedule, deferred, skipped
    :param error: what the task failed with
    :param xcoms: what a downstream task would pull, by key
    :param link: where the task's extra link leads, as the web server would show it
    :param messages: what the task asked of Airflow's API server; none before Airflow 3
    """

    state: str
    error: BaseException | None
    xcoms: dict[str, Any]
    link: str | None
    messages: list[Any] = field(default_factory=list)

    @property
    def result(self) -> Any:
        return self.xcoms.get("return_value")


class AssetEvent(NamedTuple):
    """The name of an asset, and what the event told."""

    asset: str
    extra: dict[str, Any]


class DagRun(Protocol):
    """A DAG run, with all that is remembered between the starts of its tasks."""

    def start(self, task_id: str, *, map_index: int = -1) -> Outcome:
        """
        Start a task, be it for the first time, after a reschedule, as a retry, or where its trigger has sent it on.

        A trigger runs in here until it fires; nothing else happens meanwhile.
        """

    def lose_worker(self, task_id: str) -> None:
        """Let a task be retried as Airflow does when the worker that ran it disappears."""

    def clear(self, task_id: str, *, keep_state: bool = True) -> None:
        """
        Let a task run again after its run has ended, as a user does on the web page.

        :param keep_state: false: without the task's state store, as with ``[state_store] clear_on_success``
        """

    def backfill_again(self, task_id: str) -> None:
        """Let a task of an ended run run again, as `airflow dags backfill --rerun-failed-tasks` of Airflow 2 does."""


async def _first_event_of(trigger: BaseTrigger) -> TriggerEvent:
    async with asyncio.timeout(30):
        async for event in trigger.run():
            return event
    raise AssertionError("The trigger ended without an event.")


def event_of(trigger: BaseTrigger) -> TriggerEvent:
    """Run a trigger until it fires."""
    return asyncio.run(_first_event_of(trigger))


def run_of(
    build: Callable[[], DAG], conf: dict[str, Any] | None = None, asset_events: tuple[AssetEvent, ...] = ()
) -> DagRun:
    """
    Begin a run of a DAG.

    :param build: makes the DAG; called at each start of a task, since each is a process that parses the file anew
    :param conf: what overwrites its params
    :param asset_events: what made Airflow 3 start the run
    """
    if IS_AIRFLOW_3:
        from tests.support.dag_runs_airflow3 import Airflow3DagRun

        return Airflow3DagRun(build, conf, asset_events)
    from tests.support.dag_runs_airflow2 import Airflow2DagRun

    return Airflow2DagRun(build, conf)
