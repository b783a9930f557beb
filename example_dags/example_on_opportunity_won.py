"""
Run because an opportunity was won, rather than wait for it.

The watcher of the asset `chartmogul_opportunities_won` looks at all opportunities once a minute, and each one
that becomes won makes an asset event, which starts this DAG. Airflow may fold several events into one run, so
`retrieve_opportunity` is mapped over the events of the run.

Events are delivered at least once. Where `celebrate` must act exactly once for each change, keep
`opportunity_uuid` and `updated_at` of what it has acted on, and leave out what is there already.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, AssetWatcher, dag, task

from airflow_provider_chartmogul.operators.opportunity import RetrieveOpportunityOperator
from airflow_provider_chartmogul.opportunity import Opportunity
from airflow_provider_chartmogul.triggers.opportunity import OpportunityForecastCategoryEventTrigger

OPPORTUNITIES_WON = Asset(
    "chartmogul_opportunities_won",
    watchers=[
        AssetWatcher(
            name="opportunity_won",
            trigger=OpportunityForecastCategoryEventTrigger(target_categories="won"),
        )
    ],
)


@dag(schedule=[OPPORTUNITIES_WON], tags=["chartmogul"], doc_md=__doc__)
def example_on_opportunity_won() -> None:
    @task
    def opportunity_uuids(triggering_asset_events: Any = None) -> list[str]:
        events = triggering_asset_events[OPPORTUNITIES_WON]
        return sorted({event.extra["payload"]["opportunity_uuid"] for event in events})

    retrieve_opportunity = RetrieveOpportunityOperator.partial(
        task_id="retrieve_opportunity",
    ).expand(opportunity_uuid=opportunity_uuids())

    @task
    def celebrate(payload: dict[str, Any]) -> str:
        opportunity = Opportunity.from_json(payload)
        return f"{opportunity.uuid} is {opportunity.forecast_category}"

    celebrate.expand(payload=retrieve_opportunity.output)


example_on_opportunity_won()
