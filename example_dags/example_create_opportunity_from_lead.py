"""
Create an opportunity for each customer whose use of the product says that they are ready to buy.

`find_leads` stands for a query of your product's database. `create_opportunity` runs once for each lead, and creates
each opportunity once, even if a connection breaks or a worker dies and Airflow tries again: the custom attribute
`airflow_key` identifies the opportunity of each task. Define it in ChartMogul first, for opportunities and as text.

Trigger it with the email address of a user of your ChartMogul account who has a CRM seat.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import Param, dag, task

from airflow_provider_chartmogul.operators.opportunity import CreateOpportunityOperator

PRICE_OF_A_SEAT_IN_CENTS = 2_500

# Made of a date that stays the same when the run is cleared; Airflow 2 has no run_after.
CLOSE_DATE = "{{ macros.ds_add(dag_run.run_after | default(dag_run.data_interval_end) | ds, 30) }}"


@dag(
    schedule=None,
    description="Create an opportunity for each customer who is ready to buy",
    params={
        "sales_rep": Param("owner@example.com", type="string", title="Email address of the opportunities' owner"),
        "seats": Param(10, type="integer", minimum=1, title="From how many active seats on a customer is a lead"),
    },
    tags=["chartmogul"],
    doc_md=__doc__,
)
def example_create_opportunity_from_lead() -> None:
    @task(show_return_value_in_logs=False)  # the leads hold the owner's address
    def find_leads(threshold: str, sales_rep: str, close_date: str) -> list[dict[str, Any]]:
        active_seats = {
            "cus_f466e33d-ff2b-4a11-8f85-417eb02157a7": 14,
            "cus_0b7f4b7e-5a0c-4c5a-9d0e-6d1d2f0a9b11": 3,
            "cus_3c1e8f52-7f5d-4b53-8a47-02a9c7c9f6de": 25,
        }
        return [
            {
                "customer_uuid": customer_uuid,
                "owner": sales_rep,
                "pipeline": "New Business",
                "pipeline_stage": "Discovery",
                "estimated_close_date": close_date,
                "amount_in_cents": seats * PRICE_OF_A_SEAT_IN_CENTS,
                "currency": "USD",
                "custom": {"source": "product", "seats": seats},
            }
            for customer_uuid, seats in active_seats.items()
            if seats >= int(threshold)
        ]

    CreateOpportunityOperator.partial(
        task_id="create_opportunity",
        idempotency_attribute="airflow_key",
        retries=3,
    ).expand(opportunity=find_leads("{{ params.seats }}", "{{ params.sales_rep }}", CLOSE_DATE))


example_create_opportunity_from_lead()
