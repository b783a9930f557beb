"""
Start a run when opportunities change their stage.

The watcher of the asset `chartmogul_stage_changes` polls the opportunities of the pipeline `New Business` every five
minutes. Each change of a stage, and each new opportunity, is an asset event with the previous and the current stage,
which starts this DAG. Airflow may put several events into one run, so `describe` reads them all.

The events hold both stages, so the DAG retrieves nothing. `updated_at` distinguishes a repeated event from a new one.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, AssetWatcher, dag, task

from airflow_provider_chartmogul.triggers.opportunity import OpportunityEventTrigger

STAGE_CHANGES = Asset(
    "chartmogul_stage_changes",
    watchers=[
        AssetWatcher(
            name="stage_changes",
            trigger=OpportunityEventTrigger(
                events=["created", "changed"],
                fields="pipeline_stage",
                filters={"pipeline": "New Business"},
                poll_interval=300,
                name="stage_changes",
            ),
        )
    ],
)


@dag(
    schedule=[STAGE_CHANGES],
    description="Describe opportunities that moved to another stage",
    tags=["chartmogul"],
    doc_md=__doc__,
)
def example_on_stage_change() -> None:
    @task
    def describe(triggering_asset_events: Any = None) -> list[str]:
        payloads = [event.extra["payload"] for event in triggering_asset_events[STAGE_CHANGES]]
        stages = {
            (payload["opportunity_uuid"], payload["updated_at"]): payload["changes"]["pipeline_stage"]
            for payload in payloads
        }
        return [
            f"{opportunity_uuid}: {stage['previous'] or 'new'} -> {stage['current']}"
            for (opportunity_uuid, _), stage in stages.items()
        ]

    describe()


example_on_stage_change()
