"""Metrics, received by a StatsD server, from a process that Airflow has set up as it sets up its triggerer."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import run_apart

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = """
import os
os.environ.update({settings!r})
from airflow_provider_chartmogul._airflow import metrics
from airflow.jobs import triggerer_job_runner as triggerer
if hasattr(triggerer, "stats"):  # from 3.3 on
    triggerer.stats.initialize(factory=triggerer.stats_utils.get_stats_factory(), export_legacy_names=False)
elif hasattr(triggerer, "stats_utils"):  # 3.2
    triggerer.Stats.initialize(factory=triggerer.stats_utils.get_stats_factory(triggerer.Stats))
metrics.count("requests", conn_id="eu.account", status=200, watcher=None)
metrics.gauge("waits", 3, conn_id="eu.account")
metrics.timing("round_seconds", 1.5, conn_id="eu.account")
"""
FAILING_BACKEND = """
import logging
def fail(*args, **kwargs): raise OSError("no backend")
metrics.Stats.incr = fail
messages = []
class Keep(logging.Handler):
    def emit(self, record): messages.append(record.getMessage())
metrics.log.addHandler(Keep())
metrics.count("rounds")
metrics.count("rounds")
print(messages)
"""


@pytest.fixture
def statsd() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        yield receiver


def received(statsd: socket.socket, **settings: str) -> tuple[list[str], str]:
    """Return our metrics, and what was logged when the backend failed after them."""
    settings = {
        "STATSD_ON": "True",
        "STATSD_HOST": "127.0.0.1",
        "STATSD_PORT": str(statsd.getsockname()[1]),
        "TIMER_UNIT_CONSISTENCY": "True",
        **settings,
    }
    environment = {f"AIRFLOW__METRICS__{name}": value for name, value in settings.items()}
    logged = run_apart(PROGRAM.format(settings=environment) + FAILING_BACKEND)
    ours: list[str] = []
    while len(ours) < 3:  # Airflow sends its own, too
        metric = statsd.recv(1000).decode()
        ours += [metric] if metric.startswith("airflow.chartmogul.") else []
    return ours, logged


def test_statsd_gets_labels_in_the_name_and_a_failing_backend_is_reported_once(statsd: socket.socket) -> None:
    ours, logged = received(statsd)
    assert logged == repr(["Airflow could not send a metric: OSError('no backend')"])
    assert ours == [
        "airflow.chartmogul.requests.eu_account.200:1|c",
        "airflow.chartmogul.waits.eu_account:3|g",
        "airflow.chartmogul.round_seconds.eu_account:1500.000000|ms",
    ]


def test_a_dialect_with_tags_gets_tags(statsd: socket.socket) -> None:
    ours, _ = received(statsd, STATSD_INFLUXDB_ENABLED="True")
    assert ours == [
        "airflow.chartmogul.requests,conn_id=eu.account,status=200:1|c",
        "airflow.chartmogul.waits,conn_id=eu.account:3|g",
        "airflow.chartmogul.round_seconds,conn_id=eu.account:1500.000000|ms",
    ]
