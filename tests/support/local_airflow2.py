"""A complete Airflow 2 on loopback."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, ClassVar

from scripts.isolation import REPOSITORY
from scripts.local_airflow import LocalAirflow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class LocalAirflow2(LocalAirflow):
    """A :class:`LocalAirflow` with the web UI, REST API and components of Airflow 2."""

    _components: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "webserver": ("webserver",),
        "scheduler": ("scheduler", "--skip-serve-logs"),
        "triggerer": ("triggerer", "--skip-serve-logs"),
    }
    _api_path = "/api/v1"
    _health_path = "/api/v1/health"

    def __init__(self, home: Path, **arguments: Any) -> None:
        super().__init__(home, **arguments)
        # With SQLite, Airflow 2 rejects all executors but the sequential one, because of contention for SQLite's lock.
        # A few processes can wait for it.
        self._environment["_AIRFLOW__SKIP_DATABASE_EXECUTOR_COMPATIBILITY_CHECK"] = "1"

    def _server_settings(self) -> dict[str, str]:
        return {
            "API__AUTH_BACKENDS": "airflow.api.auth.backend.default",
            "CORE__EXECUTOR": "LocalExecutor",
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home}/airflow.db?timeout=60",
            # Without the row locks that SQLite lacks, the scheduler and a task that schedules the next one may both
            # queue it, which counts as two tries.
            "SCHEDULER__SCHEDULE_AFTER_TASK_EXECUTION": "False",
            "WEBSERVER__BASE_URL": self.url,
            "WEBSERVER__SECRET_KEY": secrets.token_hex(16),
            "WEBSERVER__CONFIG_FILE": str(REPOSITORY / "tests/support/webserver_config_airflow2.py"),
            "WEBSERVER__WEB_SERVER_HOST": "127.0.0.1",
            "WEBSERVER__WEB_SERVER_PORT": str(self.port),
            "WEBSERVER__WORKERS": "1",
        }

    def _log_in(self) -> None:
        """Do nothing, since no login is needed."""
