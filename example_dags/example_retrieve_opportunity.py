"""
Pull one opportunity into a DAG run.

`retrieve_opportunity` retrieves one opportunity from ChartMogul CRM and returns its JSON, as received, to XCom.
`describe` turns the JSON into a typed `Opportunity`, in which dates are dates and categories are enum members.

Trigger it with the UUID of one of your opportunities; the default is one that the sandbox
(`python -m airflow_provider_chartmogul.sandbox`) always has.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import Param, dag, task

from airflow_provider_chartmogul.operators.opportunity import RetrieveOpportunityOperator
from airflow_provider_chartmogul.opportunity import Opportunity


@dag(
    schedule=None,
    description="Retrieve one opportunity and describe it",
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
def example_retrieve_opportunity() -> None:
    retrieve_opportunity = RetrieveOpportunityOperator(
        task_id="retrieve_opportunity",
        opportunity_uuid="{{ params.opportunity_uuid }}",
    )

    @task
    def describe(payload: dict[str, Any]) -> str:
        opportunity = Opportunity.from_json(payload)
        return (
            f"{opportunity.pipeline_stage}, {opportunity.win_likelihood} % likely to be won, "
            f"expected to close on {opportunity.estimated_close_date}"
        )

    describe(retrieve_opportunity.output)


example_retrieve_opportunity()
