"""Request the next page while the last one is written."""

from __future__ import annotations

from concurrent.futures import Future
from threading import Thread
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul._airflow.failures import fail_fast_on_permanent_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_chartmogul.hooks._paging import CursorPaginator


def prefetch(pages: CursorPaginator) -> Iterator[list[dict[str, Any]]]:
    """Return an iterator over pages. The first is requested now, each other one as soon as the previous one arrives."""
    return _iterate(pages, _submit_next(pages))


def _iterate(pages: CursorPaginator, upcoming: Future[Any]) -> Iterator[list[dict[str, Any]]]:
    with fail_fast_on_permanent_errors():
        while (page := upcoming.result()) is not None:
            upcoming = _submit_next(pages)
            yield page


def _submit_next(pages: CursorPaginator) -> Future[Any]:
    """Request a page in a daemon thread: unlike an executor's, it does not block a task that failed to write."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(next(pages, None))
        except BaseException as error:  # noqa: BLE001  # raised where the page is awaited
            future.set_exception(error)

    Thread(target=run, name="chartmogul-export", daemon=True).start()
    return future
