"""The list as remembered: pages that do not reach the next segment, overlap it, or arrive late."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_chartmogul._polling.list_positions import ListPositions, PositionError
from tests.hooks.stand_ins import page_of


def entry(number: int, created: int | None = None) -> dict[str, Any]:
    moment = number if created is None else created
    return {"uuid": f"uuid-{number}", "created_at": f"2026-01-01T00:00:{moment:02}.000Z", "forecast_category": "won"}


def uuids(entries: list[dict[str, Any]]) -> list[str]:
    return [each["uuid"] for each in entries]


def two_segments() -> ListPositions:
    """Return the positions of a list of 20 to 11, read in two pages."""
    positions = ListPositions()
    _, second = positions.apply(positions.head, page_of([entry(n) for n in range(20, 15, -1)], "a"), 0.0, 1.0)
    assert second
    positions.apply(second, page_of([entry(n) for n in range(15, 10, -1)]), 1.0, 2.0)
    return positions


def test_a_page_that_does_not_reach_the_next_segment_leads_on_to_another() -> None:
    positions = two_segments()
    page = page_of([entry(n) for n in range(25, 20, -1)], "b")
    own, added = positions.apply(positions.head, page, 3.0, 4.0)
    assert uuids(own) == [f"uuid-{n}" for n in range(25, 20, -1)]
    assert added
    assert [segment.cursor for segment in positions] == [None, "b", "a"]


def test_a_page_ends_where_the_next_segment_begins() -> None:
    positions = two_segments()
    page = page_of([entry(n) for n in (20, 19, 17, 16, 15, 14)], "c")
    own, added = positions.apply(positions.head, page, 3.0, 4.0)
    assert uuids(own) == ["uuid-20", "uuid-19", "uuid-17", "uuid-16"]
    assert added is None
    assert "uuid-18" not in positions.owners
    assert "uuid-15" in positions.owners


def test_an_entry_that_another_segment_delivered_after_the_request_is_not_delivered_again() -> None:
    positions = two_segments()
    second = positions.head.next
    assert second
    tied = entry(30, created=15)
    positions.apply(second, page_of([entry(15), tied, *[entry(n) for n in range(14, 10, -1)]]), 5.0, 6.0)
    # The order of equal times is not known. Requested before that response arrived, its state may be older.
    late = page_of([*[entry(n) for n in range(20, 15, -1)], tied], "d")
    own, _ = positions.apply(positions.head, late, 5.5, 7.0)
    assert "uuid-30" not in uuids(own)
    own, _ = positions.apply(positions.head, late, 6.5, 8.0)
    assert "uuid-30" in uuids(own)


@pytest.mark.parametrize(
    "page",
    [
        page_of([entry(11), entry(12)]),
        page_of([entry(30)]),
        page_of([{"uuid": "uuid-1"}]),
        page_of([entry(15)], "a"),
    ],
    ids=["ascending", "newer than its cursor", "without a time", "a cursor that does not move on"],
)
def test_a_page_that_does_not_fit_its_position_is_refused_and_changes_nothing(page: Any) -> None:
    positions = two_segments()
    segment = positions.head.next
    assert segment
    if page.cursor:
        segment.next = None
    before = dict(positions.owners)
    with pytest.raises(PositionError):
        positions.apply(segment, page, 3.0, 4.0)
    assert positions.owners == before


def test_what_is_no_opportunity_is_counted_and_skipped() -> None:
    positions = ListPositions()
    page = page_of([None, [], "text", {"uuid": 7}, {}, {"uuid": ""}, {"uuid": "a b"}, {"uuid": "\ud800"}, entry(3)])
    own, _ = positions.apply(positions.head, page, 0.0, 1.0)
    assert uuids(own) == ["uuid-3"]
    assert positions.malformed == 8


def test_a_dropped_position_leaves_its_opportunities_to_the_one_before() -> None:
    positions = two_segments()
    second = positions.head.next
    assert second
    assert positions.can_merge(positions.head)
    assert positions.drop(second) is positions.head
    assert not positions.is_known(second)
    assert all(owner is positions.head for owner in positions.owners.values())
    assert len(positions.owners) == 10


def test_a_page_that_ends_before_the_next_segment_leads_to_it_whatever_its_cursor() -> None:
    positions = two_segments()
    _, added = positions.apply(positions.head, page_of([entry(n) for n in range(20, 15, -1)], "another"), 3.0, 4.0)
    assert added is None
    assert [segment.cursor for segment in positions] == [None, "a"]


def test_nothing_is_known_after_a_restart() -> None:
    positions = two_segments()
    former = list(positions)
    assert positions.is_complete
    positions.restart()
    assert not positions.is_complete
    assert not any(map(positions.is_known, former))
    assert positions.owners == {}
    assert list(positions) == [positions.head]
    assert positions.is_known(positions.head)
