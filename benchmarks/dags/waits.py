"""The same waits in every mode that a sensor has, a DAG for each."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_chartmogul.sandbox import Sandbox
from airflow_provider_chartmogul.sensors.opportunity import OpportunityForecastCategorySensor

WAITS = 40
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
UUIDS = [opportunity["uuid"] for opportunity in Sandbox(opportunities=WAITS).opportunities]

for name, arguments in MODES.items():
    with DAG(f"wait_{name}", schedule=None, max_active_tasks=WAITS, default_args=RETRIES):
        for number, uuid in enumerate(UUIDS):
            OpportunityForecastCategorySensor(
                task_id=f"wait_{number}", opportunity_uuid=uuid, target_categories="won", poke_interval=5, **arguments
            )

with DAG("do_nothing", schedule=None, max_active_tasks=WAITS, default_args=RETRIES):

    @task
    def do_nothing() -> None:
        pass

    for _ in range(WAITS):
        do_nothing()
