"""Sandboxes of any size, and a check that no test leaks parts of the polling engine."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from airflow_provider_chartmogul._polling import engine, rate_limited_client
from airflow_provider_chartmogul.sandbox import Sandbox
from tests.hooks.stand_ins import shorten_backoff
from tests.support.waits import PATIENCE, threads_of_waits

if TYPE_CHECKING:
    from collections.abc import Iterator

UNLIMITED = {"max_requests_per_second": 10_000}
"""The extra of a connection for tests that are not about the rate limit."""


class OpenSandbox(Protocol):
    """Start a sandbox for the connection ``chartmogul_default``."""

    def __call__(self, extra: dict[str, Any] | None = None, **options: Any) -> Sandbox: ...


@pytest.fixture
def open_sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenSandbox]:
    """Return a function that starts a sandbox without limits, unless its options set some."""
    with contextlib.ExitStack() as stack:

        def open_sandbox(extra: dict[str, Any] | None = None, **options: Any) -> Sandbox:
            without_limits = {"requests_per_second": None, "max_connections": None}
            sandbox = stack.enter_context(Sandbox(**{**without_limits, **options}))
            connection = {**sandbox.connection, "extra": UNLIMITED if extra is None else extra}
            monkeypatch.setenv("AIRFLOW_CONN_CHARTMOGUL_DEFAULT", json.dumps(connection))
            return sandbox

        yield open_sandbox


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    yield
    assert not any(each._sources or each._accounts for loop, each in engine._engines.items() if not loop.is_closed())
    deadline = time.monotonic() + PATIENCE
    while threads_of_waits():
        assert time.monotonic() < deadline, threads_of_waits()
        time.sleep(0.01)


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the backoff after failures, and the pauses of an outage."""
    shorten_backoff(monkeypatch, 0.01)
    monkeypatch.setattr(rate_limited_client, "LONGEST_BACKOFF", 0.03)
    monkeypatch.setattr(rate_limited_client, "_SECONDS_BETWEEN_CHECKS", 0.02)
