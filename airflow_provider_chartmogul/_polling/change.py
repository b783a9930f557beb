"""A difference between two polls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

from airflow_provider_chartmogul.opportunity._watch_condition import WatchCondition

if TYPE_CHECKING:
    from airflow_provider_chartmogul.opportunity._watch_condition import Row


class Change(NamedTuple):
    """
    A difference between two polls that makes an event.

    :param previous: the watched values before; None: the opportunity is new
    :param current: the watched values now; None: the opportunity is deleted
    :param round: the number of the poll round that detected it; not stored
    """

    opportunity_uuid: str
    previous: Row | None
    current: Row | None
    observed_at: str
    customer_uuid: str | None
    updated_at: str | None
    round: int = 0

    @property
    def event(self) -> str:
        """``created``, ``changed`` or ``deleted``."""
        return WatchCondition.event_of(self.previous, self.current)

    def to_json(self) -> list[Any]:
        """Return the part that is stored."""
        return list(self[:-1])

    @classmethod
    def from_json(cls, stored: object, columns: int) -> Self:
        """
        Restore a change.

        :param columns: the number of values in a row
        :raises ValueError: if the stored value is not a change
        """
        if not isinstance(stored, list) or len(stored) != len(cls._fields) - 1:
            raise ValueError("no change")
        uuid, previous, current, observed_at, *others = stored
        rows = [row for row in (previous, current) if row is not None]
        if not rows or any(not isinstance(row, list) or len(row) != columns for row in rows):
            raise ValueError("no rows")
        if not isinstance(uuid, str) or not isinstance(observed_at, str):
            raise ValueError("no text")
        before, after = (None if row is None else tuple(row) for row in (previous, current))
        return cls(uuid, before, after, observed_at, *others)
