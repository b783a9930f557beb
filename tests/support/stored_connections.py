"""Connections as stored by Airflow."""

from __future__ import annotations

import ast
import json
import os
from typing import TYPE_CHECKING, Any
from unittest import mock

from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook

if TYPE_CHECKING:
    from scripts.local_airflow import LocalAirflow


def stored_connection(airflow: LocalAirflow, conn_id: str) -> dict[str, Any]:
    """Return the fields that are not empty, the password decrypted."""
    (found,) = json.loads(airflow.cli("connections", "get", conn_id, "--output", "json"))
    extra = found["extra_dejson"]
    fields = {name: found[name] for name in ("conn_type", "host", "login", "password", "schema", "port")}
    fields["extra"] = ast.literal_eval(extra) if isinstance(extra, str) else extra
    return {name: value for name, value in fields.items() if value}


def settings_of(stored: dict[str, Any]) -> Any:
    """Return the hook's settings for the connection."""
    with mock.patch.dict(os.environ, AIRFLOW_CONN_STORED=json.dumps(stored)):
        return ChartMogulHook("stored").settings
