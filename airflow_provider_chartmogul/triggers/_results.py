"""The events that end a wait."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from airflow.triggers import base
from airflow.triggers.base import TaskSuccessEvent, TriggerEvent


class WaitEnd(TriggerEvent):
    """The event that ends a wait, whose log line in Airflow has no personal data."""

    def __repr__(self) -> str:
        payload = self.payload
        if isinstance(payload, dict) and isinstance(payload.get("opportunity"), dict):
            opportunity = payload["opportunity"]
            payload = {name: opportunity.get(name) for name in ("uuid", "forecast_category", "updated_at")}
        elif isinstance(payload, dict) and isinstance(payload.get("values"), dict):
            payload = {"opportunities": len(payload["values"])}
        return f"TriggerEvent<{payload!r}>"

    __str__ = __repr__


async def success_with(result: Any, ti: Any) -> TaskSuccessEvent:
    """
    Return the event that lets a task succeed without a worker, with the task's result stored.

    :param result: the value for XCom
    :param ti: the task instance; None outside a triggerer
    """
    # Imported here, since they import many of Airflow's database models.
    from airflow.providers.common.compat.sdk import XCOM_RETURN_KEY, XCom
    from asgiref.sync import sync_to_async

    if ti is None or not hasattr(base, "BaseEventTrigger"):  # Airflow 2.11
        return TaskSuccessEvent(xcoms={XCOM_RETURN_KEY: result})
    # Airflow 3 stores the event's own XComs as JSON within JSON, and tasks that pull them get a string.
    await sync_to_async(XCom.set)(
        XCOM_RETURN_KEY,
        result,
        dag_id=ti.dag_id,
        task_id=ti.task_id,
        run_id=ti.run_id,
        map_index=ti.map_index,
    )
    return TaskSuccessEvent()


def retrieve_opportunities(chartmogul_conn_id: str, uuids: list[str]) -> list[dict[str, Any]]:
    """Return the JSON of many opportunities, in the order given."""
    from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook

    with closing(ChartMogulHook(chartmogul_conn_id)) as hook:
        return hook.retrieve_opportunities(uuids) if uuids else []
