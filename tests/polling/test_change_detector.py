"""The logs of a change detector and rare differences; test_change_properties tests the changes that it finds."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from airflow_provider_chartmogul._polling.change_detector import ChangeDetector
from airflow_provider_chartmogul._polling.snapshot_store import SnapshotStore
from airflow_provider_chartmogul.exceptions import (
    ChartMogulAuthenticationError,
    ChartMogulNotFoundError,
    ChartMogulUnavailableError,
)
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID as UUID_1
from tests.opportunity.stand_ins import watch_condition
from tests.polling.detectors import detector_of, opportunity, running
from tests.support.virtual_time import run_in_virtual_time

DOWN = ChartMogulUnavailableError("down", method="GET", path="/v1/opportunities", status=503)
REJECTED = ChartMogulAuthenticationError("wrong key", method="GET", path="/v1/opportunities", status=401)
GONE = ChartMogulNotFoundError("gone", method="GET", path=f"/v1/opportunities/{UUID_1}", status=404)


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


def test_custom_attributes_in_another_order_are_no_change_and_true_is_not_one() -> None:
    async def test() -> None:
        condition = watch_condition("changed", "custom")
        snapshot = SnapshotStore([], "key", {"columns": ["custom"]})
        detector = ChangeDetector(snapshot, condition, name="custom", chartmogul_conn_id="chartmogul_default")
        assert detector.on_opportunity(opportunity(custom={"seats": 1, "nested": {"a": 1, "b": 2}})) is False
        assert detector.on_opportunity(opportunity(custom={"nested": {"b": 2, "a": 1}, "seats": 1})) is False
        assert detector.on_opportunity(opportunity(custom={"seats": True, "nested": {"a": 1, "b": 2}})) is True

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
