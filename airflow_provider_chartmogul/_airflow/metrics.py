"""
Metrics through Airflow's own ``Stats``, named ``chartmogul.…``.

Plain StatsD has no tags. Without a backend that supports them (InfluxDB's or Datadog's dialect, or
OpenTelemetry), their values become parts of the name, in the order of the keyword arguments.
"""

from __future__ import annotations

import datetime
import logging
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

# Not common-compat's Stats: since Airflow 3.2 that is the task SDK's, and the triggerer initializes only its own.
try:
    from airflow.observability.stats import Stats
except ImportError:  # Airflow before 3.2
    from airflow.stats import Stats  # type: ignore[assignment]  # the same interface

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

_PREFIX = "chartmogul"
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_OPTIONS_WITH_TAGS = ("statsd_influxdb_enabled", "statsd_datadog_enabled", "otel_on")


def count(name: str, **tags: Any) -> None:
    """
    Add one to a counter.

    :param name: without the prefix, such as ``requests``
    :param tags: the labels, such as ``conn_id``; those that are None are left out
    """
    _send(Stats.incr, name, 1, tags)


def gauge(name: str, value: float, **tags: Any) -> None:
    """Set a gauge; parameters as in :func:`count`."""
    _send(Stats.gauge, name, value, tags)


def timing(name: str, seconds: float, **tags: Any) -> None:
    """Record a duration in seconds, which Airflow sends in milliseconds; other parameters as in :func:`count`."""
    _send(Stats.timing, name, datetime.timedelta(seconds=seconds), tags)


def _send(send: Callable[..., None], name: str, value: Any, tags: dict[str, Any]) -> None:
    full_name, labels = _label(name, tags)
    try:
        send(full_name, value, tags=labels)
    except Exception as error:  # noqa: BLE001  # a failing metrics backend must not fail a poll
        _warn_once(repr(error))


@cache
def _warn_once(error: str) -> None:
    log.warning("Airflow could not send a metric: %s", error)


def _label(name: str, tags: dict[str, Any]) -> tuple[str, dict[str, str] | None]:
    labels = {key: str(value) for key, value in tags.items() if value is not None}
    if _are_tags_sent():
        return f"{_PREFIX}.{name}", labels
    # A dot in a value would add a level to the name.
    return ".".join([_PREFIX, name, *(_NOT_IN_A_NAME.sub("_", value) for value in labels.values())]), None


@cache
def _are_tags_sent() -> bool:
    return any(conf.getboolean("metrics", option, fallback=False) for option in _OPTIONS_WITH_TAGS)
