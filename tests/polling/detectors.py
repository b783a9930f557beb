"""Change detectors with a store that a test gives."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul._polling.change_detector import ChangeDetector
from airflow_provider_chartmogul._polling.snapshot_store import SnapshotStore
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID as UUID_1
from tests.opportunity.stand_ins import watch_condition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def opportunity(uuid: Any = UUID_1, category: str = "pipeline", **fields: Any) -> dict[str, Any]:
    return {"uuid": uuid, "forecast_category": category, "created_at": "2026-01-01T00:00:00.000Z", **fields}


def detector_of(store: Any = None, uuids: list[str] | None = None, target: str | None = None) -> ChangeDetector:
    condition = watch_condition(("created", "changed", "deleted"), "forecast_category", target)
    snapshot = SnapshotStore([] if store is None else [store], "key", {"columns": ["forecast_category"]})
    return ChangeDetector(
        snapshot, condition, name="won", chartmogul_conn_id="chartmogul_default", opportunity_uuids=uuids
    )


@contextlib.asynccontextmanager
async def running(
    store: Any = None, uuids: list[str] | None = None, target: str | None = None
) -> AsyncIterator[ChangeDetector]:
    detector = detector_of(store, uuids, target)
    await detector.load()
    saver = asyncio.create_task(detector.keep_saved())
    try:
        yield detector
    finally:
        saver.cancel()
