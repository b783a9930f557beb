"""The opportunities of an account, sorted and indexed so that the cost of a page does not grow with the account."""

from __future__ import annotations

import itertools
import json
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Fields: TypeAlias = dict[str, Any]
"""An opportunity with the keys of the API's responses, in their order."""


class Position(NamedTuple):
    """The sort key of the list, in descending order; also the content of a cursor."""

    created: int
    uuid: str


@dataclass(slots=True, eq=False)
class Record:
    """
    An opportunity; never changed, only replaced.

    :param position: its place in the list
    :param fields: its content
    """

    position: Position
    fields: Fields
    _json: bytes | None = None

    @property
    def uuid(self) -> str:
        """Its UUID."""
        return self.position.uuid

    def json(self) -> bytes:
        """Return its JSON, which is cached because polling requests unchanged opportunities."""
        if self._json is None:
            text = json.dumps(self.fields, ensure_ascii=False, separators=(",", ":"))
            self._json = text.encode(errors="replace")
        return self._json

    def copy(self) -> Fields:
        """Return a copy of its content."""
        copy: Fields = json.loads(self.json())
        return copy


class Page(NamedTuple):
    """A page of the list: JSON objects, the position of the last one, and whether others follow."""

    entries: list[bytes]
    last: Position | None
    has_more: bool


@dataclass(frozen=True)
class Filters:
    """
    The filters of a list request.

    :param equal: values by field name
    :param earliest: lower bound of ``estimated_close_date``, as ``YYYY-MM-DD``
    :param latest: upper bound of ``estimated_close_date``
    """

    equal: Mapping[str, str] = field(default_factory=dict)
    earliest: str | None = None
    latest: str | None = None

    def match(self, record: Record) -> bool:
        """Return whether an opportunity satisfies all filters."""
        fields = record.fields
        if any(fields[name] != value for name, value in self.equal.items()):
            return False
        if self.earliest is None and self.latest is None:
            return True
        closes = fields["estimated_close_date"]
        # ISO dates sort as text.
        return isinstance(closes, str) and (self.earliest or closes) <= closes <= (self.latest or closes)


class OpportunityList:
    """
    All opportunities of an account, newest first.

    :param records: in ascending order of their positions
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._sorted = list(records)
        self._by_uuid = {record.uuid: record for record in self._sorted}
        # By field name and value; built by the first request that filters by the field.
        self._indexes: dict[str, dict[str, list[Record]]] = {}

    def __contains__(self, uuid: str) -> bool:
        return uuid in self._by_uuid

    def __getitem__(self, uuid: str) -> Record:
        return self._by_uuid[uuid]

    def __iter__(self) -> Iterator[Record]:
        return reversed(self._sorted)

    def add(self, record: Record) -> None:
        """Add an opportunity whose UUID is not in the list."""
        self._by_uuid[record.uuid] = record
        for records in (self._sorted, *self._indexed_lists(record)):
            insort(records, record, key=_position)

    def remove(self, record: Record) -> None:
        """Remove an opportunity."""
        del self._by_uuid[record.uuid]
        for records in (self._sorted, *self._indexed_lists(record)):
            del records[bisect_left(records, record.position, key=_position)]

    def with_value(self, name: str, value: str) -> list[Record]:
        """
        Return the opportunities with a value in a field, in ascending order of their positions.

        :param name: of the field
        :param value: as text; other types are not indexed
        """
        return self._index(name).get(value, [])

    def page(self, size: int, after: Position | None, filters: Filters) -> Page:
        """
        Return a page of the list.

        :param size: the maximum number of opportunities
        :param after: position of the last entry of the previous page; None for the first page
        :param filters: which opportunities to list
        """
        candidates = [self.with_value(name, value) for name, value in filters.equal.items()]
        records = min([self._sorted, *candidates, *self._closing_within(filters)], key=len)
        stop = len(records) if after is None else bisect_left(records, after, key=_position)
        older = (records[index] for index in range(stop - 1, -1, -1))
        found = list(itertools.islice(older if filters == _ALL else filter(filters.match, older), size + 1))
        entries = found[:size]
        last = entries[-1].position if entries else None
        return Page([record.json() for record in entries], last, len(found) > size)

    def _closing_within(self, filters: Filters) -> Iterator[list[Record]]:
        if filters.earliest is None and filters.latest is None:
            return
        index = self._index("estimated_close_date")
        dates = [date for date in index if (filters.earliest or date) <= date <= (filters.latest or date)]
        # If more match, scanning finds a page of them sooner than sorting them does.
        if sum(len(index[date]) for date in dates) < len(self._sorted) // 20:
            yield sorted(itertools.chain(*(index[date] for date in dates)), key=_position)

    def _index(self, name: str) -> dict[str, list[Record]]:
        index = self._indexes.get(name)
        if index is None:
            index = self._indexes[name] = {}
            for record in self._sorted:
                if isinstance(value := record.fields.get(name), str):
                    index.setdefault(value, []).append(record)
        return index

    def _indexed_lists(self, record: Record) -> Iterator[list[Record]]:
        for name, index in self._indexes.items():
            if isinstance(value := record.fields.get(name), str):
                yield index.setdefault(value, [])


_ALL = Filters()


def _position(record: Record) -> Position:
    return record.position
