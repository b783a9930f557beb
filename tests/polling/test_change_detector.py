"""The logs and saves of a change detector; test_change_properties tests the changes that it finds."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from airflow_provider_chartmogul._polling import snapshot_store
from airflow_provider_chartmogul._polling.change_detector import ChangeDetector
from airflow_provider_chartmogul._polling.snapshot_store import SnapshotStore
from airflow_provider_chartmogul.exceptions import (
    ChartMogulAuthenticationError,
    ChartMogulNotFoundError,
    ChartMogulUnavailableError,
)
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID as UUID_1
from tests.opportunity.stand_ins import watch_condition
from tests.polling.virtual_account import VirtualStore
from tests.support.virtual_time import run_in_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DOWN = ChartMogulUnavailableError("down", method="GET", path="/v1/opportunities", status=503)
REJECTED = ChartMogulAuthenticationError("wrong key", method="GET", path="/v1/opportunities", status=401)
GONE = ChartMogulNotFoundError("gone", method="GET", path=f"/v1/opportunities/{UUID_1}", status=404)
SETTLED = 11.0
"""Seconds after which Airflow has stored an event, and the snapshot with it."""


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


@pytest.mark.parametrize("uuids", [None, [UUID_1]], ids=["all", "chosen"])
def test_a_failure_is_logged_once_for_each_kind_and_its_end_with_the_seconds_between(
    uuids: list[str] | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    async def test() -> None:
        async with running(uuids=uuids) as detector:
            for _ in range(2):
                for error in (DOWN, DOWN, REJECTED, REJECTED):
                    assert detector.on_error(error, UUID_1) is False
                    assert await detector.on_round_end(None) == ()
                    await asyncio.sleep(30)
                detector.on_opportunity(opportunity())

    run_in_virtual_time(test())
    watcher = "Watcher won on connection chartmogul_default"
    assert [(record.levelname, record.getMessage()) for record in caplog.records[1:]] == [
        ("WARNING", f"{watcher}: {DOWN} The watcher continues."),
        ("ERROR", f"{watcher}: {REJECTED} The watcher continues."),
        ("INFO", f"{watcher} works again after 120 s."),
    ] * 2


def test_an_opportunity_that_still_fails_is_no_recovery(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def test() -> None:
        async with running() as detector:
            for uuid in (UUID_1, str(UUID(int=1))):
                detector.on_error(DOWN, uuid)
            detector.on_error(GONE, str(UUID(int=1)))
            await detector.on_round_end({UUID_1})
            assert "works again" not in caplog.text
            detector.on_opportunity(opportunity())
            assert "works again" in caplog.text

    run_in_virtual_time(test())


def test_errors_of_the_list_and_the_connection_are_logged_by_the_engine(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with running() as detector:
            detector.on_error(DOWN, None)

    run_in_virtual_time(test())
    assert not caplog.records[1:]


def test_an_unexpected_error_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with running() as detector:
            detector.on_error(KeyError("a bug"), UUID_1)

    run_in_virtual_time(test())
    assert "Watcher won on connection chartmogul_default: unexpected error." in caplog.text
    assert "KeyError: 'a bug'" in caplog.text


def test_a_chosen_opportunity_that_does_not_exist_is_logged_once_and_is_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")

    async def test() -> None:
        async with running(uuids=[UUID_1]) as detector:
            for _ in range(3):
                detector.on_error(GONE, UUID_1)
                await detector.on_round_end(None)
            assert detector.changes.empty()

    run_in_virtual_time(test())
    assert [record.getMessage() for record in caplog.records[1:]] == [
        f"Watcher won on connection chartmogul_default: {GONE}"
    ]


def test_a_deletion_that_is_an_event_is_not_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with running(uuids=[UUID_1]) as detector:
            detector.on_opportunity(opportunity())
            for _ in range(3):
                detector.on_error(GONE, UUID_1)
            assert detector.changes.qsize() == 1

    run_in_virtual_time(test())
    assert not caplog.records[1:]


def test_after_an_empty_first_list_only_recent_opportunities_are_new() -> None:
    async def test() -> None:
        async with running() as detector:
            await detector.on_round_end(set())
            assert detector.on_opportunity(opportunity()) is False, "created before the baseline"
            created_at = datetime.now(UTC).isoformat()
            assert detector.on_opportunity(opportunity(str(UUID(int=1)), created_at=created_at)) is True

    run_in_virtual_time(test())


@pytest.mark.parametrize("is_event", [False, True], ids=["settled", "in flight"])
def test_an_opportunity_that_cannot_be_retrieved_by_its_uuid_is_not_searched_for(*, is_event: bool) -> None:
    async def test() -> None:
        async with running() as detector:
            for uuid in ("opp_4ee13ca4", UUID_1):
                detector.on_opportunity(opportunity(uuid))
                if is_event:
                    assert detector.on_opportunity(opportunity(uuid, "won")) is True
            assert await detector.on_round_end(set()) == [UUID_1]

    run_in_virtual_time(test())


def test_a_404_of_the_list_deletes_nothing() -> None:
    async def test() -> None:
        async with running() as detector:
            detector.on_opportunity(opportunity())
            detector.on_error(GONE, None)
            assert detector.changes.empty()

    run_in_virtual_time(test())


def test_a_chosen_opportunity_that_is_seen_late_is_not_new() -> None:
    async def test() -> None:
        async with running(uuids=[UUID_1]) as detector:
            detector.on_error(DOWN, UUID_1)
            await detector.on_round_end(None)
            assert detector.on_opportunity(opportunity(created_at="2030-01-01T00:00:00.000Z")) is False
            assert detector.on_opportunity(opportunity(category="won")) is True

    run_in_virtual_time(test())


def test_an_opportunity_that_the_first_rounds_missed_is_not_new() -> None:
    async def test() -> None:
        async with running() as detector:
            detector.on_opportunity(opportunity(created_at="2026-03-01T00:00:00.000Z"))
            await detector.on_round_end({UUID_1})
            assert detector.on_opportunity(opportunity(str(UUID(int=1)), created_at="2026-02-01T00:00:00Z")) is False
            assert detector.on_opportunity(opportunity(str(UUID(int=2)), created_at="2026-03-02T00:00:00Z")) is True

    run_in_virtual_time(test())


def test_a_deletion_is_found_once() -> None:
    async def test() -> None:
        async with running() as detector:
            detector.on_opportunity(opportunity())
            assert await detector.on_round_end(set()) == [UUID_1]
            assert detector.on_error(GONE, UUID_1) is True
            assert await detector.on_round_end(set()) == []

    run_in_virtual_time(test())


@pytest.mark.parametrize("uuid", [None, 5, [], {}], ids=str)
def test_an_entry_without_a_uuid_is_left_out(uuid: Any) -> None:
    async def test() -> None:
        async with running() as detector:
            await detector.on_round_end(set())
            assert detector.on_opportunity(opportunity(uuid)) is False
            assert detector.changes.empty()

    run_in_virtual_time(test())


def test_a_queued_change_says_so_and_no_other_poll_does() -> None:
    async def test() -> None:
        async with running() as detector:
            assert detector.on_opportunity(opportunity()) is False
            assert detector.on_opportunity(opportunity(category="won")) is True
            assert detector.on_opportunity(opportunity(category="won")) is False
            assert detector.on_error(GONE, UUID_1) is True
            assert detector.on_error(GONE, UUID_1) is False

    run_in_virtual_time(test())


def test_two_transitions_in_two_polls_are_two_events_also_while_neither_was_handed_over() -> None:
    async def test() -> None:
        async with running() as detector:
            for category in ("pipeline", "won", "lost"):
                detector.on_opportunity(opportunity(category=category))
                await detector.on_round_end({UUID_1})
            changes = [detector.changes.get_nowait() for _ in range(2)]
            assert [(change.previous, change.current) for change in changes] == [
                (("pipeline",), ("won",)),
                (("won",), ("lost",)),
            ]
            assert [change.round for change in changes] == [1, 2]

    run_in_virtual_time(test())


def test_a_change_is_stored_until_its_event_was_handed_over_and_had_time_to_be_stored() -> None:
    store = VirtualStore()

    async def test() -> None:
        async with running(store) as detector:
            detector.on_opportunity(opportunity())
            await detector.on_round_end({UUID_1})
            detector.on_opportunity(opportunity(category="won"))
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
            await asyncio.sleep(0.1)
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
            detector.acknowledge(detector.changes.get_nowait())
            await asyncio.sleep(4)
            detector.acknowledge(detector.changes.get_nowait())
            await asyncio.sleep(2)
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
        f"{subject}: unexpected error. It is tried again.",
        f"{subject} works again after 121 s.",
        f"{subject.partition(',')[0]}: no snapshot; the first complete round is the baseline and makes no events.",
    ]


def test_a_snapshot_that_cannot_be_used_is_logged_with_the_watcher_and_its_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        await detector_of(VirtualStore({"key": {"version": 1}})).load()

    run_in_virtual_time(test())
    subject = "Watcher won on connection chartmogul_default"
    assert [record.getMessage() for record in caplog.records] == [
        f"{subject}: the stored snapshot key is not one of this version of the provider, and is replaced.",
        f"{subject}: no snapshot; the first complete round is the baseline and makes no events.",
    ]


def test_custom_attributes_in_another_order_are_no_change_and_true_is_not_one() -> None:
    async def test() -> None:
        condition = watch_condition("changed", "custom")
        snapshot = SnapshotStore([], "key", {"columns": ["custom"]})
        detector = ChangeDetector(snapshot, condition, name="custom", chartmogul_conn_id="chartmogul_default")
        assert detector.on_opportunity(opportunity(custom={"seats": 1, "nested": {"a": 1, "b": 2}})) is False
        assert detector.on_opportunity(opportunity(custom={"nested": {"b": 2, "a": 1}, "seats": 1})) is False
        assert detector.on_opportunity(opportunity(custom={"seats": True, "nested": {"a": 1, "b": 2}})) is True

    run_in_virtual_time(test())


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


def test_looking_for_deletions_among_many_opportunities_lets_the_event_loop_do_other_things() -> None:
    async def test() -> None:
        detector = detector_of()
        uuids = [str(UUID(int=number)) for number in range(50_000)]
        for uuid in uuids:
            detector.on_opportunity(opportunity(uuid))
        steps = 0

        async def count() -> None:
            nonlocal steps
            while True:
                steps += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        assert await detector.on_round_end(set(uuids[1:])) == uuids[:1]
        counting.cancel()
        assert steps >= 50_000 / 2_000

    run_in_virtual_time(test())
