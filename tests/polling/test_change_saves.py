"""The loads and saves of a change detector: what a later process continues with."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from airflow_provider_chartmogul._polling import snapshot_store
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID as UUID_1
from tests.airflow.stand_ins import event_spacing
from tests.polling.detectors import detector_of, opportunity, running
from tests.polling.virtual_account import VirtualStore, uuid_of
from tests.support.virtual_time import run_in_virtual_time

if TYPE_CHECKING:
    from airflow_provider_chartmogul._polling.change_detector import ChangeDetector

SETTLED = 16.0
"""Seconds after which Airflow has stored an event, and the snapshot with it."""


def test_a_change_is_stored_until_its_event_was_handed_over_and_had_time_to_be_stored() -> None:
    store = VirtualStore()

    async def test() -> None:
        async with running(store) as detector:
            detector.on_opportunity(opportunity())
            await detector.on_round_end({UUID_1})
            detector.on_opportunity(opportunity(category="won"))
            await detector.on_round_end({UUID_1})
            await asyncio.sleep(SETTLED)
            assert "won" in str(store.values["key"]["opportunities"])
            assert len(store.values["key"]["pending"]) == 1, "The event is held back."
            detector.acknowledge(detector.changes.get_nowait())
            await asyncio.sleep(4)
            assert len(store.values["key"]["pending"]) == 1
            await asyncio.sleep(SETTLED)
            assert not store.values["key"]["pending"]

    run_in_virtual_time(test())


def test_won_and_lost_before_the_event_was_handed_over_is_still_won_after_a_restart() -> None:
    store = VirtualStore()

    async def test() -> None:
        async with running(store, target="won") as detector:
            for category in ("pipeline", "won", "lost"):
                detector.on_opportunity(opportunity(category=category))
                await detector.on_round_end({UUID_1})
            await asyncio.sleep(SETTLED)
        for seconds in (4, SETTLED):
            async with running(store, target="won") as detector:
                change = detector.changes.get_nowait()
                assert (change.event, change.previous, change.current) == ("changed", ("pipeline",), ("won",))
                assert detector.on_opportunity(opportunity(category="lost")) is False
                assert detector.changes.empty()
                detector.acknowledge(change)
                await asyncio.sleep(seconds)
        async with running(store, target="won") as detector:
            assert detector.changes.empty()

    run_in_virtual_time(test())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, 2), ({"target": "won"}, 1), ({"target": "pipeline"}, 0), ({"uuids": [str(UUID(int=1))]}, 1)],
    ids=str,
)
def test_events_of_a_watcher_whose_settings_were_edited_are_sent_again_only_if_they_are_wanted(
    settings: dict[str, Any], expected: int
) -> None:
    store = VirtualStore()

    async def test() -> None:
        async with running(store) as detector:
            for uuid, category in ((UUID_1, "won"), (str(UUID(int=1)), "lost")):
                detector.on_opportunity(opportunity(uuid))
                detector.on_opportunity(opportunity(uuid, category))
            await detector.on_round_end({UUID_1, str(UUID(int=1))})
            await asyncio.sleep(0.1)
        async with running(store, **settings) as detector:
            assert detector.changes.qsize() == expected
            await detector.on_round_end(None)
            await asyncio.sleep(0.1)
            assert len(store.values["key"]["pending"]) == expected

    run_in_virtual_time(test())


def test_a_snapshot_that_cannot_be_loaded_since_the_store_hangs_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def hang(*_: Any) -> None:
        await asyncio.Event().wait()

    async def test() -> None:
        monkeypatch.setattr(snapshot_store, "run_in_thread", hang)
        loading = asyncio.create_task(detector_of(VirtualStore()).load())
        await asyncio.sleep(600)
        loading.cancel()

    run_in_virtual_time(test())
    assert [record.getMessage() for record in caplog.records] == [
        (
            "Watcher won on connection chartmogul_default, asset state store of Airflow: not finished after 60 s. "
            "Polling begins once the snapshot is loaded."
        )
    ]


def test_each_event_gets_its_own_time_to_be_stored() -> None:
    store = VirtualStore()

    async def test() -> None:
        async with running(store) as detector:
            for category in ("pipeline", "won", "lost"):
                detector.on_opportunity(opportunity(category=category))
            await detector.on_round_end({UUID_1})
            detector.acknowledge(detector.changes.get_nowait())
            await asyncio.sleep(6)
            detector.acknowledge(detector.changes.get_nowait())
            await asyncio.sleep(4.5)
            assert [change[2] for change in store.values["key"]["pending"]] == [["lost"]]
            await asyncio.sleep(SETTLED)
            assert not store.values["key"]["pending"]

    run_in_virtual_time(test())


@pytest.mark.parametrize("is_restored", [False, True])
def test_a_watcher_says_at_its_start_whether_its_snapshot_was_restored(
    caplog: pytest.LogCaptureFixture, *, is_restored: bool
) -> None:
    caplog.set_level("INFO")
    store = VirtualStore()

    async def test() -> None:
        if is_restored:
            async with running(store) as detector:
                for category in ("pipeline", "won"):
                    detector.on_opportunity(opportunity(category=category))
                await detector.on_round_end({UUID_1})
                await asyncio.sleep(0.1)
        caplog.clear()
        await detector_of(store).load()

    run_in_virtual_time(test())
    (record,) = caplog.records
    restored = "snapshot restored; opportunities: 1, events to send again: 1."
    expected = restored if is_restored else "no snapshot; the first complete round is the baseline and makes no events."
    assert record.getMessage() == f"Watcher won on connection chartmogul_default: {expected}"


def test_500_changes_in_an_account_of_10_000_are_a_few_writes() -> None:
    store = VirtualStore()
    uuids = [uuid_of(number) for number in range(10_000)]

    async def hand_over(detector: ChangeDetector) -> None:
        spacing = event_spacing(detector.changes)
        while True:
            detector.acknowledge(await spacing.next_event())

    async def test() -> None:
        async with running(store) as detector:
            for uuid in uuids:
                detector.on_opportunity(opportunity(uuid))
            await detector.on_round_end(set(uuids))
            await asyncio.sleep(60)
            baseline, store.writes = store.writes, 0
            consumer = asyncio.create_task(hand_over(detector))
            for number, uuid in enumerate(uuids):
                detector.on_opportunity(opportunity(uuid, "pipeline" if number % 20 else "won"))
                if number % 200 == 0:
                    await asyncio.sleep(0.1)  # until the next page of the list
            for _ in range(6):
                await detector.on_round_end(set(uuids))
                await asyncio.sleep(10)
            assert store.writes <= 3 * baseline
            assert not any(value.get("pending") for value in store.values.values())
            consumer.cancel()

    run_in_virtual_time(test())


def test_a_write_that_hangs_delays_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*_: Any) -> None:
        await asyncio.Event().wait()

    async def test() -> None:
        async with running(VirtualStore()) as detector:
            detector.on_opportunity(opportunity())
            await detector.on_round_end({UUID_1})
            await asyncio.sleep(1)
            monkeypatch.setattr(snapshot_store, "run_in_thread", hang)
            for category in ("won", "lost", "pipeline"):
                detector.on_opportunity(opportunity(category=category))
                await detector.on_round_end({UUID_1})
                detector.acknowledge(detector.changes.get_nowait())
                await asyncio.sleep(60)

    run_in_virtual_time(test())


class FailingStore(VirtualStore):
    """A store that fails for a while."""

    failures = 0

    def get(self, key: str) -> Any:
        self._fail()
        return super().get(key)

    def set(self, key: str, value: Any) -> None:
        self._fail()
        super().set(key, value)

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the API server is restarting")


def test_a_snapshot_that_cannot_be_read_is_tried_again_ever_more_slowly_rather_than_taken_for_empty(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    store = FailingStore()
    store.failures = 8

    async def test() -> None:
        begun = asyncio.get_running_loop().time()
        await detector_of(store).load()
        assert round(asyncio.get_running_loop().time() - begun) == 1 + 2 + 4 + 8 + 16 + 30 + 30 + 30

    run_in_virtual_time(test())
    subject = "Watcher won on connection chartmogul_default, asset state store of Airflow"
    assert [record.getMessage() for record in caplog.records] == [
        f"{subject}: unexpected error. Retrying.",
        f"{subject} works again after 121 s.",
        f"{subject.partition(',')[0]}: no snapshot; the first complete round is the baseline and makes no events.",
    ]


def test_a_snapshot_that_cannot_be_used_is_logged_with_the_watcher_and_its_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")

    async def test() -> None:
        await detector_of(VirtualStore({"key": {"version": 1}})).load()

    run_in_virtual_time(test())
    subject = "Watcher won on connection chartmogul_default"
    assert [record.getMessage() for record in caplog.records] == [
        f"{subject}: the stored snapshot key is not valid for this version of the provider, and is replaced.",
        f"{subject}: no snapshot; the first complete round is the baseline and makes no events.",
    ]


def test_a_snapshot_that_cannot_be_written_is_written_later() -> None:
    store = FailingStore()

    async def test() -> None:
        async with running(store) as detector:
            store.failures = 2
            detector.on_opportunity(opportunity())
            await detector.on_round_end({UUID_1})
            await asyncio.sleep(100)
            assert "pipeline" in str(store.values)

    run_in_virtual_time(test())


def test_an_opportunity_that_is_no_longer_chosen_is_forgotten() -> None:
    store = VirtualStore()
    other = str(UUID(int=1))

    async def test() -> None:
        async with running(store, [UUID_1, other]) as detector:
            for uuid in (UUID_1, other):
                detector.on_opportunity(opportunity(uuid))
            await detector.on_round_end(None)
            await asyncio.sleep(1)
            assert other.replace("-", "") in str(store.values)
        async with running(store, [UUID_1]) as detector:
            await detector.on_round_end(None)
            await asyncio.sleep(1)
        assert other.replace("-", "") not in str(store.values)
        assert UUID_1.replace("-", "") in str(store.values)

    run_in_virtual_time(test())
