"""What the watchers of an account tell of errors."""

from __future__ import annotations

import asyncio

from airflow_provider_chartmogul._polling.change_detector import Overview
from airflow_provider_chartmogul._polling.snapshot_store import ForecastMemory
from airflow_provider_chartmogul.exceptions import ChartMogulUnavailableError

ERROR = ChartMogulUnavailableError("down", method="GET", path="/v1/opportunities", status=503)


def test_each_outage_is_told_of_once_also_when_the_account_is_empty() -> None:
    async def test() -> None:
        overview = Overview(
            ForecastMemory(None, {}), opportunity_uuids=None, chartmogul_conn_id="chartmogul_default", interval=60
        )
        for _ in range(2):
            assert overview.fail(ERROR, None)
            assert not overview.fail(ERROR, None)
            overview.end_round()

    asyncio.run(test())
