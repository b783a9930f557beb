"""
Wait until every open opportunity of a pipeline is decided, in one task.

`list_opportunities` lists the pipeline, `choose_open` takes the opportunities that are neither won nor lost, and `wait`
waits in the triggerer until each of them was won or lost: one task and one trigger, also for thousands of
opportunities. `report` sums up the amounts that were won, by currency.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import Param, dag, task

from airflow_provider_chartmogul.operators.opportunity import ListOpportunitiesOperator
from airflow_provider_chartmogul.opportunity import ForecastCategory, Opportunity
from airflow_provider_chartmogul.sensors.opportunity import OpportunityForecastCategorySensor

DECIDED = (ForecastCategory.WON, ForecastCategory.LOST)


@dag(
    schedule=None,
    description="Wait until every open opportunity of a pipeline is won or lost",
    params={"pipeline": Param("New Business", type="string", title="Pipeline")},
    tags=["chartmogul"],
    doc_md=__doc__,
)
def example_wait_for_pipeline() -> None:
    list_opportunities = ListOpportunitiesOperator(
        task_id="list_opportunities", filters={"pipeline": "{{ params.pipeline }}"}
    )

    @task
    def choose_open(payloads: list[dict[str, Any]]) -> list[str]:
        opportunities = [Opportunity.from_json(payload) for payload in payloads]
        return [opportunity.uuid for opportunity in opportunities if opportunity.forecast_category not in DECIDED]

    wait = OpportunityForecastCategorySensor(
        task_id="wait",
        opportunity_uuids=choose_open(list_opportunities.output),
        wait_for="all",
        target_categories=DECIDED,
        deferrable=True,
        poke_interval=timedelta(minutes=5),
        timeout=timedelta(days=90),
    )

    @task
    def report(payloads: list[dict[str, Any]]) -> dict[str, int]:
        won: Counter[str] = Counter()
        for opportunity in map(Opportunity.from_json, payloads):
            if opportunity.forecast_category == ForecastCategory.WON:
                won[opportunity.currency or "unknown"] += opportunity.amount_in_cents or 0
        return dict(won)

    report(wait.output)


example_wait_for_pipeline()
