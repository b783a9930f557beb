from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from tests.support.creations import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Connect

SHORT_TIMEOUT = 0.3


@pytest.fixture
def impatient_sandbox(sandbox: Sandbox, connect: Connect) -> Sandbox:
    """Return a sandbox whose connection has a short timeout."""
    connect(extra={"max_retries": 2, "timeout": TIMEOUT})
    return sandbox


@pytest.fixture
def hook(connect: Connect) -> Iterator[Callable[..., ChartMogulHook]]:
    """Return a function that makes a hook without retries for a host."""
    hooks: list[ChartMogulHook] = []

    def make(host: str, timeout: float = SHORT_TIMEOUT, **extra: Any) -> ChartMogulHook:
        connect(host=host, port=None, extra={"max_retries": 0, "timeout": timeout, **extra})
        hooks.append(ChartMogulHook())
        hooks[-1].get_conn()  # so that the time of imports is not measured
        return hooks[-1]

    yield make
    for made in hooks:
        made.close()
