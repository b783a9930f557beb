"""A scenario in which each component fails once, while opportunities keep changing."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import requests
import sqlalchemy.exc

from airflow_provider_chartmogul.sandbox import Fault
from tests.e2e_celery.cluster import TRIGGERERS
from tests.support.airflow_runs import Runs, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_chartmogul.sandbox import RecordedRequest, Sandbox
    from tests.e2e_celery.cluster import Cluster
    from tests.e2e_celery.services import Postgres

WAITS, MANY, WATCH, CREATIONS = "outage_waits", "outage_many", "outage_won", "outage_creations"
NUMBER_OF_WAITS = 200
OPPORTUNITIES_OF_ONE_WAIT = 5_000
CHANGES_A_FAULT = 40
"""Number of waits that end around each fault."""

SECONDS_OF_OUTAGE = 60
SECONDS_WITHOUT_SCHEDULER = 10
SECONDS_WITHOUT_STATE_STORE = 20
SECONDS_WITHOUT_SECRETS = 60
REQUESTS_OF_ANOTHER_CLIENT = 8
"""Requests per second of another client with the same key."""

SECONDS_OF_A_CREATION = 15
"""Latency of creations around a fault, in seconds, so that the fault interrupts them."""

EVENTS_WITHOUT_A_RUN = "SELECT id FROM asset_event WHERE id NOT IN (SELECT event_id FROM dagrun_asset_event)"


@dataclass
class Task:
    """The final state and the result of a task."""

    task_id: str
    state: str
    try_number: int
    ended_at: datetime.datetime | None
    returned: Any


@dataclass
class Record:
    """
    The record of a run of the scenario.

    :param waited_for: the opportunities of the mapped waits, each of which became lost
    :param waited_for_in_one_task: the opportunities of the one sensor that waits for thousands
    :param changed_at: the time of each opportunity's change, in seconds since 1970
    :param other_client: the responses to another client on the same key, by status
    :param won: the opportunities that became won, with the fault at the time
    :param leads: the opportunities to create, by their distinguishing field, with the fault at the time
    :param lead_of_killed_worker: the lead whose task was killed after ChartMogul created it, and before the response
    :param outage: begin and end of ChartMogul's outage, in seconds of ``time.monotonic()``
    """

    waited_for: list[str] = field(default_factory=list)
    waited_for_in_one_task: list[str] = field(default_factory=list)
    changed_at: dict[str, float] = field(default_factory=dict)
    other_client: Counter[int] = field(default_factory=Counter)
    won: dict[str, str] = field(default_factory=dict)
    leads: dict[str, str] = field(default_factory=dict)
    lead_of_killed_worker: str = ""
    outage: tuple[float, float] = (0.0, 0.0)
    runs: list[dict[str, Any]] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    opportunities: list[dict[str, Any]] = field(default_factory=list)
    requests: list[RecordedRequest] = field(default_factory=list)
    ended_by_themselves: list[str] = field(default_factory=list)
    ends_of_triggers: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    waits_of_the_survivor: int = 0
    waits_taken_over: int = 0
    left_for_the_next_run: int = 0

    @property
    def waits(self) -> list[Task]:
        """The two hundred waits."""
        return [task for task in self.tasks if task.task_id == "wait"]

    @property
    def wait_for_many(self) -> list[Task]:
        """The one sensor that waits for thousands of opportunities."""
        return [task for task in self.tasks if task.task_id == "wait_for_many"]

    @property
    def lateness(self) -> list[float]:
        """Seconds from the change of an opportunity to the end of its mapped wait."""
        ended = [(task.returned["uuid"], task.ended_at) for task in self.waits if task.returned and task.ended_at]
        return [moment.timestamp() - self.changed_at[uuid] for uuid, moment in ended]

    @property
    def creations(self) -> list[Task]:
        """The tasks that create an opportunity."""
        return [task for task in self.tasks if task.task_id == "create"]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of the runs that the watcher started."""
        return [event for task in self.tasks if task.task_id == "changes" for event in task.returned or ()]

    def created_for(self, lead: str) -> list[dict[str, Any]]:
        """Return the opportunities that were created for a lead."""
        return [one for one in self.opportunities if one["custom"].get("lead") == lead]

    def requests_to_create(self, lead: str) -> list[RecordedRequest]:
        """Return the requests to create an opportunity for a lead, except those rejected by a limit."""
        wanted = {"key": "lead", "value": lead}
        posts = [one for one in self.requests if one.method == "POST" and one.status != 429]
        return [one for one in posts if one.body and wanted in one.body["custom"]]


class _Scenario:
    def __init__(self, cluster: Cluster, sandbox: Sandbox, postgres: Postgres) -> None:
        self._cluster = cluster
        self._sandbox = sandbox
        self._postgres = postgres
        self._runs = Runs(cluster)
        self._chapter = ""
        self._numbers = itertools.count(1)
        self.record = Record()
        still_open = [one["uuid"] for one in sandbox.opportunities if one["forecast_category"] not in ("lost", "won")]
        apart = len(still_open) // NUMBER_OF_WAITS
        self.record.waited_for = still_open[::apart][:NUMBER_OF_WAITS]
        # Both are spread over the list, so that the engine cannot skip any part of it.
        self._to_lose = iter(self.record.waited_for)
        self._to_win = iter(still_open[1 :: 10 * apart])
        taken = {*self.record.waited_for, *still_open[1 :: 10 * apart]}
        free = [one["uuid"] for one in sandbox.opportunities if one["uuid"] not in taken]
        self.record.waited_for_in_one_task = free[:OPPORTUNITIES_OF_ONE_WAIT]

    @contextlib.contextmanager
    def chapter(self, title: str) -> Iterator[None]:
        self._chapter = title
        begin = time.monotonic()
        yield
        self.record.seconds[title] = time.monotonic() - begin

    def watch_and_wait(self) -> None:
        self._until(self._has_baseline, "the watcher has saved a baseline")
        self._runs.trigger(WAITS, opportunity_uuids=self.record.waited_for)
        for uuid in self.record.waited_for_in_one_task:
            self._sandbox.set_opportunity(uuid, forecast_category="pipeline")
        self._runs.trigger(MANY, opportunity_uuids=self.record.waited_for_in_one_task)
        self._until(lambda: self._states(WAITS, "wait") == {"deferred": NUMBER_OF_WAITS}, "all wait", seconds=400)
        self._until(lambda: self._states(MANY, "wait_for_many") == {"deferred": 1}, "one waits for many", seconds=100)

    def kill_a_worker(self) -> None:
        # All waits are in the triggerers. If a worker resumed one during the kill, the wait would be retried.
        self._delay_responses_to_creations()
        leads = self._create(4)
        (lead, *_) = self._until(lambda: [one for one in leads if self._is_being_created(one)], "one is being created")
        self._change(wins=1)
        worker = self._cluster.worker_of(self._process_that_creates(lead))
        self._cluster.kill(worker)
        self.record.lead_of_killed_worker = lead
        self._cluster.start(worker)

    def kill_a_triggerer(self) -> None:
        victim = self._cluster.triggerer_of_watcher()
        survivor = next(name for name in TRIGGERERS if name != victim)
        self.record.waits_of_the_survivor = len(self._cluster.triggers_of(survivor))
        self._change(waits=CHANGES_A_FAULT, wins=3)
        self._cluster.kill(victim)
        orphans = self._cluster.triggers_of(victim)
        began = time.monotonic()
        self._change(wins=2)
        self._until(lambda: orphans & self._cluster.triggers_of(survivor), f"{survivor} takes over")
        self.record.seconds["until another triggerer took over"] = time.monotonic() - began
        self.record.waits_taken_over = len(orphans & self._cluster.triggers_of(survivor))
        self._cluster.start(victim)

    def kill_the_scheduler(self) -> None:
        self._begin_creations()
        self._change(waits=CHANGES_A_FAULT, wins=2)
        self._cluster.kill("scheduler")
        self._change(wins=1)
        time.sleep(SECONDS_WITHOUT_SCHEDULER)
        self._cluster.start("scheduler")

    def restart_postgres(self) -> None:
        self._begin_creations()
        self._change(waits=CHANGES_A_FAULT, wins=2)
        self._postgres.restart()
        self._change(wins=1)
        self._until(self._is_healthy, "Airflow has recovered")

    def hide_the_state_store(self) -> None:
        with self._cluster.without_state_store():
            self._change(wins=2)
            self._watch_for(SECONDS_WITHOUT_STATE_STORE)
        self._change(wins=1)

    def hide_the_secrets(self) -> None:
        survivor = self._cluster.triggerer_of_watcher()
        other = next(name for name in TRIGGERERS if name != survivor)
        with self._cluster.without_secrets():
            self._change(waits=CHANGES_A_FAULT // 2, wins=1)
            # A new triggerer has to load the connection.
            self._cluster.kill(other)
            self._cluster.start(other)
            self._watch_for(SECONDS_WITHOUT_SECRETS)
            self._change(wins=1)

    def let_chartmogul_fail(self) -> None:
        began = time.monotonic()
        self._sandbox.inject_fault(Fault("status", status=503, times=None))
        self._create(2)
        self._change(waits=CHANGES_A_FAULT // 2, wins=1)
        self._watch_for(SECONDS_OF_OUTAGE / 2)
        self._sandbox.stop()
        self._change(waits=CHANGES_A_FAULT // 2, wins=1)
        self._watch_for(SECONDS_OF_OUTAGE / 2)
        self._sandbox.clear_faults()
        self._sandbox.start()
        self.record.outage = (began, time.monotonic())

    def see_the_rest(self) -> None:
        self._change(waits=NUMBER_OF_WAITS, wins=2)
        for uuid in self.record.waited_for_in_one_task:
            self._sandbox.set_opportunity(uuid, forecast_category="lost")
        self._wait_for_the_end()
        # Airflow 3.3 may leave an event that soon follows another to the next event's run: apache/airflow#54659.
        self.record.left_for_the_next_run = len(self._cluster.query(EVENTS_WITHOUT_A_RUN))
        self._change(wins=1)
        self._wait_for_the_end()

    def write_down(self) -> None:
        record = self.record
        for dag_id in (WAITS, MANY, WATCH, CREATIONS):
            for run in self._runs.of(dag_id):
                record.runs.append(run)
                record.tasks += [self._task(dag_id, task) for task in self._runs.tasks(dag_id, run["dag_run_id"])]
        record.opportunities = self._sandbox.opportunities
        record.requests = self._sandbox.requests
        record.ended_by_themselves = self._cluster.restarts
        record.ends_of_triggers = self._cluster.ends_of_triggers()

    def _task(self, dag_id: str, task: dict[str, Any]) -> Task:
        returned = None
        if task["state"] == "success":
            returned = self._runs.xcom(dag_id, task["dag_run_id"], task["task_id"], map_index=task["map_index"])
        ended_at = datetime.datetime.fromisoformat(task["end_date"]) if task["end_date"] else None
        return Task(task["task_id"], task["state"], task["try_number"], ended_at, returned)

    def _wait_for_the_end(self) -> None:
        # The tests report everything that has not ended, each about one subject.
        with contextlib.suppress(AssertionError):
            self._until(self._all_has_ended, "all has ended", seconds=240)

    def _until(self, condition: Callable[[], Any], what: str, *, seconds: float = 180) -> Any:
        def found() -> Any:
            self._cluster.start_again_what_ended()
            try:
                return condition()
            except (requests.RequestException, sqlalchemy.exc.OperationalError):
                return None

        return wait_until(found, what, seconds=seconds)

    def _watch_for(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._cluster.start_again_what_ended()
            time.sleep(0.5)

    def _change(self, *, waits: int = 0, wins: int = 0) -> None:
        for uuid in itertools.islice(self._to_lose, waits):
            self._sandbox.set_opportunity(uuid, forecast_category="lost")
            self.record.changed_at[uuid] = time.time()
        for uuid in itertools.islice(self._to_win, wins):
            self._sandbox.set_opportunity(uuid, forecast_category="won")
            self.record.changed_at[uuid] = time.time()
            self.record.won[uuid] = self._chapter

    def _delay_responses_to_creations(self) -> None:
        self._sandbox.clear_faults()
        self._sandbox.inject_fault(
            Fault("slow", method="POST", seconds=SECONDS_OF_A_CREATION, after_acting=True, times=None)
        )

    def _begin_creations(self) -> None:
        self._delay_responses_to_creations()
        leads = self._create(2)
        self._until(lambda: any(self._is_being_created(lead) for lead in leads), "one is being created")

    def _create(self, count: int) -> list[str]:
        leads = [f"lead {next(self._numbers)}" for _ in range(count)]
        self.record.leads.update(dict.fromkeys(leads, self._chapter))
        self._runs.trigger(CREATIONS, leads=leads)
        return leads

    def _is_being_created(self, lead: str) -> bool:
        """Return whether ChartMogul has created the opportunity, whose response is delayed."""
        self.record.opportunities = self._sandbox.opportunities
        return bool(self.record.created_for(lead))

    def _process_that_creates(self, lead: str) -> int:
        """Return the process of a task."""
        (run, *_) = self._runs.of(CREATIONS)
        number = list(self.record.leads).index(lead)
        tasks = self._runs.tasks(CREATIONS, run["dag_run_id"], "create")
        return next(int(task["pid"]) for task in tasks if task["map_index"] == number)

    def _has_baseline(self) -> list[Any]:
        # The snapshot's manifest is written last; its key is the only one without a number.
        return self._cluster.query("SELECT key FROM asset_state_store WHERE key ~ '^chartmogul[.][0-9a-f]+$'")

    def _states(self, dag_id: str, task_id: str) -> dict[str, int]:
        query = (
            "SELECT state, count(*) FROM task_instance WHERE dag_id = :dag_id AND task_id = :task_id "
            "AND state IS NOT NULL GROUP BY state"
        )
        return dict(tuple(row) for row in self._cluster.query(query, dag_id=dag_id, task_id=task_id))

    def _is_healthy(self) -> bool:
        health = self._cluster.api("GET", "monitor/health")
        return all(state["status"] == "healthy" for state in health.values())

    def _all_has_ended(self) -> bool:
        if self._cluster.query("SELECT 1 FROM dag_run WHERE state IN ('queued', 'running') LIMIT 1"):
            return False
        told = self._cluster.query("SELECT extra::json -> 'payload' ->> 'opportunity_uuid' AS uuid FROM asset_event")
        waiting = self._cluster.query("SELECT 1 FROM asset_dag_run_queue LIMIT 1")
        return not waiting and self.record.won.keys() <= {row.uuid for row in told}


class _OtherClient:
    """Another client of the same account: it sends single requests at a steady rate."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.statuses: Counter[int] = Counter()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._has_ended.set()
        self._thread.join()

    def _run(self) -> None:
        session = requests.Session()
        session.trust_env = False
        session.auth = (self._sandbox.api_key, "")
        while not self._has_ended.wait(1 / REQUESTS_OF_ANOTHER_CLIENT):
            # The sandbox is stopped meanwhile.
            with contextlib.suppress(requests.RequestException):
                self.statuses[session.get(f"{self._sandbox.url}/v1/account", timeout=10).status_code] += 1


def live_through(cluster: Cluster, sandbox: Sandbox, postgres: Postgres) -> Record:
    """Run the scenario and return its record."""
    scenario = _Scenario(cluster, sandbox, postgres)
    with _OtherClient(sandbox) as other_client:
        _live_through(scenario)
    scenario.record.other_client = other_client.statuses
    return scenario.record


def _live_through(scenario: _Scenario) -> None:
    for title, events in {
        "200 waits and a watcher start": scenario.watch_and_wait,
        "kill -9 of a worker": scenario.kill_a_worker,
        "kill -9 of a triggerer": scenario.kill_a_triggerer,
        "kill -9 of the scheduler": scenario.kill_the_scheduler,
        "Postgres restarts": scenario.restart_postgres,
        "Airflow cannot keep what a watcher saw": scenario.hide_the_state_store,
        "the secrets backend is down for a minute": scenario.hide_the_secrets,
        "ChartMogul fails for a minute": scenario.let_chartmogul_fail,
        "the rest": scenario.see_the_rest,
        "reading the results": scenario.write_down,
    }.items():
        with scenario.chapter(title):
            events()
