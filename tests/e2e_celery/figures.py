"""What to tell of a night: figures, and the logs of what failed."""

from __future__ import annotations

import json
from collections import Counter, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from airflow_provider_chartmogul.sandbox import RecordedRequest
    from tests.e2e_celery.night import Night

LINES_OF_A_COMPONENT = 60
LINES_OF_A_TASK = 40
TASKS_SHOWN = 10


def peak_per_second(requests: Iterable[RecordedRequest]) -> int:
    """Return the most requests that came within any second."""
    latest: deque[float] = deque()
    peak = 0
    for request in requests:
        latest.append(request.at)
        while request.at - latest[0] >= 1.0:
            latest.popleft()
        peak = max(peak, len(latest))
    return peak


def reads_of_the_list(night: Night) -> list[RecordedRequest]:
    """Return the requests for pages of the whole list, which only triggerers send."""
    return [one for one in night.requests if one.path == "/v1/opportunities" and "customer_uuid" not in one.query]


def figures(night: Night) -> Iterator[tuple[str, str]]:
    """Return what a night was like, as names and values."""
    for name, seconds in night.seconds.items():
        yield name, f"{seconds:.0f} s"
    yield "waits taken over", str(night.waits_taken_over)
    yield "components that ended by themselves", ", ".join(night.ended_by_themselves) or "none"
    tries = Counter(task["try_number"] for task in night.waits)
    yield "waits by number of tries", ", ".join(f"{count} x {number}" for number, count in sorted(tries.items()))
    tries = Counter(task["try_number"] for task in night.creations)
    yield "creations by number of tries", ", ".join(f"{count} x {number}" for number, count in sorted(tries.items()))
    created = sum(len(night.created_for(lead)) for lead in night.leads)
    asked = sum(len(night.requests_to_create(lead)) for lead in night.leads)
    yield "opportunities created / wanted / requests to create", f"{created} / {len(night.leads)} / {asked}"
    events = Counter(event["opportunity_uuid"] for event in night.events)
    yield (
        "changes watched / told of / told of again",
        (f"{len(night.won)} / {len(events)} / {events.total() - len(events)}"),
    )
    dags = Counter(run["dag_id"] for run in night.runs)
    yield "runs", ", ".join(f"{count} of {dag_id}" for dag_id, count in sorted(dags.items()))
    yield "requests", str(len(night.requests))
    yield "most requests in a second", str(peak_per_second(night.requests))
    yield "most of them pages of the whole list", str(peak_per_second(reads_of_the_list(night)))
    statuses = Counter(request.status for request in night.requests)
    for status, count in sorted(statuses.items(), key=str):
        yield f"answered with {status or 'nothing'}", str(count)


def what_failed(home: Path) -> Iterator[tuple[Path, str]]:
    """Return the files that tell of failures, each with its end."""
    logs = home / "logs"
    for file in sorted(logs.glob("*.log")):
        yield file, _end_of(file, LINES_OF_A_COMPONENT)
    failed = [file for file in sorted(logs.glob("dag_id=*/**/*.log")) if _tells_of_an_error(file)]
    for file in failed[:TASKS_SHOWN]:
        yield file, _end_of(file, LINES_OF_A_TASK)


def _end_of(file: Path, lines: int) -> str:
    return "\n".join(file.read_text(errors="replace").splitlines()[-lines:])


def _tells_of_an_error(file: Path) -> bool:
    return any(_level(line) in ("error", "critical") for line in file.read_text(errors="replace").splitlines())


def _level(line: str) -> str:
    try:
        return str(json.loads(line).get("level", ""))
    except ValueError:
        return ""
