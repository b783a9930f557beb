"""
Wait until every open opportunity of a pipeline is decided.

`list_opportunities` lists the pipeline, `choose_open` takes those that are neither won nor lost, and `wait` runs once
for each of them. All deferred waits of a triggerer share their requests, so that a thousand cost hardly more than one;
with `end_from_trigger=True` they end there as well, without returning to a worker. `report` tells what was won.
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

    wait = OpportunityForecastCategorySensor.partial(
        task_id="wait",
        target_categories=DECIDED,
        deferrable=True,
        end_from_trigger=True,
        timeout=timedelta(days=90),
    ).expand(opportunity_uuid=choose_open(list_opportunities.output))

    @task
    def report(payloads: list[dict[str, Any]]) -> dict[str, int]:
        won: Counter[str] = Counter()
        for opportunity in map(Opportunity.from_json, payloads):
            if opportunity.forecast_category == ForecastCategory.WON:
                won[opportunity.currency or "unknown"] += opportunity.amount_in_cents or 0
        return dict(won)

    report(wait.output)


example_wait_for_pipeline()
