"""The DAGs of users on a cluster: mapped waits, one wait for many, a DAG that an asset starts, and creations."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, AssetWatcher, Param, dag, task

from airflow_provider_chartmogul.operators.opportunity import CreateOpportunityOperator
from airflow_provider_chartmogul.sensors.opportunity import OpportunityForecastCategorySensor
from airflow_provider_chartmogul.triggers.opportunity import OpportunityForecastCategoryEventTrigger

INTERVAL = 10.0
# Enough for a minute in which each try fails immediately, since the connection cannot be looked up.
RETRIES: dict[str, Any] = {"retries": 20, "retry_delay": timedelta(seconds=5)}

OPPORTUNITY = {
    "customer_uuid": "cus_f466e33d-ff2b-4a11-8f85-417eb02157a7",
    "owner": "sales@example.com",
    "pipeline": "New Business",
    "pipeline_stage": "Discovery",
    "estimated_close_date": "2027-03-31",
    "amount_in_cents": 35_000,
    "currency": "USD",
}

WON = Asset(
    "outage_won",
    watchers=[
        AssetWatcher(
            name="won",
            trigger=OpportunityForecastCategoryEventTrigger(target_categories="won", poll_interval=INTERVAL),
        )
    ],
)


@dag(schedule=None, params={"opportunity_uuids": Param([], type="array")}, max_active_tasks=200, default_args=RETRIES)
def outage_waits() -> None:
    @task
    def opportunity_uuids(params: Any = None) -> list[str]:
        return list(params["opportunity_uuids"])

    OpportunityForecastCategorySensor.partial(
        task_id="wait",
        target_categories="lost",
        deferrable=True,
        poke_interval=INTERVAL,
    ).expand(opportunity_uuid=opportunity_uuids())


@dag(schedule=None, params={"opportunity_uuids": Param([], type="array")}, default_args=RETRIES)
def outage_many() -> None:
    @task
    def opportunity_uuids(params: Any = None) -> list[str]:
        return list(params["opportunity_uuids"])

    OpportunityForecastCategorySensor(
        task_id="wait_for_many",
        opportunity_uuids=opportunity_uuids(),
        target_categories=["lost", "won"],
        deferrable=True,
        poke_interval=INTERVAL,
    )


@dag(schedule=[WON], default_args=RETRIES, max_active_runs=4)
def outage_won() -> None:
    @task
    def changes(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
        return [event.extra["payload"] for event in triggering_asset_events[WON]]

    changes()


@dag(schedule=None, params={"leads": Param([], type="array")}, default_args=RETRIES)
def outage_creations() -> None:
    @task(show_return_value_in_logs=False)  # it holds the owner's address
    def opportunities(params: Any = None) -> list[dict[str, Any]]:
        return [{**OPPORTUNITY, "custom": {"lead": lead}} for lead in params["leads"]]

    CreateOpportunityOperator.partial(task_id="create", idempotency_attribute="airflow_key").expand(
        opportunity=opportunities()
    )


outage_waits()
outage_many()
outage_won()
outage_creations()
