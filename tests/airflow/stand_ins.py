"""Parts of Airflow's services for the tests of other packages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_chartmogul._airflow import metrics
from airflow_provider_chartmogul._airflow.task_tries import EarlierTries

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


def tries(**ago: float) -> EarlierTries:
    """Return the tries of a run that began some time ago, and was cleared a minute ago."""
    now = datetime.now(UTC)
    return EarlierTries(now - timedelta(**ago), now - timedelta(minutes=1))


def replace_gauge(monkeypatch: pytest.MonkeyPatch, gauge: Callable[..., object]) -> None:
    """Let a function receive the gauges, instead of Airflow."""
    monkeypatch.setattr(metrics, "gauge", gauge)
