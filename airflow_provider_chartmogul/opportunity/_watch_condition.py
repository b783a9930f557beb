"""The condition under which a difference between two polls is an event."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul.opportunity._field_values import (
    check_field,
    is_value,
    normalize_values,
    read_field,
)
from airflow_provider_chartmogul.opportunity._fields import OpportunityFilters
from airflow_provider_chartmogul.opportunity._requests import list_query
from airflow_provider_chartmogul.opportunity._values import plain_text, truncated_repr

if TYPE_CHECKING:
    from collections.abc import Callable

CREATED, CHANGED, DELETED = EVENTS = ("created", "changed", "deleted")

Row = tuple[Any, ...]
"""The watched values of one opportunity, in the order of :attr:`WatchCondition.columns`."""

_MATCHES = "(matches the filters)"  # not a valid field name
_DIGEST = "sha256:"
_DATE_FILTERS = ("estimated_close_date_on_or_after", "estimated_close_date_on_or_before")


@dataclass(frozen=True, slots=True)
class WatchCondition:
    """
    The events that a watcher emits.

    Email addresses are stored as SHA-256 digests, since Airflow stores and logs a watcher's arguments in clear.

    :param events: the members of :data:`EVENTS` to emit, sorted
    :param fields: the fields whose changes are events; None: any, by ``updated_at``
    :param targets: values of the only field to which events are limited; None: any
    :param filters: the filters that an opportunity has to match, by the names of :class:`OpportunityFilters`
    """

    events: tuple[str, ...]
    fields: tuple[str, ...] | None
    targets: tuple[Any, ...] | None
    filters: Mapping[str, str]

    @classmethod
    def parse(cls, events: object, fields: object, target_values: object, filters: object) -> WatchCondition:
        """
        Parse the arguments of a watcher.

        :raises ValueError: if an event, field, value or filter is unknown
        """
        watched = _parse_names(fields, "fields", check_field) if fields is not None else None
        targets = None
        if target_values is not None:
            if watched is None or len(watched) != 1:
                raise ValueError("target_values: belong to one field; name it in fields.")
            targets = normalize_values(watched[0], target_values, "target_values")
            if watched[0] == "owner":
                targets = tuple(None if value is None else digest(value) for value in targets)
            targets = tuple(sorted(targets, key=json.dumps))
        return cls(_parse_names(events, "events", _check_event), watched, targets, _parse_filters(filters))

    @property
    def watched_fields(self) -> tuple[str, ...]:
        """The fields that are compared and stored."""
        if self.fields is not None:
            return self.fields
        return ("updated_at",) if CHANGED in self.events else ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the values in a row, by which stored rows are validated."""
        return (*self.watched_fields, _MATCHES) if self._is_match_stored else self.watched_fields

    @property
    def _is_match_stored(self) -> bool:
        # A deleted opportunity can no longer be compared with the filters.
        return bool(self.filters) and DELETED in self.events

    def reader(self) -> Callable[[Mapping[str, Any]], Row]:
        """Return a function that reads a row from an opportunity's JSON; it is called for each entry of each poll."""
        fields = self.watched_fields
        if self._is_match_stored:
            return lambda opportunity: (
                *[read_field(opportunity, field) for field in fields],
                self.matches_filters(opportunity),
            )
        if len(fields) == 1 and not _is_custom(fields[0]):
            (field,) = fields
            return lambda opportunity: (opportunity.get(field),)
        return lambda opportunity: tuple([read_field(opportunity, field) for field in fields])

    def is_unchanged(self, row: Row, known: Row) -> bool:
        """Return whether two rows are equal as JSON, in which ``true`` is not ``1`` and keys have no order."""
        if row != known:
            return False
        return not any(map(_is_custom, self.watched_fields)) or _json_of(row) == _json_of(known)

    def is_event(self, previous: Row | None, current: Row | None, opportunity: Mapping[str, Any] | None) -> bool:
        """
        Return whether a difference is an event to emit.

        :param previous: the row before; None: the opportunity is new
        :param current: the row now; None: the opportunity is deleted
        :param opportunity: its JSON now
        """
        if self.event_of(previous, current) not in self.events:
            return False
        row = previous if current is None else current
        if row is None:
            return False
        if self.targets is not None and not any(self._is_target(row[0], target) for target in self.targets):
            return False
        if opportunity is None:
            return bool(row[-1]) if self._is_match_stored else True
        if previous is not None and self.is_unchanged(self._values(row), self._values(previous)):
            return False  # only the match of the filters changed
        return self.matches_filters(opportunity)

    @staticmethod
    def event_of(previous: Row | None, current: Row | None) -> str:
        """Return the name of the event for a difference."""
        if previous is None:
            return CREATED
        return DELETED if current is None else CHANGED

    def changes(self, previous: Row | None, current: Row | None) -> dict[str, dict[str, Any]]:
        """Return the previous and the current value of each watched field."""
        return {
            field: {
                "previous": None if previous is None else previous[index],
                "current": None if current is None else current[index],
            }
            for index, field in enumerate(self.watched_fields)
        }

    def matches_filters(self, opportunity: Mapping[str, Any]) -> bool:
        """Return whether an opportunity passes the filters, as ChartMogul's list applies them."""
        for name, expected in self.filters.items():
            if name in _DATE_FILTERS:
                date = opportunity.get("estimated_close_date")
                if not isinstance(date, str):
                    return False
                if date[:10] < expected if name.endswith("after") else date[:10] > expected:
                    return False
            elif name == "owner":
                owner = opportunity.get("owner")
                if not isinstance(owner, str) or digest(owner) != expected:
                    return False
            elif not is_value(name, opportunity.get(name), expected):
                return False
        return True

    def _is_target(self, value: Any, target: Any) -> bool:
        if self.watched_fields == ("owner",) and isinstance(value, str):
            return bool(digest(value) == target)
        return is_value(self.watched_fields[0], value, target)

    def _values(self, row: Row) -> Row:
        return row[: len(self.watched_fields)]


@lru_cache(maxsize=1024)
def digest(address: str) -> str:
    """Return the digest of an email address; a digest is returned unchanged."""
    if address.startswith(_DIGEST):
        return address
    return _DIGEST + hashlib.sha256(address.encode()).hexdigest()


def _json_of(row: Row) -> str:
    return json.dumps(row, sort_keys=True)


def _is_custom(field: str) -> bool:
    return field.startswith("custom")


def _check_event(name: object) -> str:
    if not isinstance(name, str) or name not in EVENTS:
        raise ValueError(f"events: {truncated_repr(name)} is none of {', '.join(EVENTS)}.")
    return plain_text(name)


def _parse_names(value: object, parameter: str, check: Callable[[object], str]) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Iterable) or isinstance(names, Mapping):
        raise ValueError(f"{parameter}: expected names, not {truncated_repr(value)}.")
    checked = {check(name) for name in names}
    if not checked:
        raise ValueError(f"{parameter}: empty; name one, or leave the parameter out.")
    return tuple(sorted(checked))


def _parse_filters(filters: object) -> dict[str, str]:
    if filters is None:
        return {}
    if not isinstance(filters, Mapping):
        known = ", ".join(OpportunityFilters.__annotations__)
        raise ValueError(f"filters: expected a dict of {known}, not {type(filters).__name__}.")
    try:
        parsed = list_query(filters)
    except ValueError as error:
        raise ValueError(f"filters: {error}") from None
    if "owner" in parsed:
        parsed["owner"] = digest(parsed["owner"])
    return dict(sorted(parsed.items()))
