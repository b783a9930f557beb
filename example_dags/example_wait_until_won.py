"""
Wait until an opportunity is won, then act on it.

`retrieve_opportunity` keeps the opportunity as it is today. `wait_until_won` polls its forecast category every five
minutes, for up to 30 days; with `deferrable=True` the triggerer does that, for all waits together, and no worker slot
is occupied. If the opportunity is lost, the sensor fails immediately, without retries. `announce` runs once the
opportunity is won, and compares its category and amount then and now.

Trigger it with the UUID of one of your opportunities; the default is one that the sandbox
(`python -m airflow_provider_chartmogul.sandbox`) always has.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import Param, dag, task

from airflow_provider_chartmogul.operators.opportunity import RetrieveOpportunityOperator
from airflow_provider_chartmogul.opportunity import Opportunity
from airflow_provider_chartmogul.sensors.opportunity import OpportunityForecastCategorySensor


@dag(
    schedule=None,
    description="Wait until an opportunity is won, then act on it",
    params={
        "opportunity_uuid": Param(
            "4ee13ca4-e7fe-11ee-fa7f-f303abf41acc",
            type="string",
            title="Opportunity UUID",
        ),
    },
    tags=["chartmogul"],
    doc_md=__doc__,
)
def example_wait_until_won() -> None:
    retrieve_opportunity = RetrieveOpportunityOperator(
        task_id="retrieve_opportunity",
        opportunity_uuid="{{ params.opportunity_uuid }}",
    )

    wait_until_won = OpportunityForecastCategorySensor(
        task_id="wait_until_won",
        opportunity_uuid="{{ params.opportunity_uuid }}",
        target_categories="won",
        failure_categories="lost",
        deferrable=True,
        poke_interval=timedelta(minutes=5),
        timeout=timedelta(days=30),
    )

    @task
    def announce(before: dict[str, Any], after: dict[str, Any]) -> str:
        opportunity = Opportunity.from_json(after)
        previous_category = Opportunity.from_json(before).forecast_category
        amount = (opportunity.amount_in_cents or 0) / 100
        return f"{amount:,.2f} {opportunity.currency}: {previous_category} -> {opportunity.forecast_category}"

    retrieve_opportunity >> wait_until_won
    announce(before=retrieve_opportunity.output, after=wait_until_won.output)


example_wait_until_won()
