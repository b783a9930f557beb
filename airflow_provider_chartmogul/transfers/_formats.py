"""How pages of JSON objects become files."""

from __future__ import annotations

import datetime
import gzip
import json
from typing import IO, TYPE_CHECKING, Any, Protocol

from airflow.providers.common.compat.sdk import AirflowFailException

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow

_ROWS_IN_A_ROW_GROUP = 20_000
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_to_ascii_json = json.JSONEncoder(separators=(",", ":")).encode


class Writer(Protocol):
    """Writes pages to a file that it neither opens nor closes."""

    def write(self, page: list[dict[str, Any]]) -> None:
        """Write the objects of a page."""

    def finish(self) -> None:
        """Write what is left to write."""


class JsonLinesWriter:
    """
    One JSON object a line, as it was received, in UTF-8.

    :param file: where to write to
    :param compress: whether to write gzip
    """

    def __init__(self, file: IO[bytes], *, compress: bool) -> None:
        # Without time and name in its head, so that the same rows make the same file.
        self._gzip = gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) if compress else None
        self._file = self._gzip or file

    def write(self, page: list[dict[str, Any]]) -> None:
        """Write the objects of a page."""
        try:
            lines = "".join([f"{_to_json(entry)}\n" for entry in page]).encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold and UTF-8 cannot
            lines = "".join([f"{_to_ascii_json(entry)}\n" for entry in page]).encode()
        self._file.write(lines)

    def finish(self) -> None:
        """Write what is left to write."""
        if self._gzip is not None:
            self._gzip.close()


class OpportunityParquetWriter:
    """
    Parquet with a column for each field of an opportunity, of the same type whatever the data.

    ``custom`` is JSON text, since each account has its own attributes; fields that ChartMogul may add one day are in
    ``other_fields``, as JSON text too.

    :param file: where to write to
    """

    def __init__(self, file: IO[bytes]) -> None:
        import pyarrow
        from pyarrow.parquet import ParquetWriter

        text, integer = pyarrow.string(), pyarrow.int64()
        moment = pyarrow.timestamp("ms", tz="UTC")
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
        self._known = set(self._schema.names)
        self._parquet = ParquetWriter(file, self._schema)
        self._batches: list[pyarrow.RecordBatch] = []
        self._rows = 0

    def write(self, page: list[dict[str, Any]]) -> None:
        """
        Write the opportunities of a page.

        :raises AirflowFailException: if a value is not of its column's type
        """
        columns = [self._column(field, page) for field in self._schema]
        self._batches.append(self._pyarrow.RecordBatch.from_arrays(columns, schema=self._schema))
        self._rows += len(page)
        if self._rows >= _ROWS_IN_A_ROW_GROUP:
            self._write_row_group()

    def finish(self) -> None:
        """Write what is left to write."""
        try:
            if self._rows:
                self._write_row_group()
        finally:
            self._parquet.close()

    def _write_row_group(self) -> None:
        self._parquet.write_table(self._pyarrow.Table.from_batches(self._batches, self._schema))
        self._batches.clear()
        self._rows = 0

    def _column(self, field: pyarrow.Field, page: list[dict[str, Any]]) -> pyarrow.Array:
        try:
            if field.name == "other_fields":
                values = [self._other_fields(entry) for entry in page]
            elif field.name in _READERS:
                read = _READERS[field.name]
                values = [None if (value := entry.get(field.name)) is None else read(value) for entry in page]
            else:
                values = [entry.get(field.name) for entry in page]
            return self._pyarrow.array(values, field.type)
        except (self._pyarrow.ArrowException, OverflowError, TypeError, ValueError) as error:
            message = f"{field.name} is not always of the type {field.type}: {error}. Write jsonl, which has no types."
            raise AirflowFailException(message) from error

    def _other_fields(self, entry: dict[str, Any]) -> str | None:
        others = {name: value for name, value in entry.items() if name not in self._known}
        return _to_json(others) if others else None


def _read_moment(text: str) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


_READERS: dict[str, Callable[[Any], Any]] = {
    "estimated_close_date": lambda text: datetime.datetime.fromisoformat(text).date(),
    "custom": _to_json,
    "created_at": _read_moment,
    "updated_at": _read_moment,
}
