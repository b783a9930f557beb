"""What an event trigger remembers of an account: each opportunity's forecast category, kept by Airflow where it can."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import sys
import zlib
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

# Not the stores' own `aget` and `aset`: Airflow 3.3.0 has none, and a custom backend blocks the event loop in them.
from asgiref.sync import sync_to_async

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk.execution_time.context import AssetStateStoreAccessor, AssetStateStoreAccessors

log = logging.getLogger(__name__)

_HEAD = {"version": 1}
# With so many, a shard of 400,000 opportunities is still below the 64 KB from which on Airflow warns.
_SHARDS = 256
_UUIDS = re.compile(r"([0-9a-f]{32})*")


class ForecastMemory(MutableMapping[str, str | None]):
    """
    The forecast category in which each opportunity was last seen.

    On Airflow 3.3 and later it is kept in the asset's state store, in shards, of which only those are written that
    changed; before, or without an asset, it lives as long as the process.

    :param stores: the state stores of the watched assets; None: Airflow has none
    :param identity: what distinguishes this trigger from others of the same asset; JSON
    """

    def __init__(self, stores: AssetStateStoreAccessors | None, identity: Any) -> None:
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self._prefix = f"chartmogul.{digest[:16]}"
        self._stores = _each_store(stores)
        self._shards: list[dict[str, str | None]] = [{} for _ in range(_SHARDS)]
        self._unsaved: set[int] = set()
        self._damaged: set[int] = set()
        self._has_baseline = False
        self._is_head_saved = False

    def __getitem__(self, uuid: str) -> str | None:
        return self._shards[_shard_of(uuid)][uuid]

    def __setitem__(self, uuid: str, category: str | None) -> None:
        shard = _shard_of(uuid)
        self._shards[shard][uuid] = category
        self._unsaved.add(shard)

    def __delitem__(self, uuid: str) -> None:
        shard = _shard_of(uuid)
        del self._shards[shard][uuid]
        self._unsaved.add(shard)

    def __iter__(self) -> Iterator[str]:
        for shard in self._shards:
            yield from shard

    def __len__(self) -> int:
        return sum(len(shard) for shard in self._shards)

    def is_first_sight(self, uuid: str) -> bool:
        """Tell whether an opportunity that is not remembered may have been there before."""
        return not self._has_baseline or _shard_of(uuid) in self._damaged

    def end_baseline(self) -> None:
        """From now on, an opportunity that is not remembered is a new one."""
        self._has_baseline = True
        self._damaged.clear()

    async def load(self) -> None:
        """Read what an earlier process saved. What is damaged is reported once, and forgotten."""
        for store in self._stores:
            head = await sync_to_async(store.get)(self._prefix)
            if head is not None:
                self._stores = [store]
                if head == _HEAD:
                    await self._load_shards(store)
                else:
                    log.warning("%r: %s holds what this provider did not write; starting anew.", store, self._prefix)
                return

    async def save(self) -> None:
        """Write what changed since the last time."""
        if not self._stores:
            return
        store = self._stores[0]
        for number in sorted(self._unsaved):
            # Before the write, since what changes during it has to be written again.
            self._unsaved.discard(number)
            try:
                await sync_to_async(store.set)(self._key(number), _encode(self._shards[number]))
            except BaseException:
                self._unsaved.add(number)
                raise
        if self._has_baseline and not self._is_head_saved:
            # Last, so that a baseline of which only a part was written is not taken for the whole.
            await sync_to_async(store.set)(self._prefix, _HEAD)
            self._is_head_saved = True

    async def _load_shards(self, store: AssetStateStoreAccessor) -> None:
        self._has_baseline = self._is_head_saved = True
        for number in range(_SHARDS):
            stored = await sync_to_async(store.get)(self._key(number))
            if stored is None:
                continue
            try:
                self._shards[number] = _decode(stored)
            except ValueError:
                log.warning("%r: %s is damaged; that part starts anew.", store, self._key(number))
                self._damaged.add(number)

    def _key(self, number: int) -> str:
        return f"{self._prefix}.{number:02x}"


def _each_store(stores: AssetStateStoreAccessors | None) -> list[Any]:
    """Return a store for each watched asset: those whose triggers are alike share one trigger."""
    if stores is None:
        return []
    # `stores` itself serves as the store of an only asset. With several it wants to be told which one is meant, but
    # does not say in public which there are.
    by_name, by_uri = getattr(stores, "_by_name", {}), getattr(stores, "_by_uri", {})
    return [store for _, store in sorted([*by_name.items(), *by_uri.items()])] or [stores]


def _shard_of(uuid: str) -> int:
    return zlib.crc32(uuid.encode()) % _SHARDS


def _encode(shard: dict[str, str | None]) -> dict[str, str]:
    """Write a shard as the UUIDs in each category, without hyphens and separators."""
    encoded: dict[str, str] = {}
    for uuid, category in shard.items():
        encoded[category or ""] = encoded.get(category or "", "") + uuid.replace("-", "")
    return encoded


def _decode(stored: object) -> dict[str, str | None]:
    if not isinstance(stored, dict):
        raise ValueError("not a shard")
    shard: dict[str, str | None] = {}
    for category, uuids in stored.items():
        if not isinstance(category, str) or not isinstance(uuids, str) or not _UUIDS.fullmatch(uuids):
            raise ValueError("not a shard")
        for start in range(0, len(uuids), 32):
            shard[str(UUID(uuids[start : start + 32]))] = sys.intern(category) or None
    return shard
