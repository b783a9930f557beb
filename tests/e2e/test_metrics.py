"""Metrics of a real triggerer, received by a StatsD server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_chartmogul.sandbox import Fault
from tests.support.airflow_runs import Runs, wait_until
from tests.support.airflow_versions import IS_AIRFLOW_3

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.e2e.conftest import StatsD

DAG_ID = "e2e_mapped_waits"


def test_rounds_requests_and_waits_are_counted_by_connection(runs: Runs, sandbox: Sandbox, statsd: StatsD) -> None:
    uuids = [sandbox.add_opportunity(pipeline="Renewals", forecast_category="pipeline")["uuid"] for _ in range(2)]
    run_id = runs.trigger(DAG_ID, opportunity_uuids=uuids)
    wait_until(lambda: statsd.latest("chartmogul.waits.chartmogul_default") >= 2, "two waits are counted")
    wait_until(lambda: statsd.total("chartmogul.requests.chartmogul_default.200") > 0, "requests are counted")
    if IS_AIRFLOW_3:  # Airflow 2 has no watchers, and waits alone have no rounds
        wait_until(lambda: statsd.latest("chartmogul.round_seconds.chartmogul_default") > 0, "rounds are timed")
    sandbox.inject_fault(Fault("status", status=401, times=None))
    try:
        wait_until(lambda: statsd.total("chartmogul.requests.chartmogul_default.401") > 0, "rejections are counted")
        if IS_AIRFLOW_3:
            wait_until(
                lambda: statsd.latest("chartmogul.seconds_since_complete_round.chartmogul_default") > 3,
                "an alert on the seconds since the last complete round would fire",
            )
    finally:
        sandbox.clear_faults()
    for uuid in uuids:
        sandbox.set_opportunity(uuid, forecast_category="lost")
    runs.outcome(DAG_ID, run_id)
