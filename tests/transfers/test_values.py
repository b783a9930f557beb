"""A value is written unchanged, or rejected; common tools read the exports back."""

from __future__ import annotations

import datetime
import gzip
import io
import json
from typing import TYPE_CHECKING, Any

import pyarrow.parquet
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_chartmogul.exceptions import ChartMogulInvalidResponseError
from airflow_provider_chartmogul.sandbox import Fault
from airflow_provider_chartmogul.transfers._formats import JsonLinesWriter, OpportunityParquetWriter
from airflow_provider_chartmogul.transfers._rows import Row, decode_page
from airflow_provider_chartmogul.transfers.object_storage import ChartMogulToObjectStorageOperator

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_chartmogul.sandbox import Sandbox

UUID = "4ee13ca4-e7fe-11ee-fa7f-f303abf41acc"


def export(path: Path, **options: Any) -> dict[str, Any]:
    return ChartMogulToObjectStorageOperator(task_id="export", path=str(path), **options).execute({})


def answer_with(sandbox: Sandbox, *rows: str, before: str = "") -> None:
    """Make the next page hold these rows, as this text."""
    body = f'{{{before}"entries":[{",".join(rows)}],"cursor":null,"has_more":false}}'
    sandbox.inject_fault(Fault("body", body=body))


class TestJsonLines:
    @pytest.mark.parametrize(
        "row",
        [
            '{"a":1e400}',
            '{"a":-1E-400}',
            '{"a":0.1000000000000000055511151231257827021181583404541015625}',
            '{"a":12345678901234567890123456789}',
            '{"a":[-0,-0.0,1.0,1,1e0]}',
            '{"a":1,"a":2}',
            '{"a":{"b":1,"b":[]}}',
            r'{"a":"\ud83d"}',
            r'{"a":"\u00e9\/\u2028é"}',
            '{ "a" : [ ] , "" : null }',
            "{}",
        ],
    )
    def test_a_row_is_written_in_chartmoguls_words(self, row: str, sandbox: Sandbox, tmp_path: Path) -> None:
        answer_with(sandbox, row, '{"uuid":"1"}')
        export(tmp_path / "o.jsonl")
        assert (tmp_path / "o.jsonl").read_bytes().decode() == f'{row}\n{{"uuid":"1"}}\n'

    @pytest.mark.parametrize(
        ("separator", "escaped"), [("\u2028", r"\u2028"), ("\u2029", r"\u2029"), ("\x85", r"\u0085")]
    )
    def test_no_separator_of_lines_is_written_raw(
        self, separator: str, escaped: str, sandbox: Sandbox, tmp_path: Path
    ) -> None:
        answer_with(sandbox, f'{{"a":"x{separator}y","{separator}":1}}')
        export(tmp_path / "o.jsonl")
        assert (tmp_path / "o.jsonl").read_text(encoding="utf-8") == f'{{"a":"x{escaped}y","{escaped}":1}}\n'

    def test_a_row_on_several_lines_becomes_one(self, sandbox: Sandbox, tmp_path: Path) -> None:
        rows = [{"a": [1, {"b": "x\ny"}]}, {"c": {}}]
        answer_with(sandbox, *(json.dumps(row, indent=2).replace("\n", "\r\n") for row in rows))
        export(tmp_path / "o.jsonl")
        assert [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()] == rows

    @pytest.mark.parametrize(
        "row",
        ['{"a":NaN}', '{"a":-Infinity}', '{"a":"\t"}', '{"a":' + "1" * 5000 + "}", '{"a" 1}', '{"a":1 "b":2}', "{1:2}"],
    )
    def test_a_page_that_is_not_json_is_refused(self, row: str, sandbox: Sandbox, tmp_path: Path) -> None:
        answer_with(sandbox, row)
        with pytest.raises(ChartMogulInvalidResponseError, match="expected JSON"):
            export(tmp_path / "o.jsonl")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "body", ['{"entries":[],"has_more":false,"entries":[]}', '{"entries":[]}x', '{"entries":[]', ""]
    )
    def test_a_page_in_which_rows_could_hide_is_refused(self, body: str, sandbox: Sandbox, tmp_path: Path) -> None:
        sandbox.inject_fault(Fault("body", body=body))
        with pytest.raises(ChartMogulInvalidResponseError):
            export(tmp_path / "o.jsonl")

    def test_half_a_character_in_the_bytes_is_escaped(self, tmp_path: Path) -> None:
        page = decode_page(b'{"entries":[{"a":"\xed\xa0\xbd\xc3\xbc"}]}')
        with (tmp_path / "o.jsonl").open("wb") as file:
            JsonLinesWriter(file, compress=False).write(page["entries"])
        assert (tmp_path / "o.jsonl").read_bytes() == b'{"a":"\\ud83d\xc3\xbc"}\n'

    def test_duckdb_polars_and_pandas_read_it(self, sandbox: Sandbox, tmp_path: Path) -> None:
        import duckdb
        import pandas
        import polars

        for text in ("Köln 🎉", "a\nb\r\u2028c\u2029d\x85e", '"\\', "\t"):
            sandbox.add_opportunity(pipeline=text, custom={"note": text, "n": 1.5})
        path = str(tmp_path / "o.jsonl.gz")
        export(tmp_path / "o.jsonl.gz")
        expected = [(row["uuid"], row["pipeline"], row["amount_in_cents"]) for row in sandbox.opportunities]
        names = ["uuid", "pipeline", "amount_in_cents"]
        query = f"SELECT uuid::VARCHAR, pipeline, amount_in_cents FROM read_json('{path}', format='newline_delimited')"  # noqa: S608
        assert duckdb.execute(query).fetchall() == expected
        assert polars.read_ndjson(path).select(names).rows() == expected
        assert list(pandas.read_json(path, lines=True)[names].itertuples(index=False, name=None)) == expected


def rows(count: int) -> list[Row]:
    page: list[Row] = decode_page(b'{"entries":[%b]}' % b",".join([b'{"uuid":"x"}'] * count))["entries"]
    return page


def test_a_gzip_file_is_complete_when_its_writer_is_finished() -> None:
    file = io.BytesIO()
    writer = JsonLinesWriter(file, compress=True)
    writer.write(rows(2))
    writer.finish()
    assert gzip.decompress(file.getvalue()) == b'{"uuid":"x"}\n' * 2
    assert not file.closed


@pytest.mark.parametrize(
    ("pages", "groups"), [([19_999, 1, 3], [20_000, 3]), ([20_000, 19_998, 2], [20_000, 20_000]), ([20_001], [20_001])]
)
def test_a_row_group_is_written_for_each_20_000_rows(pages: list[int], groups: list[int]) -> None:
    file = io.BytesIO()
    writer = OpportunityParquetWriter(file)
    for count in pages:
        writer.write(rows(count))
    writer.finish()
    parquet = pyarrow.parquet.ParquetFile(file)
    assert [parquet.metadata.row_group(index).num_rows for index in range(parquet.num_row_groups)] == groups
    assert [field.name for field in parquet.schema_arrow if not field.nullable] == ["uuid"]


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=10,
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    page=st.dictionaries(
        st.text(),
        st.lists(st.dictionaries(st.text(), JSON_VALUES, max_size=4), max_size=4) | JSON_VALUES,
        max_size=4,
    ),
    ensure_ascii=st.booleans(),
    indent=st.sampled_from([None, 0, 3]),
)
def test_any_page_is_parsed_as_json_does_and_its_rows_are_lines(
    page: dict[str, Any],
    ensure_ascii: bool,  # noqa: FBT001
    indent: int | None,
) -> None:
    decoded = decode_page(json.dumps(page, ensure_ascii=ensure_ascii, indent=indent).encode("utf-8", "surrogatepass"))
    assert decoded == page
    for value in decoded.values():
        for row in value if isinstance(value, list) else ():
            if isinstance(row, Row):
                assert len(row.text.splitlines()) == 1
                assert json.loads(row.text) == row


class TestPageFields:
    def test_fields_of_the_page_are_copied_into_each_row_on_request(self, sandbox: Sandbox, tmp_path: Path) -> None:
        endpoint = "import/customers/cus_1/invoices"
        body = '{"customer_uuid":"cus_1","x":1e400,"invoices":[{"uuid":"a"},{}],"has_more":false,"cursor":null}'
        sandbox.inject_fault(Fault("body", body=body))
        export(tmp_path / "o.jsonl", endpoint=endpoint, page_fields=["customer_uuid", "x"])
        assert (tmp_path / "o.jsonl").read_text() == (
            '{"customer_uuid":"cus_1","x":1e400,"uuid":"a"}\n{"customer_uuid":"cus_1","x":1e400}\n'
        )

    @pytest.mark.parametrize(
        ("page_field", "message"),
        [
            ("customer", "the page has no customer; its fields are customer_uuid, entries, cursor, has_more"),
            ("customer_uuid", "the rows have a customer_uuid of their own"),
        ],
    )
    def test_a_field_that_cannot_be_copied_fails_without_retry(
        self, page_field: str, message: str, sandbox: Sandbox, tmp_path: Path
    ) -> None:
        answer_with(sandbox, '{"customer_uuid":"cus_2"}', before='"customer_uuid":"cus_1",')
        with pytest.raises(AirflowFailException, match=message):
            export(tmp_path / "o.jsonl", page_fields=[page_field])
        assert list(tmp_path.iterdir()) == []
        assert len(sandbox.requests) == 1


class TestParquet:
    @pytest.mark.parametrize(
        ("field", "message"),
        [
            ('"amount_in_cents":1999.99', "amount_in_cents is 1999.99 instead of a whole number of 64 bits"),
            ('"amount_in_cents":5000.00000000000000000001', "amount_in_cents is 5000.00000000000000000001 instead"),
            ('"amount_in_cents":9223372036854775808', "amount_in_cents is 9223372036854775808 instead"),
            ('"amount_in_cents":-9223372036854775809', "amount_in_cents is -9223372036854775809 instead"),
            ('"amount_in_cents":1e400', "amount_in_cents is 1e400 instead"),
            ('"amount_in_cents":1e99999999999999999999', "amount_in_cents is 1e99999999999999999999 instead"),
            ('"win_likelihood":true', "win_likelihood is true instead"),
            ('"win_likelihood":"5"', "win_likelihood is a string instead"),
            ('"pipeline":5', "pipeline is a number instead of a string"),
            ('"pipeline":["a"]', "pipeline is a list instead of a string"),
            (r'"pipeline":"\ud83d"', "pipeline has half of a surrogate pair"),
            ('"pipeline":"a","pipeline":"b"', "pipeline occurs twice"),
            ('"estimated_close_date":"2030-01-31T10:00:00Z"', "estimated_close_date is a time of day"),
            ('"estimated_close_date":"2030-01-31T00:00:00+02:00"', "estimated_close_date is a time of day"),
            ('"estimated_close_date":""', "estimated_close_date is not a date"),
            ('"estimated_close_date":20300131', "estimated_close_date is not a date"),
            ('"created_at":"yesterday"', "created_at is not a moment"),
            ('"created_at":"0001-01-01T00:00:00+14:00"', "created_at is outside of the years 1 to 9999 in UTC"),
            ('"updated_at":"9999-12-31T23:59:59-01:00"', "updated_at is outside of the years 1 to 9999 in UTC"),
            ('"created_at":"2030-01-31T10:00:00.1234567Z"', "created_at is more precise than a microsecond"),
        ],
    )
    def test_a_value_that_a_column_cannot_hold_fails_without_retry(
        self, field: str, message: str, sandbox: Sandbox, tmp_path: Path
    ) -> None:
        answer_with(sandbox, f'{{"uuid":"{UUID}",{field}}}')
        with pytest.raises(AirflowFailException, match="Parquet cannot hold that; write jsonl") as info:
            export(tmp_path / "o.parquet", format="parquet")
        assert message in str(info.value)
        assert UUID in str(info.value)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("row", ['{"uuid":null}', "{}"])
    def test_an_opportunity_without_a_uuid_fails_without_retry(
        self, row: str, sandbox: Sandbox, tmp_path: Path
    ) -> None:
        answer_with(sandbox, row)
        with pytest.raises(AirflowFailException, match="uuid is missing or null"):
            export(tmp_path / "o.parquet", format="parquet")

    @pytest.mark.parametrize(
        ("field", "expected"),
        [
            ('"amount_in_cents":5000.0', 5000),
            ('"amount_in_cents":5e3', 5000),
            ('"amount_in_cents":-9223372036854775808', -(2**63)),
            ('"win_likelihood":0', 0),
            ('"pipeline":""', ""),
            ('"estimated_close_date":"2030-01-31T00:00:00.000Z"', datetime.date(2030, 1, 31)),
            (
                '"created_at":"2030-01-31T10:00:00.123456000Z"',
                datetime.datetime(2030, 1, 31, 10, 0, 0, 123456, datetime.UTC),
            ),
            ('"created_at":"2030-01-31T10:00:00+02:00"', datetime.datetime(2030, 1, 31, 8, tzinfo=datetime.UTC)),
            ('"created_at":"2030-01-31T10:00:00"', datetime.datetime(2030, 1, 31, 10, tzinfo=datetime.UTC)),
            ('"custom":{"a":1e400,"a":0.10, "b":"\u2028"}', '{"a":1e400,"a":0.10, "b":"\\u2028"}'),
            (r'"custom":{"a":"\ud83d"}', r'{"a":"\ud83d"}'),
            ('"custom":null', None),
        ],
    )
    def test_a_value_that_a_column_can_hold_is_exact(
        self, field: str, expected: object, sandbox: Sandbox, tmp_path: Path
    ) -> None:
        import polars

        answer_with(sandbox, f'{{"uuid":"{UUID}",{field}}}')
        export(tmp_path / "o.parquet", format="parquet")
        (row,) = polars.read_parquet(tmp_path / "o.parquet").to_dicts()
        assert row[json.loads(f"{{{field}}}".replace("1e400", "0")).popitem()[0]] == expected

    def test_other_fields_are_exact_too(self, sandbox: Sandbox, tmp_path: Path) -> None:
        import polars

        answer_with(sandbox, f'{{"new":1e400,"uuid":"{UUID}","ü":{{"x":1.10}}}}')
        export(tmp_path / "o.parquet", format="parquet")
        (row,) = polars.read_parquet(tmp_path / "o.parquet").to_dicts()
        assert row["other_fields"] == '{"new":1e400,"\\u00fc":{"x":1.10}}'

    def test_duckdb_polars_and_pandas_read_it(self, sandbox: Sandbox, tmp_path: Path) -> None:
        import duckdb
        import pandas
        import polars

        sandbox.add_opportunity(pipeline="Köln 🎉\u2028", custom={"note": "x", "n": 1.5})
        path = str(tmp_path / "o.parquet")
        export(tmp_path / "o.parquet", format="parquet")
        expected = [
            (
                row["uuid"],
                row["pipeline"],
                row["amount_in_cents"],
                datetime.date.fromisoformat(row["estimated_close_date"]),
                datetime.datetime.fromisoformat(row["created_at"]),
                row["custom"],
            )
            for row in sandbox.opportunities
        ]
        names = ["uuid", "pipeline", "amount_in_cents", "estimated_close_date", "created_at", "custom"]
        results = {
            "duckdb": duckdb.execute(f"SELECT {', '.join(names)} FROM read_parquet('{path}')").fetchall(),  # noqa: S608
            "polars": polars.read_parquet(path).select(names).rows(),
            "pandas": list(pandas.read_parquet(path)[names].itertuples(index=False, name=None)),
        }
        for rows in results.values():
            assert [(*row[:-1], json.loads(row[-1])) for row in rows] == expected
