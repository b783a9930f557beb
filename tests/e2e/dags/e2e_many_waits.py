"""Two hundred waits at once, for the opportunities that the run is given."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import Param, dag, task

from airflow_provider_chartmogul.sensors.opportunity import OpportunityForecastCategorySensor


@dag(schedule=None, params={"opportunity_uuids": Param([], type="array")}, max_active_tasks=200)
def e2e_many_waits() -> None:
    @task
    def opportunity_uuids(params: dict[str, Any] | None = None) -> list[str]:
        return list(params["opportunity_uuids"]) if params else []

    OpportunityForecastCategorySensor.partial(
        task_id="wait",
        target_categories="lost",
        deferrable=True,
        retries=0,
    ).expand(opportunity_uuid=opportunity_uuids())


e2e_many_waits()
