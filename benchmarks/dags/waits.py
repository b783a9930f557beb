"""The same waits in every mode of a sensor, in one task and mapped; and retrieves likewise."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_chartmogul.operators.opportunity import RetrieveOpportunitiesOperator, RetrieveOpportunityOperator
from airflow_provider_chartmogul.sandbox import Sandbox
from airflow_provider_chartmogul.sensors.opportunity import OpportunityForecastCategorySensor

WAITS, RETRIEVES, MOST = 40, 200, 1_000
MODES: dict[str, dict[str, Any]] = {
    "poke": {"mode": "poke"},
    "reschedule": {"mode": "reschedule"},
    "deferrable": {"deferrable": True},
    "ended_in_the_trigger": {"deferrable": True, "end_from_trigger": True},
    "started_and_ended_in_the_trigger": {"deferrable": True, "start_from_trigger": True, "end_from_trigger": True},
}
# On a slow machine Airflow takes a task for lost that it reschedules faster than it takes notes.
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=1)}
# Those of the sandbox with as many.
UUIDS = [opportunity["uuid"] for opportunity in Sandbox(opportunities=MOST).opportunities]

for name, arguments in MODES.items():
    with DAG(f"wait_{name}", schedule=None, max_active_tasks=WAITS, default_args=RETRIES):
        for number, uuid in enumerate(UUIDS[:WAITS]):
            OpportunityForecastCategorySensor(
                task_id=f"wait_{number}", opportunity_uuid=uuid, target_categories="won", poke_interval=5, **arguments
            )

with DAG("do_nothing", schedule=None, max_active_tasks=WAITS, default_args=RETRIES):

    @task
    def do_nothing() -> None:
        pass

    for _ in range(WAITS):
        do_nothing()

with DAG("wait_in_one_task", schedule=None, default_args=RETRIES):
    OpportunityForecastCategorySensor(
        task_id="wait", opportunity_uuids=UUIDS, target_categories="won", poke_interval=5, deferrable=True
    )

with DAG("wait_mapped", schedule=None, max_active_tasks=WAITS, default_args=RETRIES):
    OpportunityForecastCategorySensor.partial(
        task_id="wait", target_categories="won", poke_interval=5, deferrable=True
    ).expand(opportunity_uuid=UUIDS)

with DAG("retrieve_in_one_task", schedule=None, default_args=RETRIES):
    RetrieveOpportunitiesOperator(task_id="retrieve", opportunity_uuids=UUIDS[:RETRIEVES])

with DAG("retrieve_mapped", schedule=None, max_active_tasks=WAITS, default_args=RETRIES):
    RetrieveOpportunityOperator.partial(task_id="retrieve").expand(opportunity_uuid=UUIDS[:RETRIEVES])
