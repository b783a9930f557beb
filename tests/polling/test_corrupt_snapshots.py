"""Stored snapshots that are corrupt, or of another version or other settings."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID as UUID_1
from tests.polling.snapshots import CATEGORY, KEY, loaded, saved, some_change, some_uuid
from tests.polling.virtual_account import VirtualStore

pytestmark = pytest.mark.asyncio

CORRUPT = [
    "text",
    {"[1,2]": "00"},
    {"[1,2]": ""},
    {'["won"]': 5},
    {'["won"]': "abc"},
    {"won": ""},
    {'{"a": 1}': ""},
    None,
]
CORRUPT_CHANGES: list[Any] = [
    None,
    5,
    ["text"],
    [[]],
    [some_change(1).to_json()[:-1]],
    [[5, *some_change(1).to_json()[1:]]],
    [[UUID_1, None, None, "now", None, None]],
    [[UUID_1, "won", ["won"], "now", None, None]],
    [[UUID_1, ["won"], ["won", 1], "now", None, None]],
    [[UUID_1, ["won"], ["lost"], 5, None, None]],
]


@pytest.mark.parametrize("damage", [None, *[{"opportunities": rows, "pending": []} for rows in CORRUPT]], ids=str)
async def test_a_corrupt_shard_is_reported_and_only_its_part_of_the_baseline_begins_again(
    damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store = VirtualStore()
    rows: dict[str, Any] = {some_uuid(number): ("pipeline",) for number in range(3_500)}
    await saved(store, rows)
    store.values[f"{KEY}.4.1"] = damage
    found = await loaded(store)
    lost = rows.keys() - found.keys()
    assert len(lost) == pytest.approx(len(rows) / 4, rel=0.1)
    assert not any(found.is_new(uuid, None) for uuid in lost)
    assert all(found.is_new(uuid, None) for uuid in found)
    found.update(rows)
    found.mark_baseline_complete()
    assert all(found.is_new(uuid, None) for uuid in lost)
    await found.save()
    assert dict(await loaded(store)) == rows
    line = f"the stored snapshot {KEY} is corrupt in 25.0 %; that part of the baseline is replaced, without events."
    assert [record.getMessage() for record in caplog.records] == [f"Watcher: {line}"]


async def test_any_number_of_corrupt_shards_is_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    store = VirtualStore()
    await saved(store, {some_uuid(number): ("pipeline",) for number in range(20_000)})
    store.values = {KEY: store.values[KEY]}
    assert not await loaded(store)
    assert len(caplog.records) == 1
    assert "100.0 %" in caplog.text


async def test_a_corrupt_shard_is_replaced_also_if_none_of_its_opportunities_is_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = VirtualStore()
    await saved(store, {some_uuid(number): ("pipeline",) for number in range(3_500)})
    store.values[f"{KEY}.4.1"] = "text"
    found = await loaded(store)
    found.mark_baseline_complete()
    await found.save()
    caplog.clear()
    assert dict(await loaded(store)) == dict(found)
    assert not caplog.records


async def test_a_restart_before_a_corrupt_part_is_read_again_makes_no_opportunity_new() -> None:
    store = VirtualStore()
    rows: dict[str, Any] = {some_uuid(number): ("pipeline",) for number in range(3_500)}
    await saved(store, rows)
    store.values[f"{KEY}.4.1"] = "text"
    found = await loaded(store)
    lost = rows.keys() - found.keys()
    assert lost
    await found.save()
    again = await loaded(store)
    assert not any(again.is_new(uuid, None) for uuid in lost)


@pytest.mark.asyncio
async def test_a_shard_in_the_place_of_another_is_corrupt(caplog: pytest.LogCaptureFixture) -> None:
    store = VirtualStore()
    await saved(store, {some_uuid(number): ("pipeline",) for number in range(3_500)})
    store.values[f"{KEY}.4.1"] = store.values[f"{KEY}.4.2"]
    await loaded(store)
    assert "corrupt" in caplog.text


@pytest.mark.parametrize("damage", CORRUPT_CHANGES, ids=str)
async def test_with_corrupt_changes_the_rows_beside_them_are_corrupt_too(damage: Any) -> None:
    store = VirtualStore()
    await saved(store, {UUID_1: ("won",)})
    store.values[KEY]["pending"] = damage
    found = await loaded(store)
    assert not found
    assert not found.pending
    assert not found.is_new(UUID_1, None)


@pytest.mark.parametrize("damage", CORRUPT[:-1], ids=str)
async def test_a_corrupt_small_snapshot_begins_again(damage: Any) -> None:
    store = VirtualStore()
    await saved(store, {UUID_1: ("won",)})
    store.values[KEY]["opportunities"] = damage
    found = await loaded(store)
    assert not found
    assert not found.is_new(UUID_1, None)


MANIFEST = {
    "version": 2,
    "shape": CATEGORY,
    "has_baseline": True,
    "newest_created_at": None,
    "shards": 0,
    "opportunities": {},
    "pending": [],
}


@pytest.mark.parametrize(
    "manifest",
    [
        "text",
        7,
        {},
        {**MANIFEST, "version": 99},
        {**MANIFEST, "shards": 3},
        {**MANIFEST, "shards": -2},
        {**MANIFEST, "shards": 2048},
        {**MANIFEST, "shards": "2"},
        {**MANIFEST, "has_baseline": 1},
        {**MANIFEST, "newest_created_at": 5},
        {**MANIFEST, "newest_created_at": "nonsense"},
    ],
    ids=str,
)
async def test_a_manifest_of_another_program_or_version_is_reported_and_replaced(
    manifest: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store = VirtualStore({KEY: manifest})
    found = await loaded(store)
    assert "is not valid for this version" in caplog.text
    assert not found.has_baseline
    found.mark_baseline_complete()
    await found.save()
    assert store.values == {KEY: MANIFEST}


async def test_a_snapshot_of_other_settings_is_replaced_and_leaves_nothing_behind() -> None:
    store = VirtualStore()
    await saved(store, {some_uuid(number): ("pipeline",) for number in range(20_000)})
    assert len(store.values) == 1 + 16
    found = await loaded(store, {"columns": ["pipeline_stage"]})
    assert not found
    assert not found.has_baseline
    found[UUID_1] = ("Discovery",)
    await found.save()
    assert list(store.values) == [KEY]


@pytest.mark.parametrize("part", [part for part in MANIFEST if part not in ("opportunities", "pending")])
async def test_a_manifest_that_lacks_a_part_does_not_end_the_loading(part: str) -> None:
    store = VirtualStore()
    await saved(store, {UUID_1: ("won",)})
    del store.values[KEY][part]
    found = await loaded(store)
    found[UUID_1] = ("won",)
    found.mark_baseline_complete()
    await found.save()
    assert store.values[KEY].keys() == MANIFEST.keys()
