"""
Export all opportunities to object storage, every night.

`export_opportunities` writes each opportunity as a line of JSON, as ChartMogul sends it, into a folder with the date on
which the task ran. That is not the run's date: ChartMogul has the present state only, so a run that is cleared next
week, or a backfill, writes a new snapshot and leaves the old ones unchanged. `report` shows a use of the task's result.

The folder is a parameter of the DAG: a local one by default; in S3, for example, `s3://aws_default@bucket/chartmogul`,
where `aws_default` is an Airflow connection.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import Param, dag, task

from airflow_provider_chartmogul.transfers.object_storage import ChartMogulToObjectStorageOperator


@dag(
    schedule="0 3 * * *",
    start_date=pendulum.datetime(2026, 1, 1),
    catchup=False,
    params={"folder": Param("file:///tmp/chartmogul", type="string", title="Folder to write to")},
    description="Land all opportunities in object storage, every night",
    tags=["chartmogul"],
    doc_md=__doc__,
)
def example_export_opportunities() -> None:
    export_opportunities = ChartMogulToObjectStorageOperator(
        task_id="export_opportunities",
        # Only in `airflow dags test` of Airflow 2 a task has no start date.
        path="{{ params.folder }}/dt={{ (ti.start_date or dag_run.start_date) | ds }}/opportunities.jsonl.gz",
        retries=2,
    )

    @task
    def report(exported: dict[str, Any]) -> str:
        return f"{exported['rows']} opportunities in {exported['path']}"

    report(export_opportunities.output)


example_export_opportunities()
