"""A secrets backend that can be down: a file of connections, and a marker file during an outage."""

from __future__ import annotations

import json
from pathlib import Path

from airflow.secrets import BaseSecretsBackend


class FlakySecretsBackend(BaseSecretsBackend):
    """Read connections from a file unless the file ``….down`` exists."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def get_conn_value(self, conn_id: str, team_name: str | None = None) -> str | None:
        if self._path.with_suffix(".down").exists():
            raise ConnectionError("the secrets backend is down")
        connections: dict[str, str] = json.loads(self._path.read_text())
        return connections.get(conn_id)

    def get_variable(self, key: str, team_name: str | None = None) -> None:
        return None

    def get_config(self, key: str) -> None:
        return None
