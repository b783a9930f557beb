"""The watched values of each opportunity, persisted in Airflow's asset state store if available."""

from __future__ import annotations

import itertools
import json
import logging
import re
import zlib
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul._polling.change import Change
from airflow_provider_chartmogul._polling.daemon_threads import run_in_thread
from airflow_provider_chartmogul.opportunity._field_values import normalize_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_provider_chartmogul.opportunity._watch_condition import Row

log = logging.getLogger(__name__)

_VERSION = 2
_BUCKETS = 1024
_SHARD_SIZE = 54_000  # characters of JSON; Airflow warns of values above 64 KB
_SAMPLE = 500  # opportunities or changes, sampled to estimate the total size
_SHARED_ROWS = 1024  # rows that several opportunities have in common, as with categories
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_HEX = re.compile(r"([0-9a-f]{32})+")


class SnapshotStore(MutableMapping[str, "Row"]):
    """
    The last known watched values of each opportunity, by UUID, and the changes whose events are not yet delivered.

    A small account is one stored value, the manifest. As it grows, the opportunities move into shards, of which only
    those with changes are written. A change is in the same stored value as its opportunity, so neither is stored alone.

    :param stores: the state store of each watched asset; none: the snapshot is kept in memory only
    :param key: the manifest's key, by which a later process finds the snapshot
    :param shape: the settings that stored values depend on; with others, a stored snapshot is replaced
    """

    def __init__(self, stores: Iterable[Any], key: str, shape: Mapping[str, Any]) -> None:
        self._stores = list(stores)
        self._key = key
        self._shape = dict(shape)
        self._buckets: list[dict[str, Row]] = [{} for _ in range(_BUCKETS)]
        self._pending: list[list[Change]] = [[] for _ in range(_BUCKETS)]
        self._unsaved: set[int] = set()
        self._corrupt: set[int] = set()
        self._shared_rows: dict[Row, Row] = {}
        self._shards = 0
        self._stored_shards = 0
        self._saved_manifest: dict[str, Any] | None = None
        self._newest_created_at: str | None = None
        self.has_baseline = False

    def __getitem__(self, uuid: str) -> Row:
        return self._buckets[_bucket_of(uuid)][uuid]

    def __setitem__(self, uuid: str, row: Row) -> None:
        bucket = _bucket_of(uuid)
        self._buckets[bucket][uuid] = self._shared(row)
        self._unsaved.add(bucket)

    def __delitem__(self, uuid: str) -> None:
        bucket = _bucket_of(uuid)
        del self._buckets[bucket][uuid]
        self._unsaved.add(bucket)

    def __iter__(self) -> Iterator[str]:
        for bucket in self._buckets:
            yield from list(bucket)

    def __len__(self) -> int:
        return sum(map(len, self._buckets))

    @property
    def pending(self) -> list[Change]:
        """The changes whose events are not yet delivered, oldest first."""
        return sorted(itertools.chain(*self._pending), key=lambda change: change.observed_at)

    def add_pending(self, change: Change) -> None:
        """Store a change until its event is delivered."""
        bucket = _bucket_of(change.opportunity_uuid)
        self._pending[bucket].append(change)
        self._unsaved.add(bucket)

    def remove_pending(self, change: Change) -> None:
        """Forget a change whose event is delivered."""
        bucket = _bucket_of(change.opportunity_uuid)
        self._pending[bucket].remove(change)
        self._unsaved.add(bucket)

    @property
    def is_saved(self) -> bool:
        """Whether there are no unsaved changes, and no shards of a former layout."""
        is_tidy = self._stored_shards == self._shards
        return not self._stores or (is_tidy and not self._unsaved and self._manifest() == self._saved_manifest)

    def note_baseline(self, created_at: object) -> None:
        """
        Extend the baseline by an existing opportunity, unless the baseline is complete.

        :param created_at: creation time of that opportunity
        """
        moment = _to_moment(created_at)
        if not self.has_baseline and moment and moment > (self._newest_created_at or ""):
            self._newest_created_at = moment

    def mark_baseline_complete(self, none_before: str | None = None) -> None:
        """
        Treat unknown opportunities as new from now on.

        :param none_before: if the baseline is empty, opportunities created up to this time are not new
        """
        if not self.has_baseline and self._newest_created_at is None:
            self._newest_created_at = _to_moment(none_before)
        self.has_baseline = True
        self._corrupt.clear()

    def is_new(self, uuid: str, created_at: object) -> bool:
        """
        Return whether an unknown opportunity was created after the baseline, and not merely missed.

        :param created_at: creation time of that opportunity
        """
        if not self.has_baseline or _bucket_of(uuid) in self._corrupt:
            return False
        moment = _to_moment(created_at)
        return moment is None or moment > (self._newest_created_at or "")

    async def load(self, subject: str = "Watcher") -> None:
        """
        Load the snapshot that an earlier process saved. Corrupt parts are logged once, and replaced.

        :param subject: begins log lines, such as a watcher and its connection
        """
        for store in self._stores:
            manifest = await run_in_thread(store.get, self._key)
            if manifest is not None:
                self._stores = [store]
                await self._load(store, manifest, subject)
                return

    async def save(self) -> None:
        """Write the changes since the last save. A crash meanwhile leaves either the previous snapshot or this one."""
        if self.is_saved:
            return
        store = self._stores[0]
        shards = self._needed_shards()
        if shards > self._shards:
            self._shards = shards
            self._unsaved.update(range(_BUCKETS))
        if self._shards:
            for shard in sorted({bucket % self._shards for bucket in self._unsaved}):
                await self._write(store, self._shard_key(self._shards, shard), range(shard, _BUCKETS, self._shards), {})
        manifest = self._manifest()
        # The manifest is written last, so that a partly written baseline is not treated as complete.
        if not self._shards:
            await self._write(store, self._key, range(_BUCKETS), manifest)
        elif manifest != self._saved_manifest:
            await run_in_thread(store.set, self._key, manifest)
        self._saved_manifest = manifest
        await self._delete_former_shards(store)

    async def _write(self, store: Any, key: str, buckets: range, manifest: dict[str, Any]) -> None:
        # Cleared before the write: a change made during the write has to be written again.
        written = self._unsaved.intersection(buckets)
        self._unsaved -= written
        rows = _encode(self._buckets[bucket] for bucket in buckets)
        pending = [change.to_json() for bucket in buckets for change in self._pending[bucket]]
        try:
            await run_in_thread(store.set, key, {**manifest, "opportunities": rows, "pending": pending})
        except BaseException:
            self._unsaved |= written
            raise

    async def _delete_former_shards(self, store: Any) -> None:
        if self._stored_shards != self._shards:
            for shard in range(self._stored_shards):
                await run_in_thread(store.delete, self._shard_key(self._stored_shards, shard))
            self._stored_shards = self._shards

    def _manifest(self) -> dict[str, Any]:
        return {
            "version": _VERSION,
            "shape": self._shape,
            "has_baseline": self.has_baseline and not self._corrupt,
            "newest_created_at": self._newest_created_at,
            "shards": self._shards,
        }

    def _needed_shards(self) -> int:
        """Return the number of shards, a power of two, that limits the size of each; 0: the manifest holds all."""
        rows = dict(itertools.islice(self.items(), _SAMPLE))
        changes = [change.to_json() for change in itertools.islice(itertools.chain(*self._pending), _SAMPLE)]
        size = len(json.dumps(_encode([rows]))) / max(len(rows), 1) * len(self)
        size += len(json.dumps(changes)) / max(len(changes), 1) * sum(map(len, self._pending))
        shards = 0
        while size > _SHARD_SIZE * max(shards, 1) and shards < _BUCKETS:
            shards = max(2 * shards, 2)
        return shards

    async def _load(self, store: Any, manifest: Any, subject: str) -> None:
        snapshot = f"{subject}: the stored snapshot {self._key}"
        try:
            self._stored_shards = _check_manifest(manifest)
        except ValueError:
            log.warning("%s is not valid for this version of the provider, and is replaced.", snapshot)
            return
        if manifest.get("shape") != self._shape:
            log.info("%s is for other settings, and is replaced.", snapshot)
            return
        self._shards = self._stored_shards
        self._newest_created_at = manifest.get("newest_created_at")
        self.has_baseline = manifest["has_baseline"]
        if self._shards:
            for shard in range(self._shards):
                stored = await run_in_thread(store.get, self._shard_key(self._shards, shard))
                self._restore(stored, range(shard, _BUCKETS, self._shards))
        else:
            self._restore(manifest, range(_BUCKETS))
        if self._corrupt:
            message = "%s is corrupt in %.1f %%; that part of the baseline is replaced, without events."
            log.warning(message, snapshot, 100 * len(self._corrupt) / _BUCKETS)
        # The manifest of a corrupt snapshot says that a baseline is stored, which is no longer true of all of it.
        self._saved_manifest = None if self._corrupt else self._manifest()

    def _restore(self, stored: Any, buckets: range) -> None:
        columns = len(self._shape["columns"])
        try:
            rows = _decode(stored["opportunities"], columns)
            pending = [Change.from_json(change, columns) for change in stored["pending"]]
            if any(_bucket_of(uuid) not in buckets for uuid in (*rows, *[each.opportunity_uuid for each in pending])):
                raise ValueError("of another shard")
        except (LookupError, TypeError, ValueError, RecursionError):
            self._corrupt.update(buckets)
            self._unsaved.update(buckets)
            return
        for bucket in buckets:
            self._pending[bucket].clear()  # of a load that failed later
        for uuid, row in rows.items():
            self._buckets[_bucket_of(uuid)][uuid] = self._shared(row)
        for change in pending:
            self._pending[_bucket_of(change.opportunity_uuid)].append(change)

    def _shared(self, row: Row) -> Row:
        try:
            shared = self._shared_rows.get(row)
        except TypeError:  # custom attributes as a dict
            return row
        # Equal is not the same JSON: (1,) is (True,).
        if shared is not None and list(map(type, shared)) == list(map(type, row)):
            return shared
        if shared is None and len(self._shared_rows) < _SHARED_ROWS:
            self._shared_rows[row] = row
        return row

    def _shard_key(self, shards: int, shard: int) -> str:
        return f"{self._key}.{shards}.{shard}"


def _bucket_of(uuid: str) -> int:
    return zlib.crc32(uuid.encode()) % _BUCKETS


def _to_moment(created_at: object) -> str | None:
    """Return a time in a comparable form; None if there is none."""
    try:
        moment: str | None = normalize_value("created_at", created_at)
    except ValueError:
        return None
    return moment


def _encode(buckets: Iterable[Mapping[str, Row]]) -> dict[str, str]:
    """Return the UUIDs of each row, the row as JSON text, the UUIDs without hyphens and separators."""
    rows: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    for bucket in buckets:
        for uuid, row in bucket.items():
            text = json.dumps(row, separators=(",", ":"))
            rows.setdefault(text, [])
            if _UUID.fullmatch(uuid):
                rows[text].append(uuid.replace("-", ""))
            else:
                others.setdefault(text, []).append(uuid)
    return {text: " ".join(["".join(uuids), *others.get(text, ())]) for text, uuids in rows.items()}


def _decode(stored: object, columns: int) -> dict[str, Row]:
    if not isinstance(stored, dict):
        raise ValueError("no JSON object")
    rows: dict[str, Row] = {}
    for text, uuids in stored.items():
        if not isinstance(uuids, str):
            raise ValueError("no UUIDs")
        values = json.loads(text)
        if not isinstance(values, list) or len(values) != columns:
            raise ValueError("no row")
        row = tuple(values)
        joined, *others = uuids.split(" ")
        if joined and not _HEX.fullmatch(joined):
            raise ValueError("no UUIDs")
        for start in range(0, len(joined), 32):
            digits = joined[start : start + 32]
            rows["-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))] = row
        rows.update(dict.fromkeys(others, row))
    return rows


def _check_manifest(manifest: Any) -> int:
    """Return the number of shards that a stored manifest names."""
    if not isinstance(manifest, dict) or manifest.get("version") != _VERSION:
        raise ValueError("no manifest")
    shards, newest = manifest.get("shards"), manifest.get("newest_created_at")
    if newest != _to_moment(newest) or not isinstance(manifest.get("has_baseline"), bool):
        raise ValueError("no manifest")
    if not isinstance(shards, int) or not 0 <= shards <= _BUCKETS or shards & (shards - 1):
        raise ValueError("no manifest")
    return shards
