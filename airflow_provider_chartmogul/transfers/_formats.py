"""The file formats of an export."""

from __future__ import annotations

import datetime
import gzip
import json
import re
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import IO, TYPE_CHECKING, Any, Protocol

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_chartmogul.opportunity._values import parse_iso8601
from airflow_provider_chartmogul.transfers._rows import split_row

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow

    from airflow_provider_chartmogul.transfers._rows import Part, Row

_ROWS_PER_ROW_GROUP = 20_000
_INT64 = range(-(2**63), 2**63)
_LONGEST_INTEGER = 20  # digits
_NANOSECONDS = re.compile(r"[.,]\d{6}\d*[1-9]")


class Writer(Protocol):
    """Writes pages to an open file."""

    def write(self, page: list[Row]) -> None:
        """Write the rows of a page."""

    def finish(self) -> None:
        """Write whatever is buffered."""


class JsonLinesWriter:
    """
    JSON Lines in UTF-8, with the JSON text of ChartMogul.

    :param file: where to write to
    :param compress: whether to write gzip
    """

    def __init__(self, file: IO[bytes], *, compress: bool) -> None:
        # Without time and name in the header, so that equal rows make equal files.
        self._gzip = gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) if compress else None
        self._file = self._gzip or file

    def write(self, page: list[Row]) -> None:
        """Write the rows of a page."""
        self._file.write(_to_utf8("".join([f"{row.text}\n" for row in page])))

    def finish(self) -> None:
        """Write whatever is buffered."""
        if self._gzip is not None:
            self._gzip.close()


class OpportunityParquetWriter:
    """
    Parquet with a column for each field of an opportunity, of a fixed type.

    ``custom`` is JSON text, since each account has its own attributes; so is ``other_fields``, which holds all fields
    without a column.

    :param file: where to write to
    """

    def __init__(self, file: IO[bytes]) -> None:
        import pyarrow
        from pyarrow.parquet import ParquetWriter

        text, integer = pyarrow.string(), pyarrow.int64()
        moment = pyarrow.timestamp("us", tz="UTC")
        self._pyarrow = pyarrow
        self._schema = pyarrow.schema(
            [
                pyarrow.field("uuid", text, nullable=False),
                ("customer_uuid", text),
                ("owner", text),
                ("pipeline", text),
                ("pipeline_stage", text),
                ("estimated_close_date", pyarrow.date32()),
                ("currency", text),
                ("amount_in_cents", integer),
                ("type", text),
                ("forecast_category", text),
                ("win_likelihood", integer),
                ("custom", text),
                ("created_at", moment),
                ("updated_at", moment),
                ("other_fields", text),
            ]
        )
        self._readers = {
            field.name: _read_json if field.name == "custom" else _READERS[str(field.type)]
            for field in self._schema
            if field.name != "other_fields"
        }
        self._parquet = ParquetWriter(file, self._schema)
        self._batches: list[pyarrow.RecordBatch] = []
        self._rows = 0

    def write(self, page: list[Row]) -> None:
        """
        Write the opportunities of a page.

        :raises AirflowFailException: if a column cannot hold a value without loss
        """
        rows = [self._read(row) for row in page]
        columns = [self._pyarrow.array([row.get(field.name) for row in rows], field.type) for field in self._schema]
        self._batches.append(self._pyarrow.RecordBatch.from_arrays(columns, schema=self._schema))
        self._rows += len(page)
        if self._rows >= _ROWS_PER_ROW_GROUP:
            self._write_row_group()

    def finish(self) -> None:
        """Write whatever is buffered."""
        try:
            if self._rows:
                self._write_row_group()
        finally:
            self._parquet.close()

    def _write_row_group(self) -> None:
        self._parquet.write_table(self._pyarrow.Table.from_batches(self._batches, self._schema))
        self._batches.clear()
        self._rows = 0

    def _read(self, row: Row) -> dict[str, Any]:
        values: dict[str, Any] = {}
        others: list[str] = []
        for part in split_row(row):
            if part.name not in self._readers:
                others.append(f"{json.dumps(part.name)}:{part.text}")
            elif part.name in values:
                raise _not_representable(row, part.name, "occurs twice")
            else:
                try:
                    values[part.name] = None if part.value is None else self._readers[part.name](part)
                except ValueError as error:
                    raise _not_representable(row, part.name, str(error)) from None
        if values.get("uuid") is None:
            raise _not_representable(row, "uuid", "is missing or null")
        values["other_fields"] = _to_utf8(f"{{{','.join(others)}}}").decode() if others else None
        return values


def _to_utf8(json_text: str) -> bytes:
    # Half of a surrogate pair, which UTF-8 cannot hold, becomes JSON's escape sequence.
    return json_text.encode(errors="backslashreplace")


def _not_representable(row: Row, column: str, reason: str) -> AirflowFailException:
    return AirflowFailException(
        f"{column} {reason}, in opportunity {row.get('uuid')!r:.80}. Parquet cannot hold that; write jsonl."
    )


def _read_text(part: Part) -> str:
    if not isinstance(part.value, str):
        raise ValueError(f"is {_json_type(part)} instead of a string")
    try:
        part.value.encode()
    except UnicodeEncodeError:
        raise ValueError("has half of a surrogate pair, which UTF-8 cannot hold") from None
    return part.value


def _read_json(part: Part) -> str:
    return _to_utf8(part.text).decode()


def _read_integer(part: Part) -> int:
    value = part.value
    if isinstance(value, float):
        with suppress(InvalidOperation):  # an exponent out of range
            exact = Decimal(part.text)
            if abs(exact.adjusted()) < _LONGEST_INTEGER and exact == exact.to_integral_value():
                value = int(exact)
    if type(value) is not int or value not in _INT64:
        found = f"{part.text:.40}" if isinstance(value, int | float) else _json_type(part)
        raise ValueError(f"is {found} instead of a whole number of 64 bits")
    return value


def _read_date(part: Part) -> datetime.date:
    moment = _parse(part, "a date")
    if moment.time() != datetime.time() or moment.utcoffset():
        raise ValueError("is a time of day instead of a date")
    return moment.date()


def _read_moment(part: Part) -> datetime.datetime:
    moment = _parse(part, "a moment")
    try:
        return moment.astimezone(datetime.UTC)
    except OverflowError:  # pandas and Polars could not read it
        raise ValueError("is outside of the years 1 to 9999 in UTC") from None


def _parse(part: Part, kind: str) -> datetime.datetime:
    moment = parse_iso8601(part.value)
    if moment is None:
        raise ValueError(f"is not {kind} in ISO 8601")
    if _NANOSECONDS.search(part.value):
        raise ValueError("is more precise than a microsecond")
    return moment


def _json_type(part: Part) -> str:
    names = {'"': "a string", "{": "an object", "[": "a list", "t": "a boolean", "f": "a boolean"}
    return names.get(part.text[0], "a number")


_READERS: dict[str, Callable[[Part], Any]] = {
    "string": _read_text,
    "int64": _read_integer,
    "date32[day]": _read_date,
    "timestamp[us, tz=UTC]": _read_moment,
}
