"""Connections as stored by Airflow."""

from __future__ import annotations

import ast
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_chartmogul.hooks._connection_settings import ConnectionSettings

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

    from scripts.local_airflow import LocalAirflow


def stored_connection(airflow: LocalAirflow, conn_id: str) -> dict[str, Any]:
    """Return the fields that are not empty, the password decrypted."""
    (found,) = json.loads(airflow.cli("connections", "get", conn_id, "--output", "json"))
    extra = found["extra_dejson"]
    fields = {name: found[name] for name in ("conn_type", "host", "login", "password", "schema", "port")}
    fields["extra"] = ast.literal_eval(extra) if isinstance(extra, str) else extra
    return {name: value for name, value in fields.items() if value}


def settings_of(stored: dict[str, Any]) -> ConnectionSettings:
    """Return the hook's settings for the connection."""
    empty = dict.fromkeys(("host", "login", "password", "schema", "port"))
    fields = {"conn_id": "stored", **empty, **stored, "extra_dejson": stored.get("extra", {})}
    return ConnectionSettings.from_connection(cast("Connection", SimpleNamespace(**fields)))
