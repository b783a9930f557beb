"""OpenLineage's listener, in an environment with its provider, emits the datasets of an export."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_chartmogul.sandbox import Sandbox
from scripts.isolation import airflow_command, airflow_environment, write_airflow_config

if TYPE_CHECKING:
    from pathlib import Path

DAG_FILE = """
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_chartmogul.transfers.object_storage import ChartMogulToObjectStorageOperator

with DAG("lineage", schedule=None):
    ChartMogulToObjectStorageOperator(task_id="export", path={path!r}, endpoint={endpoint!r})
"""


def run(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(airflow_command(*arguments), env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout + done.stderr


def events_of(tmp_path: Path, path: str, endpoint: str) -> tuple[list[dict[str, Any]], str]:
    """Run a DAG that exports a list; return OpenLineage's events about the task, and the sandbox's address."""
    home, events = tmp_path / "airflow", tmp_path / "events.jsonl"
    write_airflow_config(
        home,
        CORE__DAGS_FOLDER=str(home / "dags"),
        OPENLINEAGE__NAMESPACE="tests",
        OPENLINEAGE__TRANSPORT=json.dumps({"type": "file", "log_file_path": str(events), "append": True}),
    )
    (home / "dags").mkdir()
    (home / "dags" / "lineage.py").write_text(DAG_FILE.format(path=path, endpoint=endpoint))
    with Sandbox(opportunities=201) as sandbox:
        connection = {"AIRFLOW_CONN_CHARTMOGUL_DEFAULT": sandbox.connection_json}
        environment = airflow_environment(home) | connection
        output = run(environment, "db", "migrate") + run(environment, "dags", "test", "lineage")
    assert events.exists(), output
    # The transport of some versions begins a line after an event, others before it.
    found = [json.loads(line) for line in events.read_text().splitlines() if line]
    return [event for event in found if event["job"]["name"] == "lineage.export"], urlsplit(sandbox.url).netloc


def datasets(event: dict[str, Any], kind: str) -> list[tuple[str, str]]:
    return [(dataset["namespace"], dataset["name"]) for dataset in event.get(kind) or []]


def test_an_export_shows_the_list_as_input_and_the_file_as_output_once_each(tmp_path: Path) -> None:
    path = tmp_path / "exported" / "ö.jsonl"
    events, host = events_of(tmp_path, f"file://{path}", "opportunities")
    assert len(path.read_text().splitlines()) == 201
    (complete,) = [event for event in events if event["eventType"] == "COMPLETE"]
    assert datasets(complete, "inputs") == [(f"chartmogul://{host}", "chartmogul_default/opportunities")]
    assert datasets(complete, "outputs") == [("file", str(path).replace("ö", "%C3%B6"))]


def test_an_export_that_fails_shows_nothing_written(tmp_path: Path) -> None:
    events, _ = events_of(tmp_path, f"file://{tmp_path}/exported/o.jsonl", "nothing_like_that")
    (failed,) = [event for event in events if event["eventType"] == "FAIL"]
    assert datasets(failed, "outputs") == []
