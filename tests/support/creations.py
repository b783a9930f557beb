"""Creations with lost responses."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_chartmogul._airflow.task_tries import EarlierTries
from airflow_provider_chartmogul.hooks._create_once import Creation, IdempotencyKey
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.operators.opportunity import CreateOpportunityOperator
from airflow_provider_chartmogul.sandbox import Fault
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


KEY = IdempotencyKey("airflow_key", "0d6b1f7e-1f0f-5a44-9a0c-6a7a5f1c2b3d")
LOST = Fault("status", status=502, method="POST")
LOST_AFTER_ACTING = Fault("status", status=502, method="POST", after_acting=True)


class Store(dict[str, Any]):
    """Stands in for Airflow's task state store."""

    def set(self, key: str, value: Any, *, retention: timedelta) -> None:
        assert retention == timedelta(days=365)
        self[key] = value


@dataclass
class Sleep:
    """Record the seconds of each sleep, and act instead."""

    act: Callable[[], object] = lambda: None
    seconds: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if len(self.seconds) == 1:
            self.act()


def create(opportunity: dict[str, Any] = NEW, **options: Any) -> dict[str, Any]:
    key = options.get("key")
    fields = opportunity if key is None else key.added_to(opportunity)
    return Creation(ChartMogulHook(), fields, **{"sleep": Sleep(), **options}).run()


def posts(sandbox: Sandbox) -> int:
    return [request.method for request in sandbox.requests].count("POST")


def ago(**duration: float) -> str:
    return in_json(datetime.now(UTC) - timedelta(**duration))


def in_json(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def with_key(opportunity: dict[str, Any] = NEW, key: IdempotencyKey = KEY) -> dict[str, Any]:
    return {**opportunity, "custom": {**opportunity["custom"], key.attribute: key.value}}


def assert_named(error: BaseException, candidates: list[dict[str, Any]]) -> None:
    named = re.findall(r"([0-9a-f-]{36}) \(created ([^)]+)\)", str(error))
    assert named == [(candidate["uuid"], candidate["created_at"]) for candidate in candidates]


def lose_and(act: Callable[[], object], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, *, acted: bool) -> None:
    sandbox.inject_fault(LOST_AFTER_ACTING if acted else LOST)
    after_creating(monkeypatch, act)


def tries(**ago: float) -> EarlierTries:
    now = datetime.now(UTC)
    return EarlierTries(now - timedelta(**ago), now - timedelta(minutes=1))
