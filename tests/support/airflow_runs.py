"""DAG runs of a local Airflow, through its REST API."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import requests

from tests.support.airflow_versions import IS_AIRFLOW_3

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.local_airflow import LocalAirflow

# Airflow 3 requires an explicit null for a run without a logical date; Airflow 2 has no such runs.
_NO_LOGICAL_DATE = {"logical_date": None} if IS_AIRFLOW_3 else {}


def wait_until(condition: Callable[[], Any], what: str, *, seconds: float = 180) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.5)
    raise AssertionError(f"After {seconds} s still not: {what}")


class Runs:
    def __init__(self, airflow: LocalAirflow) -> None:
        self._api = airflow.api
        self._scheduler_log = airflow.logs / "scheduler.log"

    def trigger(self, dag_id: str, **conf: Any) -> str:
        wait_until(lambda: self._is_parsed(dag_id), f"DAG {dag_id} is parsed")
        run = self._api("POST", f"dags/{dag_id}/dagRuns", {**_NO_LOGICAL_DATE, "conf": conf})
        return str(run["dag_run_id"])

    def of(self, dag_id: str) -> list[dict[str, Any]]:
        wait_until(lambda: self._is_parsed(dag_id), f"DAG {dag_id} is parsed")
        return list(self._api("GET", f"dags/{dag_id}/dagRuns?limit=100")["dag_runs"])

    def get(self, dag_id: str, run_id: str) -> dict[str, Any]:
        return dict(self._api("GET", f"dags/{dag_id}/dagRuns/{run_id}"))

    def outcome(self, dag_id: str, run_id: str, *, seconds: float = 180) -> str:
        def state() -> str | None:
            found = self.get(dag_id, run_id)["state"]
            return found if found in ("success", "failed") else None

        return str(wait_until(state, f"run {run_id} of {dag_id} has ended", seconds=seconds))

    def tasks(self, dag_id: str, run_id: str, task_id: str | None = None) -> list[dict[str, Any]]:
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=100"
        found: list[dict[str, Any]] = []
        while True:
            page = self._api("GET", f"{path}&offset={len(found)}")
            found += page["task_instances"]
            if len(found) >= page["total_entries"] or not page["task_instances"]:
                return [task for task in found if task_id in (None, task["task_id"])]

    def count(self, dag_id: str, run_id: str, *, state: str) -> int:
        """Return the number of a run's task instances in a state, which is cheaper than to list them."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances?state={state}&limit=1"
        return int(self._api("GET", path)["total_entries"])

    def wait_until_deferred(
        self, dag_id: str, run_id: str, task_id: str, *, tasks: int = 1, seconds: float = 180
    ) -> None:
        """
        Wait until the instances of a task are deferred, and their executor has reported so.

        If a trigger fires before that, Airflow may take the report for that of the resumed task, and fails it.
        """
        wait_until(
            lambda: self.count(dag_id, run_id, state="deferred") == tasks,
            f"{task_id} of {run_id} is deferred",
            seconds=seconds,
        )
        report = (
            "Received executor event with state success for task instance "
            f"TaskInstanceKey(dag_id='{dag_id}', task_id='{task_id}', run_id='{run_id}'"
        )
        wait_until(
            lambda: self._scheduler_log.read_text(errors="replace").count(report) >= tasks,
            f"the scheduler knows that {task_id} of {run_id} is deferred",
        )

    def xcom(self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1) -> Any:
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        return self._api("GET", f"{path}?map_index={map_index}&stringify=false")["value"]

    def _is_parsed(self, dag_id: str) -> bool:
        try:
            assert self._api("GET", "importErrors")["import_errors"] == []
            return bool(self._api("GET", f"dags/{dag_id}"))
        except requests.HTTPError:
            return False
