"""
Start a run when an opportunity is won.

The watcher of the asset `chartmogul_opportunities_won` polls all opportunities once a minute. Each one that becomes
won is an asset event, which starts this DAG. Airflow may put several events into one run, so `retrieve_opportunities`
retrieves them all.

Events are delivered at least once. Where `celebrate` must act exactly once for each change, keep `opportunity_uuid`
and `updated_at` of the events it has acted on, and leave out those that are there already.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, AssetWatcher, dag, task

from airflow_provider_chartmogul.operators.opportunity import RetrieveOpportunitiesOperator
from airflow_provider_chartmogul.opportunity import Opportunity
from airflow_provider_chartmogul.triggers.opportunity import OpportunityForecastCategoryEventTrigger

OPPORTUNITIES_WON = Asset(
    "chartmogul_opportunities_won",
    watchers=[
        AssetWatcher(
            name="opportunity_won",
            trigger=OpportunityForecastCategoryEventTrigger(target_categories="won", name="opportunity_won"),
        )
    ],
)


@dag(
    schedule=[OPPORTUNITIES_WON],
    description="Act on opportunities that were won",
    tags=["chartmogul"],
    doc_md=__doc__,
)
def example_on_opportunity_won() -> None:
    @task
    def opportunity_uuids(triggering_asset_events: Any = None) -> list[str]:
        events = triggering_asset_events[OPPORTUNITIES_WON]
        return sorted({event.extra["payload"]["opportunity_uuid"] for event in events})

    retrieve_opportunities = RetrieveOpportunitiesOperator(
        task_id="retrieve_opportunities",
        opportunity_uuids=opportunity_uuids(),
    )

    @task
    def celebrate(payloads: list[dict[str, Any]]) -> list[str]:
        opportunities = [Opportunity.from_json(payload) for payload in payloads]
        return [f"{opportunity.uuid} is {opportunity.forecast_category}" for opportunity in opportunities]

    celebrate(retrieve_opportunities.output)


example_on_opportunity_won()
