"""Transfers from ChartMogul to files and object storage."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, ClassVar, Literal
from uuid import uuid4

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_chartmogul._airflow.failures import fail_fast_on_permanent_errors
from airflow_provider_chartmogul._airflow.templates import is_templated
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

    from airflow_provider_chartmogul.hooks._paging import CursorPaginator
    from airflow_provider_chartmogul.transfers._formats import Writer

_SECONDS_BETWEEN_REPORTS = 10.0
_PART_SIZE = 8 * 1024 * 1024  # bytes that an object store is sent at once, and that wait in memory for it


class ChartMogulToObjectStorageOperator(BaseOperator):
    """
    Write all objects of a ChartMogul list endpoint to a file or to object storage.

    The file appears under its name when it is complete, in place of an older one: until then it has a temporary name
    beside it, hidden by a leading dot. However many rows there are, a few pages are in memory at once, and the next
    one is requested while the last one is written.

    Returns ``{"path", "rows", "bytes", "pages"}`` to XCom.

    :param path: an ``ObjectStoragePath`` or what makes one: a local path, or a URL such as
        ``s3://aws_default@bucket/key`` with an Airflow connection before the ``@``; written as gzip if it ends in
        ``.gz`` (templated)
    :param endpoint: path below ``/v1`` of an endpoint that pages with a cursor, such as ``opportunities``,
        ``customers`` or ``contacts`` (templated)
    :param query: the endpoint's query parameters, such as filters (templated); ``params`` is Airflow's own, the
        values that templates can use
    :param format: ``jsonl``: one JSON object a line, as received; or, for opportunities, ``parquet``, with the same
        columns whatever the data, which needs the extra ``parquet``
    :param chartmogul_conn_id: the Airflow connection to use (templated)
    """

    template_fields: Sequence[str] = ("path", "endpoint", "query", "chartmogul_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"query": "json"}
    ui_color = "#d8ecf5"

    def __init__(
        self,
        *,
        path: str | ObjectStoragePath,
        endpoint: str = "opportunities",
        query: dict[str, Any] | None = None,
        format: Literal["jsonl", "parquet"] = "jsonl",  # noqa: A002  # what users expect it to be called
        chartmogul_conn_id: str = ChartMogulHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.endpoint = endpoint
        self.query = query
        self.format = format
        self.chartmogul_conn_id = chartmogul_conn_id
        self._check()

    def execute(self, context: Context) -> dict[str, Any]:
        """Write the file."""
        from airflow.providers.common.compat.sdk import ObjectStoragePath

        with fail_fast_on_permanent_errors():
            self._check()
            path = self.path if isinstance(self.path, ObjectStoragePath) else ObjectStoragePath(self.path)
            _check_is_no_folder(path)
            hook = ChartMogulHook(self.chartmogul_conn_id)
            # Here rather than in the thread that fetches, since Airflow looks connections up for its own thread only.
            hook.get_conn()
        try:
            with atomic_open(path) as file:
                rows, pages = self._write(hook.pages(self.endpoint, self.query), file)
                size = file.tell()
        finally:
            hook.close()
        self.log.info("Wrote %d rows, %d bytes, to %s.", rows, size, path)
        return {"path": str(self.path), "rows": rows, "bytes": size, "pages": pages}

    def _check(self) -> None:
        if self.format not in ("jsonl", "parquet"):
            raise ValueError(f"format: expected jsonl or parquet, not {self.format!r}.")
        if self.format == "parquet" and self.endpoint != "opportunities" and not is_templated(self.endpoint):
            raise ValueError(f"format: parquet is for opportunities only; write {self.endpoint} as jsonl.")
        if self.format == "parquet" and str(self.path).endswith(".gz"):
            raise ValueError("path: Parquet is compressed in itself; leave out .gz.")
        if str(self.path).endswith("/"):
            raise ValueError("path: expected the name of a file, not of a folder.")

    def _write(self, pages: CursorPaginator, file: IO[bytes]) -> tuple[int, int]:
        writer = self._writer(file)
        row_count = page_count = 0
        start = reported = time.monotonic()
        try:
            for page in prefetch(pages):
                writer.write(page)
                row_count += len(page)
                page_count += 1
                if (now := time.monotonic()) - reported >= _SECONDS_BETWEEN_REPORTS:
                    reported = now
                    self._report("So far", page_count, row_count, now - start)
        except BaseException:
            # While the file is open: a writer that is not finished tries to when it is collected.
            with suppress(Exception):
                writer.finish()
            raise
        writer.finish()
        self._report("All", page_count, row_count, time.monotonic() - start)
        return row_count, page_count

    def _writer(self, file: IO[bytes]) -> Writer:
        from airflow_provider_chartmogul.transfers._formats import JsonLinesWriter, OpportunityParquetWriter

        if self.format == "jsonl":
            return JsonLinesWriter(file, compress=str(self.path).endswith(".gz"))
        try:
            return OpportunityParquetWriter(file)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                'format="parquet" needs pyarrow: pip install "airflow-provider-chartmogul[parquet]"', name=error.name
            ) from error

    def _report(self, what: str, pages: int, rows: int, seconds: float) -> None:
        self.log.info("%s: %d pages, %d rows, %.0f rows/s.", what, pages, rows, rows / max(seconds, 0.001))


def prefetch(pages: CursorPaginator) -> Iterator[list[dict[str, Any]]]:
    """Yield pages, and fetch the next one meanwhile."""
    executor = ThreadPoolExecutor(1, thread_name_prefix="chartmogul-export")
    try:
        upcoming = executor.submit(next, pages, None)
        while True:
            with fail_fast_on_permanent_errors():
                page = upcoming.result()
            if page is None:
                return
            upcoming = executor.submit(next, pages, None)
            yield page
    finally:
        # Who fails to write has no use for a page, and does not wait for it.
        executor.shutdown(wait=False, cancel_futures=True)


def _check_is_no_folder(path: ObjectStoragePath) -> None:
    if _can_rename(path.fs) and path.fs.isdir(path.path):
        raise ValueError(f"path: {path} is a folder; expected the name of a file.")


@contextmanager
def atomic_open(path: ObjectStoragePath) -> Iterator[IO[bytes]]:
    """
    Open a file for writing under a temporary name, and give it its own name if all goes well.

    Where a store can rename, that is one step. Object stores cannot: there the finished object is copied, within the
    store and likewise in one step, and the temporary one deleted.
    """
    fs, final = path.fs, path.path
    folder, separator, name = final.rpartition("/")
    temporary = f"{folder}{separator}.{name}.{uuid4().hex}.tmp"
    try:
        file = fs.open(temporary, "wb", block_size=_PART_SIZE)
    except FileNotFoundError:  # object stores have no folders, and need not be asked for them
        fs.makedirs(folder, exist_ok=True)
        file = fs.open(temporary, "wb", block_size=_PART_SIZE)
    try:
        yield file
        file.close()
        _rename(fs, temporary, final)
    except BaseException:
        with suppress(Exception):
            file.close()
        with suppress(Exception):
            fs.rm_file(temporary)
        raise


def _can_rename(fs: Any) -> bool:
    from fsspec import AbstractFileSystem

    return type(fs).mv is not AbstractFileSystem.mv


def _rename(fs: Any, old: str, new: str) -> None:
    if _can_rename(fs):
        fs.mv(old, new)
    else:
        # As `mv` does for all other stores; but that takes brackets in a name for a pattern.
        fs.cp_file(old, new)
        fs.rm_file(old)
