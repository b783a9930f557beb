"""Creations by the hook alone, with a stand-in for each service of Airflow."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul.hooks._create_once import Creation, IdempotencyKey
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.sandbox import Fault
from tests.support.creations import after_creating
from tests.support.opportunities import NEW

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from airflow_provider_chartmogul.sandbox import Sandbox

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
