"""Request the next page while the last one is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul._airflow.failures import fail_fast_on_permanent_errors
from airflow_provider_chartmogul._polling.daemon_threads import daemon_threads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from airflow_provider_chartmogul.hooks._paging import CursorPaginator


def prefetch(pages: CursorPaginator) -> Iterator[list[dict[str, Any]]]:
    """Return an iterator over pages. The first is requested now, each other one as soon as the previous one arrives."""
    # In daemon threads: unlike an executor's, they do not block a task that failed to write.
    return _iterate(pages, daemon_threads.submit(next, pages, None))


def _iterate(pages: CursorPaginator, upcoming: Future[Any]) -> Iterator[list[dict[str, Any]]]:
    with fail_fast_on_permanent_errors():
        while (page := upcoming.result()) is not None:
            upcoming = daemon_threads.submit(next, pages, None)
            yield page
