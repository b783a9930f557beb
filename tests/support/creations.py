"""Creations with lost responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.operators.opportunity import CreateOpportunityOperator
from tests.support.opportunities import CUSTOMER, NEW

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from airflow_provider_chartmogul.sandbox import Sandbox

TIMEOUT = 0.5
LOST_RESPONSES: dict[str, dict[str, Any]] = {
    "reset": {"kind": "reset"},
    "timeout": {"kind": "hang", "seconds": 30},
    "500": {"kind": "status", "status": 500},
    "500 without body": {"kind": "status", "status": 500, "message": ""},
    "502": {"kind": "status", "status": 502},
    "503": {"kind": "status", "status": 503},
    "504": {"kind": "status", "status": 504},
    "truncated": {"kind": "truncate"},
    "HTML with 200": {"kind": "html"},
    "JSON that is no opportunity": {"kind": "body", "body": "{}"},
}


class CreateWithoutWaiting(CreateOpportunityOperator):
    """Create an opportunity without the delay before a search in ChartMogul's lists."""

    _sleep = staticmethod(lambda _: None)


class WorkerKilledError(Exception):
    """Stands in for the end of the process: no later code runs, and Airflow retries the task."""


def dag(opportunity: Any = NEW, **options: Any) -> DAG:
    with DAG("dag", schedule=None) as dag:
        CreateWithoutWaiting(task_id="create", opportunity=opportunity, **{"retries": 2, **options})
    return dag


def created_in(sandbox: Sandbox) -> list[dict[str, Any]]:
    return [opportunity for opportunity in sandbox.opportunities if opportunity["customer_uuid"] == CUSTOMER]


def after_creating(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Act after the first request to create, for any outcome."""
    original = ChartMogulHook.create_opportunity

    def wrapped(hook: ChartMogulHook, **fields: Any) -> dict[str, Any]:
        monkeypatch.setattr(ChartMogulHook, "create_opportunity", original)
        try:
            return original(hook, **fields)
        finally:
            act()

    monkeypatch.setattr(ChartMogulHook, "create_opportunity", wrapped)


def kill() -> None:
    raise WorkerKilledError
