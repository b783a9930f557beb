"""The logs of an Airflow, for the report of a failed test."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scripts.local_airflow import LocalAirflow

LINES = 50
TASKS = 5

# The tests' own requests would fill the report.
REQUEST = "/api/v"


def report(airflow: LocalAirflow) -> Iterator[tuple[str, str]]:
    """Yield titles and texts: the ends of all component logs, states of tasks, logs of tasks that went wrong."""
    for path in sorted(airflow.logs.glob("*.log")):
        yield path.name, _end_of(path)
    # The rest needs the API server.
    with contextlib.suppress(requests.RequestException):
        tasks = _tasks(airflow)
        states = Counter(f"{task['dag_id']} {task['task_id']} {task['state']}" for task in tasks)
        yield "tasks", "\n".join(f"{count:4} {state}" for state, count in sorted(states.items()))
        for task in [task for task in tasks if task["state"] in ("failed", "up_for_retry")][:TASKS]:
            folder = airflow.logs / f"dag_id={task['dag_id']}/run_id={task['dag_run_id']}/task_id={task['task_id']}"
            if task["map_index"] >= 0:
                folder /= f"map_index={task['map_index']}"
            for path in sorted(folder.glob("*.log*")):
                yield str(path.relative_to(airflow.logs)), _end_of(path)


def _tasks(airflow: LocalAirflow) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while page := airflow.api("GET", f"dags/~/dagRuns/~/taskInstances?limit=100&offset={len(found)}")["task_instances"]:
        found += page
    return found


def _end_of(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if REQUEST not in line]
    return "\n".join(lines[-LINES:])
