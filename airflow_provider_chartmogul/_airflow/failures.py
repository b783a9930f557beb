"""Errors that end a task without retries."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_chartmogul.exceptions import ChartMogulError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def fail_fast_on_permanent_errors() -> Iterator[None]:
    """
    Fail the task without retries on an error that no retry can fix.

    :raises AirflowFailException: instead of a permanent :class:`ChartMogulError`, or of a ``ValueError`` for a wrong
        parameter
    """
    try:
        yield
    except (ChartMogulError, ValueError) as error:
        if isinstance(error, ChartMogulError) and error.transient:
            raise
        raise AirflowFailException(str(error)) from error
