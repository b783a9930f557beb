"""Sensors that wait on a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    DAG,
)

from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID
from airflow_provider_chartmogul.sensors.opportunity import OpportunityForecastCategorySensor

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox

UUID = EXAMPLE_OPPORTUNITY_UUID


def sensor(**options: Any) -> OpportunityForecastCategorySensor:
    options = {"task_id": "wait", "opportunity_uuid": UUID, "poke_interval": 0.01, "timeout": 60, **options}
    return OpportunityForecastCategorySensor(**options)


def dag_with(**options: Any) -> DAG:
    dag_options = {name: options.pop(name) for name in ("params", "render_template_as_native_obj") if name in options}
    with DAG("dag", schedule=None, **dag_options) as dag:
        sensor(**options)
    return dag


def move(sandbox: Sandbox, category: Any) -> dict[str, Any]:
    return sandbox.set_opportunity(UUID, forecast_category=category)
