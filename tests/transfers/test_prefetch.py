"""Pages that are requested ahead."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul.transfers._prefetch import prefetch

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_a_thread_that_requests_a_page_keeps_no_process_from_exiting() -> None:
    are_daemons: list[bool] = []

    def pages() -> Iterator[list[Any]]:
        are_daemons.append(threading.current_thread().daemon)
        yield []

    requested: Any = pages()
    assert list(prefetch(requested)) == [[]]
    assert are_daemons == [True]
