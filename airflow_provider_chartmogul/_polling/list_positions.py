"""The list of opportunities as remembered: a chain of segments, each with the cursor that leads to it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul.hooks._paging import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_chartmogul.hooks._paging import Page

_CLOSED = frozenset({"won", "lost"})
_UUID = re.compile("[!-~]+")  # the snapshot stores UUIDs of any form, separated by spaces


class PositionError(Exception):
    """A page does not fit the position that it was read from."""


@dataclass(eq=False, slots=True)
class Segment:
    """
    A part of the list, as long as a page when it was found.

    :param cursor: leads to its first entry; None: the head of the list
    :param before: creation time and UUID of the entry before it
    """

    cursor: str | None = None
    before: tuple[str, str] = ("", "")
    previous: Segment | None = None
    next: Segment | None = None
    first: tuple[str, str] | None = None  # creation time and UUID of the first entry
    uuids: set[str] = field(default_factory=set)
    fingerprint: int = 0
    open_opportunities: int = 0
    waits: int = 0  # for its opportunities
    received: float = -math.inf  # when it was last read
    changed: float = -math.inf  # when an entry was last found changed
    period: float = math.inf  # seconds between two reads
    failures: int = 0  # in a row
    refusals: int = 0  # of the positions after it, in a row

    @property
    def is_read(self) -> bool:
        """Whether it was ever read."""
        return self.received > -math.inf


class ListPositions:
    """
    The segments of the list, newest first, and the segment of each opportunity.

    The list is ordered by creation time, newest first, and a cursor is a position in that order: entries created later
    do not shift it, and neither do deletions. Creation times are shown in milliseconds but ordered by microseconds.
    """

    def __init__(self) -> None:
        self.head = Segment()
        self.owners: dict[str, Segment] = {}
        self.is_complete = False  # the end of the list was reached
        self.is_ordered = True
        self.malformed = 0
        self._cursors: set[str] = set()

    def __iter__(self) -> Iterator[Segment]:
        segment: Segment | None = self.head
        while segment:
            yield segment
            segment = segment.next

    def is_known(self, segment: Segment) -> bool:
        """Return whether a segment is part of the list as remembered."""
        return segment is self.head or segment.previous is not None

    def apply(
        self, segment: Segment, page: Page, sent: float, received: float
    ) -> tuple[list[dict[str, Any]], Segment | None]:
        """
        Record a page that was read from a segment's cursor.

        :param sent: when the request was sent
        :param received: when the response arrived
        :return: the entries that belong to the segment, and the segment to read next, if the page was too short to
            reach the one that was known
        :raises PositionError: if the page does not fit; nothing is recorded
        """
        entries = [entry for entry in page.entries if _is_opportunity(entry)]
        self.malformed += len(page.entries) - len(entries)
        if self.is_ordered:
            self._check_order(segment, entries)
        own = list(self._until_next(segment, entries)) if self.is_ordered else entries
        is_joined = len(own) < len(entries) or self._meets_next(segment, page, own)
        added = None
        if not is_joined and page.cursor is not None:
            added = self._insert(segment, page.cursor, own)
        if segment.next is None:
            self.is_complete = True
        # Entries that another segment delivered after this page was requested are newer.
        fresh = [
            entry
            for entry in own
            if (owner := self.owners.get(entry["uuid"])) in (None, segment) or owner.received <= sent
        ]
        self._own(segment, {entry["uuid"] for entry in fresh})
        segment.first = (entries[0]["created_at"], entries[0]["uuid"]) if entries and self.is_ordered else None
        fingerprint = hash(tuple((e["uuid"], str(e.get("updated_at")), str(e.get("forecast_category"))) for e in own))
        if segment.fingerprint and fingerprint != segment.fingerprint:
            segment.changed = received
        segment.fingerprint, segment.received = fingerprint, received
        segment.open_opportunities = sum(str(entry.get("forecast_category")) not in _CLOSED for entry in own)
        segment.failures = 0
        if segment.previous:
            segment.previous.refusals = 0
        return fresh, added

    def drop(self, segment: Segment) -> Segment:
        """Forget a position; return the segment that now owns its entries."""
        previous = segment.previous
        assert previous is not None  # noqa: S101  # the head has no position to forget
        previous.next = segment.next
        if segment.next:
            segment.next.previous = previous
        for uuid in segment.uuids:
            self.owners[uuid] = previous
        previous.uuids |= segment.uuids
        previous.open_opportunities += segment.open_opportunities
        previous.fingerprint = 0  # it has other entries now, and not because they changed
        segment.previous = None
        self._cursors.discard(segment.cursor or "")
        return previous

    def can_merge(self, segment: Segment) -> bool:
        """Return whether a segment and the next one fit on a page."""
        following = segment.next
        return bool(
            self.is_ordered
            and following
            and following.is_read
            and not following.failures
            and len(segment.uuids) + len(following.uuids) <= PAGE_SIZE
        )

    def restart(self) -> None:
        """Forget all positions and opportunities, so that the list is read one page after another."""
        for segment in self:
            segment.previous = None
        self.owners = {}  # a new one, since subscribers may still compare with the former one
        self.head = Segment(failures=self.head.failures)  # responses for the former head are ignored
        self._cursors.clear()
        self.is_complete = False

    def _insert(self, segment: Segment, cursor: str, own: list[dict[str, Any]]) -> Segment:
        if cursor == segment.cursor or cursor in self._cursors:
            raise PositionError("the cursor of the next page does not move on")
        last = own[-1] if own else None
        before = (str(last.get("created_at")), last["uuid"]) if last else segment.before
        added = Segment(cursor, before, segment, segment.next)
        if segment.next:
            segment.next.previous = added
        segment.next = added
        self._cursors.add(cursor)
        return added

    def _own(self, segment: Segment, uuids: set[str]) -> None:
        for uuid in segment.uuids - uuids:
            if self.owners.get(uuid) is segment:
                del self.owners[uuid]
        for uuid in uuids:
            self.owners[uuid] = segment
        segment.uuids = uuids

    def _check_order(self, segment: Segment, entries: list[dict[str, Any]]) -> None:
        newest = segment.before[0]
        for entry in entries:
            created = entry.get("created_at")
            if not isinstance(created, str) or (newest and created > newest):
                raise PositionError("the list is not ordered by creation time")
            newest = created

    def _until_next(self, segment: Segment, entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the entries before the next segment. Of equal times, all but its first entry may be before it."""
        following = segment.next
        created, uuid = following.first or following.before if following else ("", "")
        for entry in entries:
            if entry["created_at"] < created or (following and following.first and entry["uuid"] == uuid):
                return
            yield entry

    def _meets_next(self, segment: Segment, page: Page, own: list[dict[str, Any]]) -> bool:
        following = segment.next
        if following is None or not self.is_ordered:
            return False
        return page.cursor == following.cursor or bool(own and own[-1]["uuid"] == following.before[1])


def _is_opportunity(entry: Any) -> bool:
    uuid = entry.get("uuid") if isinstance(entry, dict) else None
    return isinstance(uuid, str) and _UUID.fullmatch(uuid) is not None
