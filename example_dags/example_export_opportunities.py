"""
Land all opportunities in object storage, every night.

`export_opportunities` writes one JSON object a line, in ChartMogul's own words, into a folder with the date on which it
ran. That is not the run's date: ChartMogul only knows the present, so a run that is cleared next week, or a backfill,
writes a new snapshot and leaves the old ones alone. `tell` shows the result of such a task.

The folder is a parameter of the DAG: a local one as it stands; in S3 it would be `s3://aws_default@bucket/chartmogul`,
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
    def tell(exported: dict[str, Any]) -> str:
        return f"{exported['rows']} opportunities in {exported['path']}"

    tell(export_opportunities.output)


example_export_opportunities()
