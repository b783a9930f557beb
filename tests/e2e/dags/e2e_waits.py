"""Deferred waits: mapped ones, and one for many opportunities."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_chartmogul.sensors.opportunity import OpportunityForecastCategorySensor

PARAMS = {"opportunity_uuids": Param([], type="array")}


@task
def opportunity_uuids(params: Any = None) -> list[str]:
    return list(params["opportunity_uuids"])


with DAG("e2e_mapped_waits", schedule=None, params=PARAMS):
    OpportunityForecastCategorySensor.partial(
        task_id="wait", target_categories=["won", "lost"], deferrable=True, retries=0
    ).expand(opportunity_uuid=opportunity_uuids())

with DAG("e2e_one_wait", schedule=None, params=PARAMS):
    OpportunityForecastCategorySensor(
        task_id="wait",
        opportunity_uuids=opportunity_uuids(),
        target_categories=["won", "lost"],
        deferrable=True,
        retries=0,
    )
