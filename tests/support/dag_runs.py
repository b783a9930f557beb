"""Run tasks in this process as Airflow does: by Airflow 3's task runner, or by Airflow 2's task instances."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from tests.polling.stand_ins import without_gathering
from tests.support.airflow_versions import IS_AIRFLOW_3

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.providers.common.compat.sdk import DAG
    from airflow.triggers.base import BaseTrigger, TriggerEvent


@dataclass(frozen=True)
class Outcome:
    """
    The outcome of one start of a task.

    :param state: Airflow's name of the state: success, failed, up_for_retry, up_for_reschedule, deferred, skipped
    :param error: the error of a failed task
    :param xcoms: the XComs for downstream tasks, by key
    :param link: the URL of the task's extra link, as shown by the web server
    :param messages: the task's requests to Airflow's API server; none before Airflow 3
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
    """The name of an asset, and the event's extra."""

    asset: str
    extra: dict[str, Any]


class DagRun(Protocol):
    """A DAG run, with the state that persists between the starts of its tasks."""

    def start(self, task_id: str, *, map_index: int = -1) -> Outcome:
        """
        Start a task: for the first time, after a reschedule, as a retry, or to resume it after its trigger fired.

        A trigger runs inside this call until it fires.
        """

    def lose_worker(self, task_id: str) -> None:
        """Make a task eligible for a retry, as Airflow does when its worker disappears."""

    def clear(self, task_id: str, *, keep_state: bool = True) -> None:
        """
        Clear a task of an ended run, as a user does in the web UI.

        :param keep_state: false: without the task's state store, as with ``[state_store] clear_on_success``
        """

    def backfill_again(self, task_id: str) -> None:
        """Rerun a task of an ended run, as `airflow dags backfill --rerun-failed-tasks` of Airflow 2 does."""


async def _first_event_of(trigger: BaseTrigger) -> TriggerEvent:
    async with asyncio.timeout(30):
        async for event in trigger.run():
            return event
    raise AssertionError("The trigger ended without an event.")


def event_of(trigger: BaseTrigger) -> TriggerEvent:
    """Run a trigger until it fires; it does not wait for others that could share its requests."""
    with without_gathering():
        return asyncio.run(_first_event_of(trigger))


def run_of(
    build: Callable[[], DAG], conf: dict[str, Any] | None = None, asset_events: tuple[AssetEvent, ...] = ()
) -> DagRun:
    """
    Begin a run of a DAG.

    :param build: builds the DAG; called at each start of a task, since Airflow parses the file in each task process
    :param conf: overrides the DAG's params
    :param asset_events: the asset events for which Airflow 3 started the run
    """
    if IS_AIRFLOW_3:
        from tests.support.dag_runs_airflow3 import Airflow3DagRun

        return Airflow3DagRun(build, conf, asset_events)
    from tests.support.dag_runs_airflow2 import Airflow2DagRun

    return Airflow2DagRun(build, conf)
