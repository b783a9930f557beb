"""Log lines about failures that last."""

from __future__ import annotations

import asyncio
import logging

from airflow_provider_chartmogul.exceptions import ChartMogulError


class FailureLog:
    """
    Log each kind of error once, and the recovery once.

    :param log: the logger of the failing module
    :param subject: begins each line, such as a watcher and its connection
    :param consequence: ends the lines about errors
    """

    def __init__(self, log: logging.Logger, subject: str, consequence: str) -> None:
        self._log = log
        self._subject = subject
        self._consequence = consequence
        self._reported: set[type[Exception]] = set()
        self._failing_since: float | None = None

    def on_failure(self, error: Exception) -> None:
        """Log an error unless one of its kind was logged since the last success."""
        if self._failing_since is None:
            self._failing_since = asyncio.get_running_loop().time()
        if type(error) in self._reported:
            return
        self._reported.add(type(error))
        if isinstance(error, ChartMogulError):
            level = logging.WARNING if error.transient else logging.ERROR
            self._log.log(level, "%s: %s %s", self._subject, error, self._consequence)
        else:
            self._log.error("%s: unexpected error. %s", self._subject, self._consequence, exc_info=error)

    def on_success(self) -> None:
        """Log the recovery if there was a failure."""
        if self._failing_since is not None:
            seconds = asyncio.get_running_loop().time() - self._failing_since
            self._log.info("%s works again after %.0f s.", self._subject, seconds)
            self._failing_since = None
            self._reported.clear()
