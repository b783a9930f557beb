"""Validation and conversion of single values."""

from __future__ import annotations

import ast
import datetime
import json
import math
import operator
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any
from uuid import UUID

from airflow_provider_chartmogul.exceptions import hide_addresses
from airflow_provider_chartmogul.opportunity._fields import ForecastCategory

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
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


def check_awaited_uuids(opportunity_uuid: object, opportunity_uuids: object, wait_for: object) -> list[str]:
    """
    Return the UUIDs of a wait in lower case and in the order given, without duplicates.

    :param opportunity_uuid: as for :func:`check_opportunity_uuid`, unless there are several
    :param opportunity_uuids: as for :func:`read_uuids`; None: there is one
    :param wait_for: ``all`` or ``any`` of several; ``any`` needs at least one
    :raises ValueError: if they are anything else
    """
    given = [opportunity_uuid] if opportunity_uuids is None else read_uuids(opportunity_uuids)
    uuids = list(dict.fromkeys(map(check_opportunity_uuid, given)))
    if not uuids and wait_for == "any":
        raise ValueError('opportunity_uuids: empty, so that wait_for="any" would wait forever.')
    return uuids


def read_uuids(value: object) -> Iterable[Any]:
    """
    Return the items of a list of UUIDs, unchecked.

    :param value: an iterable of UUIDs; or text, since templates render to text: comma-separated, or a list in JSON or
        Python notation
    :raises ValueError: if it is anything else
    """
    if isinstance(value, str):
        text = value.strip()
        if not text:
            raise ValueError("opportunity_uuids: expected UUIDs, not empty text; an empty list is written [].")
        inner = text[1:-1].strip() if text.startswith("[") and text.endswith("]") else text
        return [item.strip().strip("'\"") for item in inner.split(",")] if inner else []
    if not isinstance(value, Iterable) or isinstance(value, Mapping):
        raise ValueError(f"opportunity_uuids: expected UUIDs, not {truncated_repr(value)}.")
    return value


def check_forecast_categories(value: object, parameter: str) -> frozenset[str]:
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
    return frozenset(map(plain_text, categories))


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
    if moment := parse_iso8601(value.isoformat() if isinstance(value, datetime.date) else value):
        return moment.date().isoformat()
    if isinstance(value, str):
        raise ValueError(f"{parameter}: {truncated_repr(value)} is not a date; write it as YYYY-MM-DD.")
    raise ValueError(f"{parameter}: expected a date or a YYYY-MM-DD string, not {truncated_repr(value)}.")


def to_integer(value: object, parameter: str) -> int:
    """
    Return a whole number; text of one is converted, since templates render to text.

    :param value: an ``int``, a whole ``Decimal``, or NumPy's integers; no ``float``, which may be rounded
    :param parameter: the name of the parameter, for the error message
    :raises ValueError: if it is none of these
    """
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        return int(value)
    # XCom deserializes a Decimal to an object.
    if isinstance(value, Decimal) and value.is_finite() and abs(value) < 10**18 and value == int(value):
        return int(value)
    try:
        if not isinstance(value, bool):
            return operator.index(value)  # type: ignore[arg-type]  # NumPy's integers have __index__, others raise
    except TypeError:
        pass
    raise ValueError(f"{parameter}: expected a whole number, not {truncated_repr(value)}.")


def to_attribute(value: object, parameter: str) -> Any:
    """
    Return the value of a custom attribute as a JSON value.

    :param value: text, a number, true, false, a date, a UUID or None, or a NumPy scalar of these
    :param parameter: the name of the parameter, for the error message
    :raises ValueError: if it is none of these; it is shown only if it is a number, since it may hold an address
    """
    if getattr(value, "ndim", None) == 0:
        value = value.item()  # type: ignore[attr-defined]  # a scalar of NumPy, which XCom deserializes to an object
    if isinstance(value, datetime.date) and parse_iso8601(value.isoformat()):  # else it is the NaT of pandas
        return value.isoformat()
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, UUID):
        return str(value)
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    try:
        return to_integer(value, parameter)
    except ValueError:
        shown = value if isinstance(value, float | Decimal) else type(value).__name__
        raise ValueError(f"{parameter}: expected text, a number, true, false, a date or null, not {shown}.") from None


def parse_iso8601(value: object) -> datetime.datetime | None:
    """
    Parse an ISO 8601 date or time.

    :param value: any value of a JSON object; white space around text is ignored
    :return: the time with its offset, UTC if it has none; midnight of a date; None if the value is neither
    """
    try:
        moment = datetime.datetime.fromisoformat(value.strip()) if isinstance(value, str) else None
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
        except (ValueError, RecursionError):
            raise ValueError(
                f"{parameter}: the text is not JSON; end a template of a dict with | tojson, or template its values."
            ) from None
    if not isinstance(value, Mapping):
        raise ValueError(f"{parameter}: expected a dict or a JSON object, not {type(value).__name__}.")
    return value


def read_list(value: object) -> object:
    """Return the list that is written as JSON or Python text, as a template renders it; else the value itself."""
    if isinstance(value, str) and value.strip().startswith("["):
        for parse in (json.loads, ast.literal_eval):
            with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
                return parse(value.strip())
    return value


def plain_text(value: str) -> str:
    """Return a text without its subclass: ``str()`` of a member of ``class Stage(str, Enum)`` is the member's name."""
    return str.__str__(value)


def truncated_repr(value: object) -> str:
    """Return the ``repr`` of a user's value for an error message, without addresses and truncated if long."""
    text = hide_addresses(repr(value))
    return text if len(text) <= 80 else f"{text[:79]}…"
