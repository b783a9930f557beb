"""How errors end a task."""

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
    Keep a task from using up its retries where no retry can help.

    :raises AirflowFailException: in place of a permanent :class:`ChartMogulError`, and of the ``ValueError``
        with which the provider refuses what a user wrote
    """
    try:
        yield
    except ChartMogulError as error:
        if error.transient:
            raise
        raise AirflowFailException(str(error)) from error
    except ValueError as error:
        raise AirflowFailException(str(error)) from error
