"""Transfers from ChartMogul to files and object storage."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any, ClassVar, Literal, cast

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_chartmogul._airflow.failures import fail_fast_on_permanent_errors
from airflow_provider_chartmogul._airflow.templates import is_templated
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.transfers._atomic import OBJECT_STORES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

    from airflow_provider_chartmogul.transfers._atomic import Target
    from airflow_provider_chartmogul.transfers._formats import Writer
    from airflow_provider_chartmogul.transfers._rows import Row

_SECONDS_BETWEEN_REPORTS = 10.0
# Endings by which readers choose how to decompress a file.
_COMPRESSIONS = frozenset(
    f".{name}" for name in ("gz", "gzip", "zst", "zstd", "bz2", "xz", "lzma", "lz4", "zip", "br", "snappy", "deflate")
)


class ChartMogulToObjectStorageOperator(BaseOperator):
    """
    Write all objects of a ChartMogul list endpoint to a file or to object storage.

    The file appears under its name when it is complete, and replaces an existing one in one step. Only a few pages are
    in memory; the next page is requested while the last one is written.

    Returns ``{"path", "rows", "bytes", "pages"}`` to XCom.

    :param path: an ``ObjectStoragePath``, a local path, or a URL such as ``s3://aws_default@bucket/key`` with an
        Airflow connection before the ``@``; ``.gz`` at the end makes it gzip (templated)
    :param endpoint: path below ``/v1`` of a list, such as ``opportunities``, ``customers`` or ``contacts`` (templated)
    :param query: the endpoint's query parameters, such as filters, as a dict or as JSON text (templated); ``params`` is
        Airflow's own, the values that templates can use
    :param format: ``jsonl``: one JSON object a line, as received; or, for opportunities, ``parquet``, with the same
        columns for any data, which needs the extra ``parquet``
    :param page_fields: fields beside the list in each page to copy into every row, such as ``customer_uuid`` of
        ``import/customers/{uuid}/invoices``; for ``jsonl``
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
        query: dict[str, Any] | str | None = None,
        format: Literal["jsonl", "parquet"] = "jsonl",  # noqa: A002  # the usual name of this parameter
        page_fields: Sequence[str] = (),
        chartmogul_conn_id: str = ChartMogulHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.endpoint = endpoint
        self.query = query
        self.format = format
        self.page_fields = page_fields
        self.chartmogul_conn_id = chartmogul_conn_id
        self._check()

    def execute(self, context: Context) -> dict[str, Any]:
        """Write the file."""
        from airflow_provider_chartmogul.transfers._atomic import atomic_open
        from airflow_provider_chartmogul.transfers._lineage import ExportLineage
        from airflow_provider_chartmogul.transfers._prefetch import prefetch
        from airflow_provider_chartmogul.transfers._rows import RowTextHook

        with fail_fast_on_permanent_errors():
            self._check()
            path, target = self._target()
            target.check()
            hook = RowTextHook(self.chartmogul_conn_id, self.page_fields)
            # Before a file is opened, and not in the thread that requests pages, which has no access to Airflow.
            hook.get_conn()
            pages = hook.pages(self.endpoint, self.query)
        try:
            arriving = cast("Iterator[list[Row]]", prefetch(pages))
            lineage = ExportLineage(hook, self.endpoint, path)
            with atomic_open(target) as file:
                row_count, page_count = self._write(arriving, file)
                size = file.tell()
        finally:
            hook.close()
        lineage.report()
        self.log.info("Wrote %d rows, %d bytes, to %s.", row_count, size, path)
        return {"path": str(self.path), "rows": row_count, "bytes": size, "pages": page_count}

    def _target(self) -> tuple[ObjectStoragePath, Target]:
        from airflow.providers.common.compat.sdk import ObjectStoragePath

        from airflow_provider_chartmogul.transfers._atomic import absolute, target_for

        try:
            path = self.path if isinstance(self.path, ObjectStoragePath) else ObjectStoragePath(absolute(self.path))
            return path, target_for(path)
        except ValueError as error:
            raise ValueError(
                f"path: {error}. Check the beginning of the path, and install the Airflow provider of its store where "
                "the task runs."
            ) from error

    def _check(self) -> None:
        if self.format not in ("jsonl", "parquet"):
            raise ValueError(f"format: expected jsonl or parquet, not {self.format!r}.")
        if self.format == "parquet" and self.endpoint != "opportunities" and not is_templated(self.endpoint):
            raise ValueError(f"format: parquet is for opportunities only; write {self.endpoint} as jsonl.")
        path = str(self.path)
        if self.path is None or not path or path != path.strip():
            raise ValueError(f"path: expected the name of a file, without white space around it, not {self.path!r}.")
        suffix = PurePosixPath(path).suffix
        if suffix.lower() in _COMPRESSIONS:
            if self.format == "parquet":
                raise ValueError(f"path: Parquet is compressed in itself; leave out {suffix}.")
            if suffix != ".gz":
                raise ValueError(f"path: {suffix} is not supported; end the name in .gz for gzip, or leave it out.")
        if self.format == "parquet" and self.page_fields:
            raise ValueError("page_fields: opportunities need none; leave it out.")
        if isinstance(self.page_fields, str):
            raise ValueError(f"page_fields: expected a list of names, not {self.page_fields!r}.")
        if _is_bucket(path) or path.endswith("/"):
            raise ValueError(f"path: expected the name of a file, or a bucket and a key in it, not {path}.")

    def _write(self, pages: Iterator[list[Row]], file: IO[bytes]) -> tuple[int, int]:
        writer = self._writer(file)
        row_count = page_count = 0
        start = reported = time.monotonic()
        try:
            for page in pages:
                writer.write(page)
                row_count += len(page)
                page_count += 1
                if (now := time.monotonic()) - reported >= _SECONDS_BETWEEN_REPORTS:
                    reported = now
                    self._report("So far", page_count, row_count, now - start)
        except BaseException:
            # While the file is open: an unfinished writer writes when it is garbage-collected.
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

    def _report(self, scope: str, pages: int, rows: int, seconds: float) -> None:
        self.log.info("%s: %d pages, %d rows, %.0f rows/s.", scope, pages, rows, rows / max(seconds, 0.001))


def _is_bucket(path: str) -> bool:
    # At parse time, since the file system of a bucket looks for credentials on the network.
    scheme, _, rest = path.partition("://")
    return scheme in OBJECT_STORES and "/" not in rest.strip("/") and not is_templated(path)
