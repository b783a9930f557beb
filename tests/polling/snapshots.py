"""Snapshots in a virtual store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow_provider_chartmogul._polling.change import Change
from airflow_provider_chartmogul._polling.snapshot_store import SnapshotStore

if TYPE_CHECKING:
    from tests.polling.virtual_account import VirtualStore

CATEGORY = {"columns": ["forecast_category"]}
KEY = "chartmogul.0"


def some_uuid(number: int) -> str:
    return str(UUID(int=number * 7919))


def opened(store: VirtualStore | None, shape: dict[str, Any] = CATEGORY) -> SnapshotStore:
    return SnapshotStore([] if store is None else [store], KEY, shape)


async def saved(
    store: VirtualStore, rows: dict[str, Any], shape: dict[str, Any] = CATEGORY, *, has_baseline: bool = True
) -> SnapshotStore:
    snapshot = opened(store, shape)
    snapshot.update(rows)
    if has_baseline:
        snapshot.mark_baseline_complete()
    await snapshot.save()
    return snapshot


async def loaded(store: VirtualStore, shape: dict[str, Any] = CATEGORY) -> SnapshotStore:
    snapshot = opened(store, shape)
    await snapshot.load()
    return snapshot


def some_change(number: int, minute: int = 0) -> Change:
    return Change(some_uuid(number), ("pipeline",), ("won",), f"2026-11-22T09:{minute:02}", "cus_1", None)
