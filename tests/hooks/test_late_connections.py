from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from airflow_provider_chartmogul.exceptions import ChartMogulUnreachableError
from airflow_provider_chartmogul.hooks._transport import Exchange
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox


def test_a_connection_that_takes_all_the_time_is_closed(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [1.0]

    def seconds_left(_: Exchange) -> float:
        if not seconds:
            raise TimeoutError
        return seconds.pop()

    monkeypatch.setattr(Exchange, "seconds_left", property(seconds_left))
    with pytest.raises(ChartMogulUnreachableError, match="timed out"):
        ChartMogulHook(max_retries=0).request("GET", "ping")
    gc.collect()  # raises for a socket that is open
    assert sandbox.requests == []
