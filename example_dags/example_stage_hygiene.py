"""
Postpone opportunities that are overdue and still open.

`list_due` lists the opportunities whose estimated close date is before today, `choose_open` selects those that are
neither won nor lost, and `postpone` runs once for each of them and moves the estimated close date to two weeks from
today. It changes no other field.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import Param, dag, task

from airflow_provider_chartmogul.operators.opportunity import ListOpportunitiesOperator, UpdateOpportunityOperator
from airflow_provider_chartmogul.opportunity import ForecastCategory, Opportunity


@dag(
    schedule=None,
    description="Postpone opportunities that are overdue and still open",
    params={"pipeline": Param("New Business", type="string", title="Pipeline")},
    tags=["chartmogul"],
    doc_md=__doc__,
)
def example_stage_hygiene() -> None:
    list_due = ListOpportunitiesOperator(
        task_id="list_due",
        filters={
            "pipeline": "{{ params.pipeline }}",
            "estimated_close_date_on_or_before": "{{ macros.ds_add(dag_run.start_date | ds, -1) }}",
        },
        max_records=500,
    )

    @task
    def choose_open(payloads: list[dict[str, Any]]) -> list[str]:
        closed = (ForecastCategory.WON, ForecastCategory.LOST)
        opportunities = [Opportunity.from_json(payload) for payload in payloads]
        return [opportunity.uuid for opportunity in opportunities if opportunity.forecast_category not in closed]

    UpdateOpportunityOperator.partial(
        task_id="postpone",
        changes={"estimated_close_date": "{{ macros.ds_add(dag_run.start_date | ds, 14) }}"},
        max_active_tis_per_dag=5,
    ).expand(opportunity_uuid=choose_open(list_due.output))


example_stage_hygiene()
