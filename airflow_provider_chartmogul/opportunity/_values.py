"""Validation and conversion of single values."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from airflow_provider_chartmogul.opportunity._fields import ForecastCategory

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


def check_opportunity_uuid(value: object) -> str:
    """
    Return the UUID of an opportunity in the lower-case form that ChartMogul uses.

    :param value: the UUID, as text or as ``uuid.UUID``; surrounding white space is stripped
    :raises ValueError: unless it is 32 hexadecimal digits grouped 8-4-4-4-12
    """
    text = value.strip() if isinstance(value, str) else str(value) if isinstance(value, UUID) else ""
    if not _UUID.fullmatch(text):
        raise ValueError(
            f"opportunity_uuid: expected one like 4ee13ca4-e7fe-11ee-fa7f-f303abf41acc, not {truncated_repr(value)}"
        )
    return text.lower()


def check_opportunity_uuids(value: object, wait_for: object = "all") -> list[str]:
    """
    Return several UUIDs of opportunities in lower case and in the order given, without duplicates.

    :param value: an iterable of UUIDs; or text, since templates render to text: comma-separated, or a list in JSON or
        Python notation
    :param wait_for: ``all`` or ``any`` of them; ``any`` needs at least one
    :raises ValueError: if it is anything else
    """
    if isinstance(value, str):
        text = value.strip()
        is_list = text.startswith("[") and text.endswith("]")
        inner = text[1:-1].strip() if is_list else text
        value = [item.strip().strip("'\"") for item in inner.split(",")] if inner or not is_list else []
    if not isinstance(value, Iterable) or isinstance(value, Mapping):
        raise ValueError(f"opportunity_uuids: expected UUIDs, not {truncated_repr(value)}.")
    uuids = list(dict.fromkeys(check_opportunity_uuid(uuid) for uuid in value))
    if not uuids and wait_for == "any":
        raise ValueError('opportunity_uuids: empty, so that wait_for="any" would wait forever.')
    return uuids


def check_forecast_categories(value: str | Iterable[str], parameter: str) -> frozenset[str]:
    """
    Validate forecast categories.

    :param value: one category or several, as members of :class:`ForecastCategory` or their values
    :param parameter: the name of the parameter, for the error message
    :raises ValueError: if ChartMogul has no such category
    """
    if not isinstance(value, Iterable):
        raise ValueError(f"{parameter}: expected forecast categories, not {truncated_repr(value)}.")
    categories = [value] if isinstance(value, str) else list(value)
    known = [category.value for category in ForecastCategory]
    for category in categories:
        if category not in known:
            raise ValueError(
                f"{parameter}: {truncated_repr(category)} is not a forecast category; use one of {', '.join(known)}."
            )
    return frozenset(categories)


def check_baseline_category(value: object) -> None:
    """
    Validate the baseline of a change.

    :raises ValueError: if it is neither None nor one of ChartMogul's categories
    """
    if value is None:
        return
    if not isinstance(value, str):
        raise ValueError(f"baseline_category: expected one forecast category, not {truncated_repr(value)}.")
    check_forecast_categories(value, "baseline_category")


def to_iso_date(value: object, parameter: str) -> str:
    """
    Return a date as ``YYYY-MM-DD``.

    :param value: a ``date`` or ``datetime`` (``pendulum``'s too), or an ISO 8601 string of either
    :param parameter: the name of the parameter, for the error message
    :raises ValueError: if it is none of these
    """
    date = parse_iso8601(value) if isinstance(value, str) else value
    if isinstance(date, datetime.datetime):
        date = date.date()
    if date is None and value is not None:
        raise ValueError(f"{parameter}: {truncated_repr(value)} is not a date; write it as YYYY-MM-DD.")
    if not isinstance(date, datetime.date):
        raise ValueError(f"{parameter}: expected a date or a YYYY-MM-DD string, not {truncated_repr(value)}.")
    return date.isoformat()


def parse_iso8601(value: object) -> datetime.datetime | None:
    """
    Parse an ISO 8601 date or time.

    :param value: any value of a JSON object
    :return: the time with its offset, UTC if it has none; midnight of a date; None if the value is neither
    """
    try:
        moment = datetime.datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment.replace(tzinfo=datetime.UTC) if moment is not None and moment.tzinfo is None else moment


def read_mapping(value: object, parameter: str) -> Mapping[str, Any]:
    """
    Return a mapping, which may be given as the text of a JSON object, since a template of a whole dict renders to text.

    :param value: the mapping or text
    :param parameter: the name of the parameter, for the error message
    :raises ValueError: if it is neither; the text is not shown, since it may hold an owner's address
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError(
                f"{parameter}: the text is not JSON; end a template of a dict with | tojson, or template its values."
            ) from None
    if not isinstance(value, Mapping):
        raise ValueError(f"{parameter}: expected a dict or a JSON object, not {type(value).__name__}.")
    return value


def truncated_repr(value: object) -> str:
    """Return the ``repr`` of a user's value for an error message, truncated if long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
