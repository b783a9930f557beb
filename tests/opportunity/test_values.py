"""Single values: times in ISO 8601, and the length of what messages show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_chartmogul.opportunity._values import parse_iso8601, truncated_repr


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-01T09:30:00", datetime(2026, 3, 1, 9, 30, tzinfo=UTC)),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        (" 2026-03-01T09:30:00Z\n", datetime(2026, 3, 1, 9, 30, tzinfo=UTC)),
        ("2026-03-01T09:30:00+02:00", datetime(2026, 3, 1, 9, 30, tzinfo=timezone(timedelta(hours=2)))),
        ("soon", None),
        ("", None),
        (5, None),
        (None, None),
    ],
)
def test_a_time_without_an_offset_is_in_utc_and_others_keep_theirs(text: Any, moment: datetime | None) -> None:
    parsed = parse_iso8601(text)
    assert parsed == moment
    assert parsed is None or parsed.utcoffset() == (moment and moment.utcoffset())


@pytest.mark.parametrize(("length", "shown"), [(78, "'" + 78 * "x" + "'"), (79, "'" + 78 * "x" + "…")])
def test_a_message_shows_80_characters_of_a_value(length: int, shown: str) -> None:
    assert truncated_repr(length * "x") == shown
