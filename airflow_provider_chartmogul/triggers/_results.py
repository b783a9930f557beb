"""The events that end a wait."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import closing
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from airflow.triggers import base
from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

# Of a connection, one at a time, since each has a rate limit of its own.
_retrievals: WeakKeyDictionary[asyncio.AbstractEventLoop, defaultdict[str, asyncio.Lock]] = WeakKeyDictionary()


class WaitEnd(TriggerEvent):
    """The event that ends a wait, whose log line in Airflow has no personal data."""

    def __repr__(self) -> str:
        payload = self.payload
        if opportunity := payload.get("opportunity"):
            payload = {name: opportunity.get(name) for name in ("uuid", "forecast_category", "updated_at")}
        elif "values" in payload:
            payload = {"opportunities": len(payload["values"])}
        return f"TriggerEvent<{payload!r}>"

    __str__ = __repr__


async def store_result(result: Any, ti: Any) -> TaskSuccessEvent:
    """
    Store a task's result, and return the event that lets the task succeed without a worker.

    :param result: the value for XCom
    :param ti: the task instance; None outside a triggerer
    """
    # Imported here, since they import many of Airflow's database models.
    from airflow.providers.common.compat.sdk import XCOM_RETURN_KEY, XCom

    from airflow_provider_chartmogul._polling.daemon_threads import run_with_airflow

    if ti is None or not hasattr(base, "BaseEventTrigger"):  # Airflow 2.11
        return TaskSuccessEvent(xcoms={XCOM_RETURN_KEY: result})
    # Airflow 3 stores the event's own XComs as JSON within JSON, and tasks that pull them get a string.
    ids = {name: getattr(ti, name) for name in ("dag_id", "task_id", "run_id", "map_index")}
    await run_with_airflow(partial(XCom.set, XCOM_RETURN_KEY, result, **ids))
    return TaskSuccessEvent()


async def retrieve_opportunities(chartmogul_conn_id: str, uuids: list[str]) -> list[dict[str, Any]]:
    """Return the JSON of many opportunities, in the order given."""
    from airflow_provider_chartmogul._polling.daemon_threads import run_with_airflow

    locks = _retrievals.setdefault(asyncio.get_running_loop(), defaultdict(asyncio.Lock))
    async with locks[chartmogul_conn_id]:
        return await run_with_airflow(_retrieve_opportunities, chartmogul_conn_id, uuids)


def _retrieve_opportunities(chartmogul_conn_id: str, uuids: list[str]) -> list[dict[str, Any]]:
    from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook

    with closing(ChartMogulHook(chartmogul_conn_id)) as hook:
        return hook.retrieve_opportunities(uuids) if uuids else []
