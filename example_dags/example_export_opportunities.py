"""
Land all opportunities in object storage, every night.

`export_opportunities` writes one JSON object a line, as ChartMogul sent it, into a folder with the date of the run.
The file appears when it is complete: a task that fails half-way leaves nothing behind, and one that runs again
overwrites what is there. `tell` shows what such a task returns.

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
    tags=["chartmogul"],
    doc_md=__doc__,
)
def example_export_opportunities() -> None:
    # A run that was triggered by hand may have no logical date.
    export_opportunities = ChartMogulToObjectStorageOperator(
        task_id="export_opportunities",
        path="{{ params.folder }}/dt={{ (dag_run.logical_date or dag_run.start_date) | ds }}/opportunities.jsonl.gz",
        retries=2,
    )

    @task
    def tell(exported: dict[str, Any]) -> str:
        return f"{exported['rows']} opportunities in {exported['path']}"

    tell(export_opportunities.output)


example_export_opportunities()
