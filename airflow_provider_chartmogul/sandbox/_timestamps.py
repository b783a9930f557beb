"""Timestamps as ChartMogul writes them: UTC, with milliseconds in JSON and microseconds in cursors."""

from __future__ import annotations

import datetime
import time
from typing import TYPE_CHECKING
from uuid import UUID

from airflow_provider_chartmogul.opportunity._values import parse_iso8601

if TYPE_CHECKING:
    from random import Random

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_GREGORIAN_EPOCH = 0x01B21DD213814000
"""Epoch of version-1 UUIDs, in steps of 100 ns before 1970."""


def now() -> int:
    """Return microseconds since 1970."""
    return time.time_ns() // 1000


def to_json(moment: int) -> str:
    """
    Format a timestamp as in the API's responses: ``2024-03-18T17:15:56.960Z``.

    :param moment: microseconds since 1970
    """
    whole = _EPOCH + datetime.timedelta(microseconds=moment)
    return whole.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def to_cursor(moment: int) -> str:
    """
    Format a timestamp as in the API's cursors: ``2024-03-11T07:45:41.133861000Z``.

    :param moment: microseconds since 1970
    """
    whole = _EPOCH + datetime.timedelta(microseconds=moment)
    return whole.replace(tzinfo=None).isoformat(timespec="microseconds") + "000Z"


def parse(text: object) -> int | None:
    """
    Parse an ISO 8601 date or time.

    :param text: any value; without an offset it is read as UTC
    :return: microseconds since 1970, or None if it is not ISO 8601
    """
    moment = parse_iso8601(text)
    return None if moment is None else (moment - _EPOCH) // datetime.timedelta(microseconds=1)


def parse_date(text: str) -> str | None:
    """
    Parse an ISO 8601 date, or the date of an ISO 8601 time.

    :param text: any text
    :return: the date as ``YYYY-MM-DD``, or None if it is not ISO 8601
    """
    moment = parse_iso8601(text)
    return None if moment is None else moment.date().isoformat()


def time_based_uuid(moment: int, random: Random) -> str:
    """
    Return a version-1 UUID like those of opportunities.

    :param moment: its timestamp, in microseconds since 1970
    :param random: source of its clock sequence and node
    """
    ticks = moment * 10 + _GREGORIAN_EPOCH
    low, middle, high = ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48 & 0x0FFF
    rest = random.getrandbits(62) | 1 << 63
    return f"{low:08x}-{middle:04x}-1{high:03x}-{rest >> 48:04x}-{rest & 0xFFFFFFFFFFFF:012x}"


def random_uuid(random: Random) -> str:
    """
    Return a version-4 UUID.

    :param random: source of its bits
    """
    return str(UUID(int=random.getrandbits(128), version=4))
