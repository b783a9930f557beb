"""Sensors that wait in the triggerer."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    BaseSensorOperator,
    TaskDeferred,
)

from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID as UUID
from airflow_provider_chartmogul.sensors.opportunity import OpportunityForecastCategorySensor


def sensor(**options: Any) -> OpportunityForecastCategorySensor:
    settings = {
        "task_id": "wait",
        "opportunity_uuid": UUID,
        "target_categories": "won",
        "poke_interval": 0.1,
        "timeout": 60,
        "deferrable": True,
    }
    return OpportunityForecastCategorySensor(**{**settings, **options})


def dag_with(waiting: dict[str, Any]) -> DAG:
    with DAG("waits", start_date=datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), schedule=None) as dag:
        sensor(**waiting)
    return dag


def deferral_of(waiting: BaseSensorOperator) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as raised:
        waiting.execute({})
    return raised.value


def kwargs_of(deferral: TaskDeferred) -> dict[str, Any]:
    kwargs: dict[str, Any]
    classpath, kwargs = deferral.trigger.serialize()
    assert classpath == "airflow_provider_chartmogul.triggers.opportunity.OpportunityForecastCategoryTrigger"
    return kwargs
