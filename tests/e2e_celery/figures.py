"""The report of the scenario: figures, and the logs of failures."""

from __future__ import annotations

import json
import statistics
from collections import Counter, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from airflow_provider_chartmogul.sandbox import RecordedRequest
    from tests.e2e_celery.outage import Record, Task

LINES_OF_A_COMPONENT = 40
ERRORS_OF_A_COMPONENT = 20
LINES_OF_A_TASK = 40
TASKS_SHOWN = 10


def peak_per_second(requests: Iterable[RecordedRequest]) -> int:
    """Return the peak number of requests within a second."""
    latest: deque[float] = deque()
    peak = 0
    for request in requests:
        latest.append(request.at)
        while request.at - latest[0] >= 1.0:
            latest.popleft()
        peak = max(peak, len(latest))
    return peak


def reads_of_the_list(record: Record) -> list[RecordedRequest]:
    """Return the requests for pages of the whole list, which only triggerers send."""
    return [one for one in record.requests if one.path == "/v1/opportunities" and "customer_uuid" not in one.query]


def during_the_outage(record: Record) -> list[RecordedRequest]:
    """Return the requests during ChartMogul's outage."""
    began, ended = record.outage
    return [request for request in record.requests if began <= request.at < ended]


def outside_the_outage(record: Record) -> list[RecordedRequest]:
    """Return the requests before and after ChartMogul's outage."""
    began, ended = record.outage
    return [request for request in record.requests if not began <= request.at < ended]


def figures(record: Record) -> Iterator[tuple[str, str]]:
    """Yield the figures of the scenario, as names and values."""
    for name, seconds in record.seconds.items():
        yield name, f"{seconds:.0f} s"
    yield "waits of the other triggerer / taken over", f"{record.waits_of_the_survivor} / {record.waits_taken_over}"
    yield "components that exited unexpectedly", ", ".join(record.ended_by_themselves) or "none"
    yield "waits by number of tries", _tries(record.waits)
    late = sorted(record.lateness) or [float("nan")]
    yield "change to end of wait, median / longest", f"{statistics.median(late):.1f} s / {late[-1]:.1f} s"
    (*_, many) = record.wait_for_many
    yield f"one wait for {len(record.waited_for_in_one_task)}", f"{many.state} in try {many.try_number}"
    responses = ", ".join(f"{count} x {status}" for status, count in sorted(record.other_client.items()))
    yield "responses to another client", responses
    yield "creations by number of tries", _tries(record.creations)
    created = sum(len(record.created_for(lead)) for lead in record.leads)
    requested = sum(len(record.requests_to_create(lead)) for lead in record.leads)
    yield "opportunities created / wanted / requests to create", f"{created} / {len(record.leads)} / {requested}"
    events = Counter(event["opportunity_uuid"] for event in record.events)
    yield (
        "changes watched / delivered / delivered again",
        (f"{len(record.won)} / {len(events)} / {events.total() - len(events)}"),
    )
    yield "changes that Airflow left for the next run", str(record.left_for_the_next_run)
    dags = Counter(run["dag_id"] for run in record.runs)
    yield "runs", ", ".join(f"{count} of {dag_id}" for dag_id, count in sorted(dags.items()))
    yield "requests", str(len(record.requests))
    yield "most requests in a second", str(peak_per_second(record.requests))
    yield "most of them pages of the whole list", str(peak_per_second(reads_of_the_list(record)))
    for name, requests in (("in the outage", during_the_outage(record)), ("otherwise", outside_the_outage(record))):
        statuses = Counter(str(request.status or "not") for request in requests)
        yield (
            f"responses {name}",
            ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items())),
        )


def _tries(tasks: list[Task]) -> str:
    tries = Counter(task.try_number for task in tasks)
    return ", ".join(f"{count} in try {number}" for number, count in sorted(tries.items()))


def what_failed(home: Path) -> Iterator[tuple[Path, str]]:
    """Return the ends of the log files that hold errors."""
    logs = home / "logs"
    for file in sorted(logs.glob("*.log")):
        errors = [line for line in _lines_of(file) if "[error " in line or "[critical " in line]
        yield file, "\n".join([*errors[-ERRORS_OF_A_COMPONENT:], "...", *_lines_of(file)[-LINES_OF_A_COMPONENT:]])
    failed = [file for file in sorted(logs.glob("dag_id=*/**/*.log")) if _reports_an_error(file)]
    for file in failed[:TASKS_SHOWN]:
        yield file, "\n".join(_lines_of(file)[-LINES_OF_A_TASK:])


def _lines_of(file: Path) -> list[str]:
    return file.read_text(errors="replace").splitlines()


def _reports_an_error(file: Path) -> bool:
    return any(_level(line) in ("error", "critical") for line in _lines_of(file))


def _level(line: str) -> str:
    try:
        return str(json.loads(line).get("level", ""))
    except ValueError:
        return ""
