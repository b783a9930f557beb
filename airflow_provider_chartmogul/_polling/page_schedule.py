"""How often a page of the list is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_chartmogul._polling.list_positions import Segment

WAITS_FOR_A_PAGE = 2  # individual polls of two take at least as many requests
_FEW_OPEN = 2  # opportunities of a segment, up to which it is read less often
_INTERVALS_FOR_FEW_OPEN = 1.5


def seconds_between_reads(
    segment: Segment, waits: list[float], interval: float, closed_poll_rounds: int, now: float
) -> float:
    """
    Return the seconds between two reads of a segment; infinity: it is read no more.

    :param waits: the intervals of the waits for its opportunities
    :param interval: the shortest one of the watchers; infinity: there are none
    :param closed_poll_rounds: intervals between two reads of a segment whose opportunities are closed
    :param now: the time of the event loop's clock
    """
    period = interval
    is_quiet = now - segment.changed > closed_poll_rounds * interval
    if closed_poll_rounds > 1 and is_quiet and segment.cursor is not None:
        if not segment.open_opportunities:
            period = closed_poll_rounds * interval
        elif segment.open_opportunities <= _FEW_OPEN:
            period = _INTERVALS_FOR_FEW_OPEN * interval
    if len(waits) >= WAITS_FOR_A_PAGE:
        return min(period, *waits)
    # A single wait is worth a page only if the page replaces its individual poll.
    return interval if waits and waits[0] >= interval else period
