"""The cost of a watcher's snapshot, and its state in a later process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from airflow_provider_chartmogul._polling.snapshot_store import SnapshotStore
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID as UUID_1
from tests.polling.snapshots import CATEGORY, KEY, loaded, opened, saved, some_change, some_uuid
from tests.polling.virtual_account import VirtualStore
from tests.support.processes import run_apart

if TYPE_CHECKING:
    from collections.abc import Sequence


pytestmark = pytest.mark.asyncio

VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.dictionaries(st.text(), st.integers()))
UUIDS = st.one_of(st.uuids().map(str), st.just("opp_4ee13ca4"), st.just("4EE13CA4-E7FE-11EE-FA7F-F303ABF41ACC"))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(rows=st.dictionaries(UUIDS, st.tuples(VALUES, VALUES)))
async def test_each_row_is_found_again_as_the_same_json(rows: dict[str, Any]) -> None:
    store = VirtualStore()
    shape = {"columns": ["a", "b"]}
    await saved(store, rows, shape)
    found = await loaded(store, shape)
    assert {uuid: json.dumps(row) for uuid, row in found.items()} == {
        uuid: json.dumps(row) for uuid, row in rows.items()
    }
    assert len(found) == len(rows)


@pytest.mark.parametrize("size", [10, 5_000], ids=["one value", "shards"])
async def test_pending_changes_are_found_again_in_their_order_until_they_are_removed(size: int) -> None:
    store = VirtualStore()
    snapshot = await saved(store, {some_uuid(number): ("won",) for number in range(size)})
    changes = [some_change(number, minute) for minute, number in enumerate((3, 1, 2, 3))]
    for change in changes:
        snapshot.add_pending(change)
    assert not snapshot.is_saved
    await snapshot.save()
    found = await loaded(store)
    assert found.pending == changes
    assert found.is_saved
    found.remove_pending(changes[0])
    await found.save()
    assert (await loaded(store)).pending == changes[1:]


async def test_a_load_that_is_repeated_finds_pending_changes_once() -> None:
    class Store(VirtualStore):
        failing = ""

        def get(self, key: str) -> Any:
            if key == self.failing:
                raise RuntimeError("the API server is restarting")
            return super().get(key)

    store = Store()
    snapshot = await saved(store, {some_uuid(number): ("won",) for number in range(3_500)})
    for number in range(20):
        snapshot.add_pending(some_change(number))
    await snapshot.save()
    found = opened(store)
    store.failing = f"{KEY}.4.3"
    with pytest.raises(RuntimeError):
        await found.load()
    store.failing = ""
    await found.load()
    assert len(found.pending) == 20


@pytest.mark.parametrize("columns", [0, 1, 3])
async def test_a_small_account_is_one_stored_value_with_any_number_of_columns(columns: int) -> None:
    store = VirtualStore()
    shape = {"columns": ["field"] * columns}
    rows = {some_uuid(number): ("won",) * columns for number in range(1_000)}
    await saved(store, rows, shape)
    assert list(store.values) == [KEY]
    assert store.writes == 1
    assert dict(await loaded(store, shape)) == rows


@pytest.mark.parametrize("rows_differ", [False, True])
async def test_a_growing_account_moves_into_shards_below_the_size_that_airflow_warns_of(*, rows_differ: bool) -> None:
    store = VirtualStore()
    snapshot = opened(store)
    snapshot.mark_baseline_complete()
    rows: dict[str, Any] = {}
    shards = []
    for size in (1_000, 3_500, 10_000, 40_000):
        for number in range(len(rows), size):
            rows[some_uuid(number)] = (f"2026-11-22T09:55:50.{number}Z",) if rows_differ else ("pipeline",)
        snapshot.update(rows)
        await snapshot.save()
        shards.append(len(store.values) - 1)
        assert max(len(json.dumps(value)) for value in store.values.values()) < 65_536
        assert dict(await loaded(store)) == rows
    assert shards == sorted(set(shards)), "of the former layout nothing is left"


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_a_burst_of_events_moves_into_shards_below_the_size_that_airflow_warns_of(*, is_deleted: bool) -> None:
    store = VirtualStore()
    snapshot = await saved(store, {some_uuid(number): ("pipeline",) for number in range(5_000)})
    if is_deleted:
        snapshot.clear()
    for number in range(5_000):
        snapshot.add_pending(some_change(number))
    await snapshot.save()
    assert max(len(json.dumps(value)) for value in store.values.values()) < 65_536
    assert len((await loaded(store)).pending) == 5_000


async def test_a_large_account_writes_only_the_shards_that_changed() -> None:
    store = VirtualStore()
    snapshot = await saved(store, {some_uuid(number): ("pipeline",) for number in range(50_000)})
    store.writes = 0
    await snapshot.save()
    assert store.writes == 0
    for number in range(3):
        snapshot[some_uuid(number)] = ("won",)
    await snapshot.save()
    assert 1 <= store.writes <= 3
    assert [(await loaded(store))[some_uuid(number)] for number in range(4)] == [("won",)] * 3 + [("pipeline",)]


async def test_opportunities_with_equal_values_share_them_in_memory_as_far_as_they_are_the_same_json() -> None:
    snapshot = opened(None, {"columns": ["a"]})
    for number, value in enumerate(("won", 1, True)):
        for each in range(2):
            snapshot[some_uuid(10 * number + each)] = tuple(json.loads(json.dumps([value])))
    assert snapshot[some_uuid(0)] is snapshot[some_uuid(1)]
    assert json.dumps([snapshot[some_uuid(10)], snapshot[some_uuid(20)]]) == "[[1], [true]]"


@pytest.mark.parametrize("size", [10, 5_000], ids=["one value", "shards"])
async def test_a_restart_without_changes_writes_nothing(size: int) -> None:
    store = VirtualStore()
    await saved(store, {some_uuid(number): ("pipeline",) for number in range(size)})
    found = await loaded(store)
    store.writes = 0
    found.mark_baseline_complete()
    await found.save()
    assert store.writes == 0


async def test_a_deletion_is_saved() -> None:
    store = VirtualStore()
    snapshot = await saved(store, {UUID_1: ("won",)})
    del snapshot[UUID_1]
    assert not snapshot.is_saved
    await snapshot.save()
    assert dict(await loaded(store)) == {}


async def test_a_change_during_a_write_is_written_by_the_next() -> None:
    class SlowStore(VirtualStore):
        def set(self, key: str, value: Any) -> None:
            super().set(key, value)
            snapshot[UUID_1] = ("won",)

    store = SlowStore()
    snapshot = opened(store)
    snapshot[UUID_1] = ("pipeline",)
    await snapshot.save()
    assert not snapshot.is_saved
    await snapshot.save()
    assert dict(await loaded(store)) == {UUID_1: ("won",)}


class FailingStore(VirtualStore):
    failing: Sequence[str] = ()

    def set(self, key: str, value: Any) -> None:
        if any(key.endswith(end) for end in self.failing):
            raise RuntimeError("the API server is restarting")
        super().set(key, value)


@pytest.mark.parametrize("size", [10, 5_000], ids=["one value", "shards"])
async def test_a_write_that_failed_is_repeated(size: int) -> None:
    store = FailingStore()
    rows: dict[str, Any] = {some_uuid(number): ("pipeline",) for number in range(size)}
    snapshot = await saved(store, rows)
    snapshot.update(rows := dict.fromkeys(rows, ("won",)))
    store.failing = [".0", ".1"]
    with pytest.raises(RuntimeError):
        await snapshot.save()
    assert not snapshot.is_saved
    store.failing = ()
    await snapshot.save()
    assert dict(await loaded(store)) == rows


async def test_a_crash_while_an_account_moves_into_more_shards_leaves_the_former_snapshot() -> None:
    store = FailingStore()
    rows: dict[str, Any] = {some_uuid(number): ("pipeline",) for number in range(5_000)}
    snapshot = await saved(store, rows)
    snapshot.update({some_uuid(number): ("won",) for number in range(20_000)})
    store.failing = [KEY, ".5"]
    with pytest.raises(RuntimeError):
        await snapshot.save()
    assert dict(await loaded(store)) == rows


async def test_without_a_baseline_no_opportunity_is_new_and_with_one_only_later_ones_are() -> None:
    store = VirtualStore()
    snapshot = opened(store)
    assert not snapshot.is_new(UUID_1, "2026-01-01T00:00:00.000Z")
    for created_at in ("2026-03-01T00:00:00.000Z", "2026-03-02T00:00:00+01:00", None, "nonsense", 5):
        snapshot.note_baseline(created_at)
    snapshot.mark_baseline_complete()
    snapshot.note_baseline("2030-01-01T00:00:00.000Z")
    await snapshot.save()
    for each in (snapshot, await loaded(store)):
        assert not each.is_new(UUID_1, "2026-02-28T00:00:00.000Z")
        assert not each.is_new(UUID_1, "2026-03-01T23:00:00.000Z"), "the newest of the baseline itself"
        assert each.is_new(UUID_1, "2026-03-01T23:00:00.001Z")
        assert each.is_new(UUID_1, None), "only the UUID decides"


async def test_nothing_from_before_an_empty_baseline_is_new() -> None:
    snapshot = opened(None)
    snapshot.mark_baseline_complete("2026-03-01T00:00:00.000Z")
    snapshot.mark_baseline_complete("2026-03-02T00:00:00.000Z")
    assert not snapshot.is_new(UUID_1, "2026-03-01T00:00:00.000Z")
    assert snapshot.is_new(UUID_1, "2026-03-01T00:00:00.001Z")


async def test_a_baseline_that_is_not_complete_is_saved_as_such() -> None:
    store = VirtualStore()
    await saved(store, {UUID_1: ("won",)}, has_baseline=False)
    found = await loaded(store)
    assert dict(found) == {UUID_1: ("won",)}
    assert not found.is_new(some_uuid(1), None)


async def test_former_shards_that_could_not_be_deleted_are_deleted_by_the_next_save() -> None:
    class Store(VirtualStore):
        failures = 1

        def delete(self, key: str) -> None:
            self.failures -= 1
            if self.failures >= 0:
                raise RuntimeError("the API server is restarting")
            super().delete(key)

    store = Store()
    await saved(store, {some_uuid(number): ("pipeline",) for number in range(20_000)})
    found = await loaded(store, {"columns": ["pipeline_stage"]})
    found[UUID_1] = ("Discovery",)
    with pytest.raises(RuntimeError):
        await found.save()
    assert not found.is_saved
    await found.save()
    assert found.is_saved
    assert list(store.values) == [KEY]


async def test_of_several_assets_the_one_with_a_snapshot_is_used() -> None:
    first, second = VirtualStore(), VirtualStore()
    await saved(second, {UUID_1: ("won",)})
    found = SnapshotStore([first, second], KEY, CATEGORY)
    await found.load()
    found[UUID_1] = ("lost",)
    await found.save()
    assert not first.values
    assert dict(await loaded(second)) == {UUID_1: ("lost",)}


async def test_without_a_store_it_lives_as_long_as_the_process() -> None:
    snapshot = opened(None)
    await snapshot.load()
    snapshot[UUID_1] = ("won",)
    await snapshot.save()
    assert snapshot.is_saved
    assert dict(snapshot) == {UUID_1: ("won",)}


async def test_a_store_that_never_responds_keeps_no_process_from_exiting() -> None:
    program = """
import asyncio
import faulthandler
import threading
from airflow_provider_chartmogul._polling.snapshot_store import SnapshotStore

class Store:
    def get(self, key):
        reached.set()
        threading.Event().wait()

async def main():
    load = asyncio.create_task(SnapshotStore([Store()], "key", {}).load())
    while not reached.is_set():
        await asyncio.sleep(0.01)
    load.cancel()

reached = threading.Event()
faulthandler.dump_traceback_later(60, exit=True)
asyncio.run(main())
print("ended")
"""
    assert run_apart(program) == "ended"
