from __future__ import annotations

import datetime
import json
import sys
from typing import TYPE_CHECKING, Any

import pyarrow
import pyarrow.parquet
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Sandbox
from airflow_provider_chartmogul.transfers import _formats as formats
from airflow_provider_chartmogul.transfers.object_storage import ChartMogulToObjectStorageOperator

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = {
    "uuid": "string",
    "customer_uuid": "string",
    "owner": "string",
    "pipeline": "string",
    "pipeline_stage": "string",
    "estimated_close_date": "date32[day]",
    "currency": "string",
    "amount_in_cents": "int64",
    "type": "string",
    "forecast_category": "string",
    "win_likelihood": "int64",
    "custom": "string",
    "created_at": "timestamp[us, tz=UTC]",
    "updated_at": "timestamp[us, tz=UTC]",
    "other_fields": "string",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "opportunities.parquet"


def export(path: Path) -> dict[str, Any]:
    return ChartMogulToObjectStorageOperator(task_id="export", path=str(path), format="parquet").execute({})


def read(path: Path) -> pyarrow.Table:
    return pyarrow.parquet.read_table(path)


def test_values_have_their_types(sandbox: Sandbox, path: Path) -> None:
    sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, arr=12.5, custom={"ü": [1], "b": None})
    result = export(path)
    rows = read(path).to_pylist()
    assert result == {"path": str(path), "rows": 3, "bytes": path.stat().st_size, "pages": 1}
    assert [row["uuid"] for row in rows] == [opportunity["uuid"] for opportunity in sandbox.opportunities]
    opportunity = sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)
    del opportunity["arr"]
    assert rows[0] == {
        **opportunity,
        "estimated_close_date": datetime.date(2024, 4, 21),
        "custom": '{"ü":[1],"b":null}',
        "created_at": datetime.datetime(2024, 3, 20, 9, 55, 50, 156000, datetime.UTC),
        "updated_at": datetime.datetime.fromisoformat(opportunity["updated_at"]),
        "other_fields": '{"arr":12.5}',
    }
    assert rows[1]["other_fields"] is None


def test_the_schema_is_the_same_whatever_the_data(sandbox: Sandbox, path: Path) -> None:
    for opportunity in sandbox.opportunities:
        sandbox.remove_opportunity(opportunity["uuid"])
    schemas = []
    export(path)
    assert read(path).num_rows == 0
    schemas.append(read(path).schema)
    sandbox.add_opportunity(**dict.fromkeys(name for name in COLUMNS if name not in ("uuid", "other_fields")))
    export(path)
    assert set(read(path).to_pylist()[0].values()) - {None} == {sandbox.opportunities[0]["uuid"]}
    schemas.append(read(path).schema)
    sandbox.add_opportunity(custom={"a": 1}, estimated_close_date="2030-01-31T00:00:00Z", new=True)
    export(path)
    schemas.append(read(path).schema)
    for schema in schemas:
        assert {field.name: str(field.type) for field in schema} == COLUMNS


def test_a_value_of_another_type_fails_without_retry_and_names_its_column(sandbox: Sandbox, path: Path) -> None:
    sandbox.add_opportunity(amount_in_cents="a lot")
    with pytest.raises(
        AirflowFailException, match="amount_in_cents is a string instead of a whole number of 64 bits, in opportunity"
    ):
        export(path)
    assert list(path.parent.iterdir()) == []


def test_many_rows_become_several_row_groups(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "_ROWS_PER_ROW_GROUP", 400)
    with Sandbox(opportunities=1000) as sandbox:
        monkeypatch.setenv("AIRFLOW_CONN_CHARTMOGUL_DEFAULT", sandbox.connection_json)
        export(path)
        expected = sandbox.opportunities
    file = pyarrow.parquet.ParquetFile(path)
    assert [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)] == [400, 400, 200]
    rows = read(path).to_pylist()
    assert [row["uuid"] for row in rows] == [opportunity["uuid"] for opportunity in expected]
    assert [json.loads(row["custom"]) for row in rows] == [opportunity["custom"] for opportunity in expected]


@pytest.mark.usefixtures("sandbox")
def test_without_pyarrow_it_says_what_to_install(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "airflow-provider-chartmogul\[parquet\]"'):
        export(path)
    assert list(path.parent.iterdir()) == []
