"""Parts of Airflow's services for the tests of other packages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul._airflow import metrics, start_from_trigger
from airflow_provider_chartmogul._airflow.asset_events import EventSpacing
from airflow_provider_chartmogul._airflow.task_tries import EarlierTries

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    import pytest


def tries(**ago: float) -> EarlierTries:
    """Return the tries of a run that began some time ago, and was cleared a minute ago."""
    now = datetime.now(UTC)
    return EarlierTries(now - timedelta(**ago), now - timedelta(minutes=1))


def replace_gauge(monkeypatch: pytest.MonkeyPatch, gauge: Callable[..., object]) -> None:
    """Let a function receive the gauges, instead of Airflow."""
    monkeypatch.setattr(metrics, "gauge", gauge)


def event_spacing(queue: asyncio.Queue[Any]) -> EventSpacing:
    """Return the spacing of events on an Airflow with apache/airflow#54659."""
    return EventSpacing(queue, is_needed=True)


def pretend_airflow_before_3_3(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat Airflow as a version that starts no task in the triggerer."""
    monkeypatch.setattr(start_from_trigger, "IS_AIRFLOW_3_3", False)
