"""Waits that start and end in the triggerer."""

from __future__ import annotations

from airflow.sdk import Param, dag

from airflow_provider_chartmogul.sensors.opportunity import OpportunityForecastCategorySensor


@dag(schedule=None, params={"opportunity_uuid": Param("", type="string")})
def e2e_no_worker() -> None:
    for number in range(40):
        OpportunityForecastCategorySensor(
            task_id=f"wait_{number}",
            opportunity_uuid="{{ params.opportunity_uuid }}",
            target_categories="committed",
            deferrable=True,
            start_from_trigger=True,
            end_from_trigger=True,
        )


e2e_no_worker()
