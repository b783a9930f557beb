"""What Airflow stored of a connection."""

from __future__ import annotations

import ast
import json
from typing import Any, Protocol

from airflow.providers.common.compat.sdk import Connection

from airflow_provider_chartmogul.connection import ConnectionSettings


class HasCommandLine(Protocol):
    def cli(self, *arguments: str) -> str: ...


def stored_connection(airflow: HasCommandLine, conn_id: str) -> dict[str, Any]:
    """Return the fields that are not empty, the password decrypted."""
    (found,) = json.loads(airflow.cli("connections", "get", conn_id, "--output", "json"))
    extra = found["extra_dejson"]
    fields = {name: found[name] for name in ("conn_type", "host", "login", "password", "schema", "port")}
    fields["extra"] = ast.literal_eval(extra) if isinstance(extra, str) else extra
    return {name: value for name, value in fields.items() if value}


def settings_of(stored: dict[str, Any]) -> ConnectionSettings:
    """Return what our hook makes of it."""
    fields = {**stored, "extra": json.dumps(stored.get("extra", {}))}
    return ConnectionSettings.from_connection(Connection(conn_id="stored", **fields))
