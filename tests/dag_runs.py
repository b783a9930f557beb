"""Run tasks the way Airflow does, in this process: by Airflow 3's task runner, or by Airflow 2's task instances."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tests.airflow_versions import IS_AIRFLOW_3

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.providers.common.compat.sdk import DAG


@dataclass(frozen=True)
class Outcome:
    """
    What one start of a task came to.

    :param state: what Airflow calls it: success, failed, up_for_retry, up_for_reschedule, skipped
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


class DagRun(Protocol):
    """A DAG run, with all that is remembered between the starts of its tasks."""

    def start(self, task_id: str, *, map_index: int = -1) -> Outcome:
        """Start a task, be it for the first time, after a reschedule or as a retry."""

    def lose_worker(self, task_id: str) -> None:
        """Let a task be retried as Airflow does when the worker that ran it disappears."""


def run_of(build: Callable[[], DAG], conf: dict[str, Any] | None = None) -> DagRun:
    """
    Begin a run of a DAG.

    :param build: makes the DAG; called at each start of a task, since each is a process that parses the file anew
    :param conf: what overwrites its params
    """
    if IS_AIRFLOW_3:
        from tests.dag_runs_3 import Airflow3DagRun

        return Airflow3DagRun(build, conf)
    from tests.dag_runs_2 import Airflow2DagRun

    return Airflow2DagRun(build, conf)
