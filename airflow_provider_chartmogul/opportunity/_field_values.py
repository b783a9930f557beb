"""Fields of an opportunity that can be waited for and watched, and their values as ChartMogul writes them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from airflow_provider_chartmogul.exceptions import hide_addresses
from airflow_provider_chartmogul.opportunity._fields import NewOpportunity
from airflow_provider_chartmogul.opportunity._values import (
    parse_iso8601,
    plain_text,
    read_list,
    read_mapping,
    to_attribute,
    to_iso_date,
    truncated_repr,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FIELDS = ("uuid", *NewOpportunity.__annotations__, "created_at", "updated_at")
"""The top-level keys of an opportunity's JSON."""

_CUSTOM = "custom."
_LONGEST_SHOWN = 80


def check_field(name: object) -> str:
    """
    Return the name of a field that can be waited for or watched.

    :param name: a top-level key of an opportunity's JSON, or ``custom.<name>`` for a custom attribute
    :raises ValueError: naming the known fields, if it is neither
    """
    is_custom = isinstance(name, str) and name.startswith(_CUSTOM) and name != _CUSTOM
    if not isinstance(name, str) or not (name in FIELDS or is_custom):
        known = ", ".join(sorted(FIELDS))
        raise ValueError(
            f"field: {truncated_repr(name)} is not a field of an opportunity; use one of {known}, "
            "or custom.<name> for a custom attribute."
        )
    return plain_text(name)


def read_field(opportunity: Mapping[str, Any], field: str) -> Any:
    """
    Return the value of a field; None if the opportunity lacks it.

    :param opportunity: the opportunity's JSON
    :param field: as :func:`check_field` returns it
    """
    if field.startswith(_CUSTOM):
        custom = opportunity.get("custom")
        return custom.get(field.removeprefix(_CUSTOM)) if isinstance(custom, Mapping) else None
    return opportunity.get(field)


def normalize_value(field: str, value: object, parameter: str | None = None) -> Any:
    """
    Return a value of a field as ChartMogul writes it in JSON.

    Text is converted to a number if the field is a number, since templates render to text.

    :param field: as :func:`check_field` returns it
    :param value: as a user wrote it: text, a number, a date, an enum member, None for null
    :param parameter: the name of the parameter, for the error message; default: the field
    :raises ValueError: if the field cannot have such a value
    """
    if isinstance(value, Enum):
        value = value.value
    if value is None:
        return None
    normalize = to_attribute if field.startswith(_CUSTOM) else _NORMALIZERS.get(field, _normalize_text)
    return normalize(value, parameter or field)


def normalize_values(field: str, values: object, parameter: str) -> tuple[Any, ...]:
    """
    Return one value or several of a field as ChartMogul writes them, without duplicates.

    :param field: as :func:`check_field` returns it
    :param values: one value, or an iterable of them, or text of a list; a dict is one value of the field ``custom``
    :param parameter: the name of the parameter, for the error message
    :raises ValueError: if there is no value, or one that the field cannot have
    """
    values = read_list(values)
    if (
        isinstance(values, str | bytes)
        or not isinstance(values, Iterable)
        or (field == "custom" and isinstance(values, Mapping))
    ):
        values = [values]
    normalized: list[Any] = []
    for value in values:
        item = normalize_value(field, value, parameter)
        if not any(_is_same(item, other) for other in normalized):
            normalized.append(item)
    if not normalized:
        raise ValueError(f"{parameter}: empty; name a value, or leave the parameter out.")
    return tuple(normalized)


def is_value(field: str, actual: Any, expected: Any) -> bool:
    """
    Return whether an opportunity's field has a value.

    :param field: as :func:`check_field` returns it
    :param actual: the value in the opportunity's JSON
    :param expected: the value that :func:`normalize_value` returned
    """
    if _is_same(actual, expected):
        return True
    if field.startswith(_CUSTOM) and isinstance(expected, str) and isinstance(actual, bool | int | float):
        # The type of a custom attribute is unknown, and templates render to text.
        is_whole = isinstance(actual, float) and actual.is_integer()
        return expected in (str(actual), json.dumps(actual), str(int(actual)) if is_whole else None)
    if actual is None or expected is None:
        return False
    try:
        return _is_same(normalize_value(field, actual), expected)
    except ValueError:
        return False


def display_value(field: str, value: Any) -> str:
    """
    Return a value of a field for a log line or a message, without addresses.

    :param field: as :func:`check_field` returns it
    :param value: the value in the opportunity's JSON
    """
    if value is None:
        return "null"
    if field == "owner":
        return "<email>"
    text = hide_addresses(value if isinstance(value, str) else json.dumps(value))
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_same(value, other[name]) for name, value in one.items())
    # Unlike in JSON, True == 1 in Python.
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _normalize_text(value: object, parameter: str) -> str:
    # Rendered natively, the template of a pipeline called 2026 yields a number.
    if isinstance(value, bool) or not isinstance(value, str | int):
        # The value is not shown, since it may be an email address.
        raise ValueError(f"{parameter}: expected text, not {type(value).__name__}.")
    return str(value)


def _normalize_address(value: object, parameter: str) -> str:
    return _normalize_text(value, parameter).strip()


def _normalize_uuid(value: object, parameter: str) -> str:
    return _normalize_text(str(value) if isinstance(value, UUID) else value, parameter).strip().lower()


def _normalize_integer(value: object, parameter: str) -> int:
    try:
        number = int(value)  # type: ignore[call-overload]  # raises where it cannot
        if isinstance(value, str) or (number == value and not isinstance(value, bool)):
            return cast("int", number)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{parameter}: expected a whole number, not {truncated_repr(value)}.")


def _normalize_datetime(value: object, parameter: str) -> str:
    moment = parse_iso8601(value.isoformat() if isinstance(value, datetime.datetime) else value)
    try:
        if moment is not None:
            return moment.astimezone(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except OverflowError:  # in UTC it is before the year 1, or after 9999
        pass
    raise ValueError(f"{parameter}: expected a datetime or an ISO 8601 string, not {truncated_repr(value)}.")


def _normalize_attributes(value: object, parameter: str) -> dict[str, Any]:
    attributes = read_mapping(value, parameter)
    return {str(name): to_attribute(attribute, parameter) for name, attribute in attributes.items()}


_NORMALIZERS: dict[str, Callable[[object, str], Any]] = {
    "uuid": _normalize_uuid,
    "customer_uuid": _normalize_uuid,
    "owner": _normalize_address,
    "estimated_close_date": to_iso_date,
    "amount_in_cents": _normalize_integer,
    "win_likelihood": _normalize_integer,
    "custom": _normalize_attributes,
    "created_at": _normalize_datetime,
    "updated_at": _normalize_datetime,
}
