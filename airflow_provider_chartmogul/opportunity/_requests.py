"""
Request bodies and queries: validation of the fields that users write, and their conversion to JSON.

A template that is not rendered natively yields text, so text of a number, or of JSON, is converted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul.opportunity._fields import (
    ForecastCategory,
    NewOpportunity,
    OpportunityChanges,
    OpportunityFilters,
    OpportunityType,
)
from airflow_provider_chartmogul.opportunity._values import (
    plain_text,
    read_mapping,
    to_attribute,
    to_integer,
    to_iso_date,
    truncated_repr,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from enum import StrEnum

CREATABLE_FIELDS = tuple(NewOpportunity.__annotations__)
REQUIRED_FIELDS = tuple(name for name in CREATABLE_FIELDS if name in NewOpportunity.__required_keys__)
CHANGEABLE_FIELDS = tuple(OpportunityChanges.__annotations__)
FILTERS = tuple(OpportunityFilters.__annotations__)

_CUSTOMER_UUID = re.compile(r"cus_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)


def create_body(fields: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the request body that creates an opportunity.

    :param fields: those of :class:`NewOpportunity`; an optional one that is None is left out
    :raises ValueError: naming every field that is missing, wrong or unknown
    """
    body = check_fields({**dict.fromkeys(REQUIRED_FIELDS), **fields}, CREATABLE_FIELDS, required=REQUIRED_FIELDS)
    return {name: value for name, value in body.items() if value is not None}


def update_body(changes: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the request body that changes an opportunity.

    :param changes: any of :class:`OpportunityChanges`; None becomes null
    :raises ValueError: naming every field that is wrong or cannot be changed, or if there is no change
    """
    if not changes:
        raise ValueError(f"Nothing to change; give at least one of {', '.join(CHANGEABLE_FIELDS)}.")
    return check_fields(changes, CHANGEABLE_FIELDS)


def list_query(filters: Mapping[str, Any]) -> dict[str, str]:
    """
    Return the query parameters that list opportunities.

    An empty filter is rejected: a template may render to one, and ChartMogul does not document whether it means all
    opportunities or none.

    :param filters: any of :class:`OpportunityFilters`; one that is None is left out
    :raises ValueError: naming every filter that is wrong, empty or unknown
    """
    given = {name: value for name, value in filters.items() if value is not None or name not in FILTERS}
    return check_fields(given, FILTERS, checks=_FILTER_CHECKS)


def check_fields(
    fields: Mapping[str, Any],
    allowed: Collection[str],
    *,
    required: Collection[str] = (),
    checks: Mapping[str, Callable[[object, str], Any]] | None = None,
) -> dict[str, Any]:
    """
    Validate fields, and return their JSON.

    :param fields: the fields; of templated ones, those that are known at parse time
    :param allowed: the allowed names
    :param required: names whose values may be neither None nor empty text
    :param checks: validates and converts a value, by name; None: those of an opportunity's fields
    :raises ValueError: naming every field that is wrong
    """
    checks = checks or _CHECKS
    body = {}
    problems = []
    for name, value in fields.items():
        try:
            if name not in allowed:
                raise ValueError(f"{truncated_repr(name)}: not one of {', '.join(allowed)}.")
            if name in required and (value is None or _is_blank(value)):
                raise ValueError(f"{name}: missing.")
            body[name] = None if value is None else checks[name](value, name)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError(" ".join(problems))
    return body


def matches_request(opportunity: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    """
    Return whether an opportunity has exactly the fields of a creation request.

    :param opportunity: the opportunity's JSON
    :param body: the request body of the creation
    """
    sent = {**body, "custom": {attribute["key"]: attribute["value"] for attribute in body.get("custom", ())}}
    received = {name: opportunity.get(name) for name in sent}
    return _as_text(sent) == _as_text(received)


def may_match_request(opportunity: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    """
    Return whether a creation request may have created an opportunity, although some of its fields differ.

    ChartMogul can trim and normalize text, convert dates and numbers, drop attributes that the account does not define,
    and take the category and the likelihood from the stage, so none of these distinguishes two opportunities. Amount
    and currency do, unless the opportunity was edited since.

    :param opportunity: the opportunity's JSON
    :param body: the request body of the creation
    """
    updated = opportunity.get("updated_at")
    if updated is None or updated != opportunity.get("created_at"):
        return True
    amount, currency = opportunity.get("amount_in_cents"), opportunity.get("currency")
    has_other_amount = isinstance(amount, int) and amount != body["amount_in_cents"]
    has_other_currency = isinstance(currency, str) and currency.upper() != body["currency"]
    return not has_other_amount and not has_other_currency


def _as_text(fields: Mapping[str, Any]) -> str:
    # Compared as JSON, in which true is not 1.
    custom = fields["custom"] if isinstance(fields["custom"], Mapping) else {}
    attributes = {key: value for key, value in custom.items() if value is not None}
    return json.dumps({**fields, "custom": attributes}, sort_keys=True)


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()


def _check_customer_uuid(value: object, name: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not _CUSTOMER_UUID.fullmatch(text):
        raise ValueError(
            f"{name}: expected one like cus_f466e33d-ff2b-4a11-8f85-417eb02157a7, not {truncated_repr(value)}."
        )
    return text.lower()


def _check_owner(value: object, name: str) -> str:
    # The value is not shown, since it is likely to be an email address.
    if not isinstance(value, str):
        raise ValueError(f"{name}: expected an email address, not {type(value).__name__}.")
    return value.strip()


def _check_name(value: object, name: str) -> str:
    # Rendered natively, the template of a pipeline called 2026 yields a number.
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{name}: expected text, not {truncated_repr(value)}.")
    return plain_text(value) if isinstance(value, str) else str(value)


def _check_win_likelihood(value: object, name: str) -> int:
    number = to_integer(value, name)
    if not 0 <= number <= 100:
        raise ValueError(f"{name}: expected 0 to 100, not {number}.")
    return number


def _check_currency(value: object, name: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not _CURRENCY.fullmatch(text):
        raise ValueError(f"{name}: expected three capital letters like USD, not {truncated_repr(value)}.")
    return text


def _one_of(enum: type[StrEnum], value: object, name: str) -> str:
    known = [member.value for member in enum]
    text = value.strip() if isinstance(value, str) else ""
    if text not in known:
        raise ValueError(f"{name}: {truncated_repr(value)} is none of {', '.join(known)}.")
    return text


def _check_custom(value: object, name: str) -> list[dict[str, Any]]:
    attributes = read_mapping(value, name)
    problems = []
    body = []
    for key, attribute in attributes.items():
        try:
            if not isinstance(key, str) or not key.strip():
                raise ValueError(f"{name}: expected a name, not {truncated_repr(key)}.")
            body.append({"key": key, "value": to_attribute(attribute, f"{name}[{truncated_repr(key)}]")})
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError(" ".join(problems))
    return body


def _filter_check(check: Callable[[object, str], str]) -> Callable[[object, str], str]:
    def checked(value: object, name: str) -> str:
        if _is_blank(value):
            raise ValueError(f"{name}: empty, which may mean all or none; leave the filter out, or give None, for all.")
        return check(value, name)

    return checked


_CHECKS: dict[str, Callable[[object, str], Any]] = {
    "customer_uuid": _check_customer_uuid,
    "owner": _check_owner,
    "pipeline": _check_name,
    "pipeline_stage": _check_name,
    "estimated_close_date": to_iso_date,
    "amount_in_cents": to_integer,
    "currency": _check_currency,
    "type": partial(_one_of, OpportunityType),
    "forecast_category": partial(_one_of, ForecastCategory),
    "win_likelihood": _check_win_likelihood,
    "custom": _check_custom,
}
_FILTER_CHECKS = {
    name: _filter_check(to_iso_date if name.startswith("estimated_close_date") else _CHECKS[name]) for name in FILTERS
}
