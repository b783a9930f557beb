"""The lineage that an export reports to Airflow; tests/e2e_lineage tests OpenLineage's events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_chartmogul.exceptions import ChartMogulError
from airflow_provider_chartmogul.sandbox import Fault
from airflow_provider_chartmogul.transfers._lineage import sanitize_uri, uri_of
from airflow_provider_chartmogul.transfers.object_storage import ChartMogulToObjectStorageOperator

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Logs


class Collector:
    """Airflow's collector, which is a no-op without a reader."""

    def __init__(self) -> None:
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.error: Exception | None = None

    def add_input_asset(self, _context: object, uri: str) -> None:
        if self.error:
            raise self.error
        self.inputs.append(uri)

    def add_output_asset(self, _context: object, uri: str) -> None:
        self.outputs.append(uri)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Collector:
    collector = Collector()
    monkeypatch.setattr("airflow.providers.common.compat.lineage.hook.get_hook_lineage_collector", lambda: collector)
    return collector


def export(path: Path, **options: Any) -> None:
    ChartMogulToObjectStorageOperator(task_id="export", path=f"file://{path}", **options).execute({})


def test_a_complete_export_reports_one_input_and_one_output(
    sandbox: Sandbox, tmp_path: Path, collector: Collector
) -> None:
    export(tmp_path / "o.jsonl")
    assert collector.inputs == [f"chartmogul://{urlsplit(sandbox.url).netloc}/chartmogul_default/opportunities"]
    assert collector.outputs == [f"file://{tmp_path}/o.jsonl"]


def test_a_failed_export_reports_nothing(sandbox: Sandbox, tmp_path: Path, collector: Collector) -> None:
    sandbox.inject_fault(Fault("body", body="{}"))
    with pytest.raises(ChartMogulError):
        export(tmp_path / "o.jsonl")
    assert collector.inputs == collector.outputs == []


@pytest.mark.usefixtures("sandbox")
def test_a_complete_export_does_not_fail_for_its_lineage(tmp_path: Path, collector: Collector, logs: Logs) -> None:
    collector.error = ValueError("too long")
    export(tmp_path / "o.jsonl")
    assert (tmp_path / "o.jsonl").exists()
    assert f"Airflow rejected the lineage of file://{tmp_path}/o.jsonl: too long" in logs.messages


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("s3://conn@bucket/a b/ö%.jsonl", "s3://bucket/a%20b/%C3%B6%25.jsonl"),
        ("file:///tmp/dt=2030-01-31/o.jsonl", "file:///tmp/dt=2030-01-31/o.jsonl"),
        ("/srv/o.jsonl", "file:///srv/o.jsonl"),
    ],
)
def test_an_address_has_no_connection_and_is_ascii(path: str, uri: str) -> None:
    assert uri_of(ObjectStoragePath(path)) == uri


def test_airflow_takes_the_address_of_a_list_and_refuses_others() -> None:
    uri = urlsplit("chartmogul://api.chartmogul.com/chartmogul_default/opportunities")
    assert sanitize_uri(uri) == uri
    for wrong in ("chartmogul:///opportunities", "chartmogul://api.chartmogul.com/"):
        with pytest.raises(ValueError, match="expected chartmogul://<host>/<connection>/<endpoint>"):
            sanitize_uri(urlsplit(wrong))
