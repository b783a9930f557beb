"""A distributed Airflow on one machine: two Celery workers and two triggerers."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy
from sqlalchemy.pool import NullPool

from scripts.local_airflow import LocalAirflow
from tests.support.airflow_runs import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.e2e_celery.services import Postgres, Redis

SECONDS_UNTIL_A_TASK_COUNTS_AS_DEAD = 30
"""Seconds after a worker's last heartbeat; Airflow's default is five minutes."""

WORKERS = ("worker-1", "worker-2")
TRIGGERERS = ("triggerer-1", "triggerer-2")


def _worker(name: str) -> tuple[str, ...]:
    return "celery", "worker", "--skip-serve-logs", "--celery-hostname", f"{name}@%h"


class Cluster(LocalAirflow):
    """
    A complete Airflow on loopback, with Postgres, Redis and the CeleryExecutor.

    :param home: the ``AIRFLOW_HOME``, which is wiped
    :param secrets: a file for the secrets backend, outside ``home``
    :param connections: the Airflow connections in that backend, as JSON by connection id
    :param dags: the folder of the DAGs
    :param fernet_key: Airflow's encryption key for secrets
    """

    _components: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **{name: command for name, command in LocalAirflow._components.items() if name != "triggerer"},
        **{name: _worker(name) for name in WORKERS},
        **dict.fromkeys(TRIGGERERS, ("triggerer", "--skip-serve-logs")),
    }

    def __init__(
        self,
        home: Path,
        *,
        postgres: Postgres,
        redis: Redis,
        secrets: Path,
        connections: Mapping[str, str],
        dags: Path,
        fernet_key: str,
    ) -> None:
        secrets.write_text(json.dumps(dict(connections)))
        self._secrets = secrets
        super().__init__(
            home,
            CELERY__BROKER_URL=redis.url,
            CELERY__RESULT_BACKEND=f"db+{postgres.url}",
            CELERY__WORKER_CONCURRENCY="4",
            CORE__DAGS_FOLDER=str(dags),
            CORE__EXECUTOR="CeleryExecutor",
            CORE__FERNET_KEY=fernet_key,
            DATABASE__SQL_ALCHEMY_CONN=postgres.url,
            SECRETS__BACKEND="flaky_secrets.FlakySecretsBackend",
            SECRETS__BACKEND_KWARGS=json.dumps({"path": str(secrets)}),
            # A scheduler checks only its own tasks' heartbeats, so those of a killed one have to be adopted first.
            SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL=str(SECONDS_UNTIL_A_TASK_COUNTS_AS_DEAD),
            SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT=str(SECONDS_UNTIL_A_TASK_COUNTS_AS_DEAD),
        )
        self._environment["AIRFLOW__CORE__PARALLELISM"] = "8"
        self._environment["PYTHONPATH"] = str(Path(__file__).parent / "secrets_backend")
        self._engine = sqlalchemy.create_engine(postgres.url, poolclass=NullPool)
        self._jobs: dict[str, int] = {}
        self._killed: set[str] = set()
        self.restarts: list[str] = []
        """The components that exited unexpectedly, in order."""

    def start(self, component: str) -> None:
        """Start a component; for a triggerer, return once its job is in the database."""
        super().start(component)
        self._killed.discard(component)
        if component in TRIGGERERS:
            newest = max(self._jobs.values(), default=0)
            self._jobs[component] = wait_until(lambda: self._job_after(newest), f"{component} has a job")

    def kill(self, component: str) -> None:
        """Kill all processes of a component, and leave it down until it is started."""
        self._killed.add(component)
        while self._running[component].is_alive():
            self._running[component].send(signal.SIGKILL)

    def start_again_what_ended(self) -> None:
        """Restart components that exited unexpectedly, like a service manager."""
        for name, command in list(self._running.items()):
            if name not in self._killed and (exit_code := command.exit_code()) is not None:
                self.restarts.append(f"{name} (exit code {exit_code})")
                self.start(name)

    def worker_of(self, pid: int) -> str:
        """Return the worker of a process."""
        return next(name for name in WORKERS if pid in self._running[name]._pids())

    def triggerer_of_watcher(self) -> str:
        """Return the triggerer that runs the watcher."""
        query = "SELECT triggerer_id FROM trigger WHERE classpath LIKE '%EventTrigger'"
        ((job,),) = self.query(query)
        return next(name for name in TRIGGERERS if self._jobs[name] == job)

    def triggers_of(self, triggerer: str) -> set[int]:
        """Return the ids of the triggers that are assigned to a triggerer."""
        rows = self.query("SELECT id FROM trigger WHERE triggerer_id = :job", job=self._jobs[triggerer])
        return {row.id for row in rows}

    @contextlib.contextmanager
    def without_state_store(self) -> Iterator[None]:
        """Make every request for asset state fail with an internal server error."""
        self._execute("ALTER TABLE asset_state_store RENAME TO gone")
        try:
            yield
        finally:
            self._execute("ALTER TABLE gone RENAME TO asset_state_store")

    @contextlib.contextmanager
    def without_secrets(self) -> Iterator[None]:
        """Make the secrets backend fail, so that Airflow reports connections as not defined."""
        down = self._secrets.with_suffix(".down")
        down.touch()
        try:
            yield
        finally:
            down.unlink()

    def ends_of_triggers(self) -> list[str]:
        """Return the log lines of triggerers about triggers that ended with an error."""
        lines = itertools.chain.from_iterable(self._log(name).read_text().splitlines() for name in TRIGGERERS)
        return [line for line in lines if " exited with" in line or " exited without " in line]

    def query(self, sql: str, **parameters: Any) -> list[Any]:
        """Query the database."""
        with self._engine.connect() as connection:
            return list(connection.execute(sqlalchemy.text(sql), parameters))

    def _execute(self, sql: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(sqlalchemy.text(sql))

    def _job_after(self, newest: int) -> int | None:
        rows = self.query("SELECT id FROM job WHERE job_type = 'TriggererJob' AND id > :newest", newest=newest)
        return rows[0].id if rows else None
