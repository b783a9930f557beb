"""What an event trigger remembers, where the trigger itself cannot show it."""

from __future__ import annotations

import asyncio
from typing import Any

from airflow_provider_chartmogul._polling.snapshot_store import ForecastMemory
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID
from tests.support.virtual_account import VirtualStore


def test_what_changes_during_a_write_is_written_by_the_next() -> None:
    class StoreThatTakesItsTime(VirtualStore):
        def set(self, key: str, value: Any) -> None:
            memory[EXAMPLE_OPPORTUNITY_UUID] = "won"
            super().set(key, value)

    store: Any = StoreThatTakesItsTime()
    memory = ForecastMemory(store, {})
    memory[EXAMPLE_OPPORTUNITY_UUID] = "pipeline"
    memory.end_baseline()
    asyncio.run(memory.save())
    asyncio.run(memory.save())
    read_again = ForecastMemory(store, {})
    asyncio.run(read_again.load())
    assert read_again[EXAMPLE_OPPORTUNITY_UUID] == "won"
