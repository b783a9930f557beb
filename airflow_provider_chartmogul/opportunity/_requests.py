"""
What ChartMogul is asked to write: the fields of an opportunity as users give them, checked and turned into JSON.

A template that is not rendered natively yields text, so text that stands for a number, or for JSON, is taken for it.
"""

from __future__ import annotations

import datetime
import json
import math
import operator
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul.opportunity import ForecastCategory, OpportunityType
from airflow_provider_chartmogul.opportunity._values import to_iso_date, truncated_repr

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from enum import StrEnum

REQUIRED_FIELDS = (
    "customer_uuid",
    "owner",
    "pipeline",
    "pipeline_stage",
    "estimated_close_date",
    "amount_in_cents",
    "currency",
)
OPTIONAL_FIELDS = ("type", "forecast_category", "win_likelihood", "custom")
CREATABLE_FIELDS = (*REQUIRED_FIELDS, *OPTIONAL_FIELDS)
UPDATABLE_FIELDS = (*REQUIRED_FIELDS[1:], *OPTIONAL_FIELDS)

_CUSTOMER_UUID = re.compile(r"cus_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,18}\s*", re.ASCII)


def create_body(fields: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the request body that creates an opportunity.

    :param fields: all of :data:`REQUIRED_FIELDS` and any of :data:`OPTIONAL_FIELDS`; None stands for left out
    :raises ValueError: naming every field that is missing, wrong or unknown
    """
    fields = {**dict.fromkeys(REQUIRED_FIELDS), **fields}
    body = _checked(fields, CREATABLE_FIELDS, REQUIRED_FIELDS)
    return {name: value for name, value in body.items() if value is not None}


def update_body(changes: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the request body that changes an opportunity.

    :param changes: any of :data:`UPDATABLE_FIELDS`; None clears a field
    :raises ValueError: naming every field that is wrong or cannot be changed, or if there is no change
    """
    if not changes:
        raise ValueError(f"Nothing to change; give at least one of {', '.join(UPDATABLE_FIELDS)}.")
    return _checked(changes, UPDATABLE_FIELDS)


def check_fields(fields: Mapping[str, Any], *, required: Collection[str] = ()) -> None:
    """
    Check some fields of an opportunity.

    :param fields: those to check
    :param required: fields that may not be None
    :raises ValueError: naming every field that is wrong
    """
    _checked(fields, CREATABLE_FIELDS, required)


def matches_request(opportunity: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    """
    Tell whether an opportunity has all the fields that a creation asked for.

    ChartMogul may have trimmed a text or changed its case, added a time to a date, made a number of a text or the
    reverse, and left out what was empty.

    :param opportunity: the opportunity's JSON
    :param body: the request body of the creation
    """
    custom = opportunity.get("custom") or {}
    pairs = [(value, opportunity.get(name)) for name, value in body.items() if name != "custom"]
    # Written as [{"key": "seats", "value": 3}], read back as {"seats": 3}.
    pairs += [(attribute["value"], custom.get(attribute["key"])) for attribute in body.get("custom", ())]
    return all(_normalize(sent) == _normalize(received) for sent, received in pairs)


def _normalize(value: object) -> object:
    text = "" if value is None else str(value).strip().casefold()
    try:
        number = float(text)
    except ValueError:
        pass
    else:
        return number if math.isfinite(number) else text
    try:
        return datetime.datetime.fromisoformat(text.upper()).date()
    except ValueError:
        return text


def _checked(fields: Mapping[str, Any], allowed: Collection[str], required: Collection[str] = ()) -> dict[str, Any]:
    body = {}
    problems = []
    for name, value in fields.items():
        try:
            if name not in allowed:
                raise ValueError(f"{truncated_repr(name)}: cannot be set; what can is {', '.join(allowed)}.")
            if value is None and name in required:
                raise ValueError(f"{name}: missing.")
            body[name] = None if value is None else _CHECKS[name](value, name)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError(" ".join(problems))
    return body


def _check_customer_uuid(value: object, name: str) -> str:
    if not isinstance(value, str) or not _CUSTOMER_UUID.fullmatch(value):
        raise ValueError(
            f"{name}: expected one like cus_f466e33d-ff2b-4a11-8f85-417eb02157a7, not {truncated_repr(value)}."
        )
    return value.lower()


def _check_owner(value: object, name: str) -> str:
    # The value is kept out of the message, and so out of logs: it is likely to be somebody's address.
    if not isinstance(value, str):
        raise ValueError(f"{name}: expected an email address, not {type(value).__name__}.")
    return str(value)


def _check_name(value: object, name: str) -> str:
    # Rendered natively, the template of a pipeline called 2026 yields a number.
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{name}: expected text, not {truncated_repr(value)}.")
    return str(value)


def _check_integer(value: object, name: str) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    try:
        if not isinstance(value, bool):
            return operator.index(value)  # type: ignore[arg-type]  # numpy's integers have __index__, others raise
    except TypeError:
        pass
    raise ValueError(f"{name}: expected a whole number, not {truncated_repr(value)}.")


def _check_win_likelihood(value: object, name: str) -> int:
    number = _check_integer(value, name)
    if not 0 <= number <= 100:
        raise ValueError(f"{name}: expected 0 to 100, not {number}.")
    return number


def _check_currency(value: object, name: str) -> str:
    if not isinstance(value, str) or not _CURRENCY.fullmatch(value):
        raise ValueError(f"{name}: expected three capital letters like USD, not {truncated_repr(value)}.")
    return str(value)


def _check_type(value: object, name: str) -> str:
    return _one_of(OpportunityType, value, name)


def _check_forecast_category(value: object, name: str) -> str:
    return _one_of(ForecastCategory, value, name)


def _one_of(enum: type[StrEnum], value: object, name: str) -> str:
    known = [member.value for member in enum]
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name}: {truncated_repr(value)} is none of {', '.join(known)}.")
    return str(value)


def _check_custom(value: object, name: str) -> list[dict[str, Any]]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError(
                f"{name}: {truncated_repr(value)} is not JSON; "
                "end a template of a dict with | tojson, or template its values."
            ) from None
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}: expected a dict of custom attributes, not {truncated_repr(value)}.")
    problems = [
        f"{name}: expected a name, not {truncated_repr(key)}." for key in value if not isinstance(key, str) or not key
    ]
    attributes = []
    for key, attribute in value.items():
        try:
            attributes.append({"key": str(key), "value": _check_attribute(attribute, f"{name}[{truncated_repr(key)}]")})
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError(" ".join(problems))
    return attributes


def _check_attribute(value: object, name: str) -> Any:
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"{name}: expected text, a number, true, false, a date or null, not {truncated_repr(value)}.")


_CHECKS: dict[str, Callable[[object, str], Any]] = {
    "customer_uuid": _check_customer_uuid,
    "owner": _check_owner,
    "pipeline": _check_name,
    "pipeline_stage": _check_name,
    "estimated_close_date": to_iso_date,
    "amount_in_cents": _check_integer,
    "currency": _check_currency,
    "type": _check_type,
    "forecast_category": _check_forecast_category,
    "win_likelihood": _check_win_likelihood,
    "custom": _check_custom,
}
