"""Validation of the bodies of create and update requests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul.opportunity import ForecastCategory, OpportunityType
from airflow_provider_chartmogul.sandbox import _timestamps as timestamps
from airflow_provider_chartmogul.sandbox._messages import ApiError
from airflow_provider_chartmogul.sandbox._stages import get_stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_chartmogul.sandbox._account import Account
    from airflow_provider_chartmogul.sandbox._opportunity_list import Fields

_REQUIRED = (
    "customer_uuid",
    "owner",
    "pipeline",
    "pipeline_stage",
    "estimated_close_date",
    "amount_in_cents",
    "currency",
)
_OPTIONAL = ("type", "forecast_category", "win_likelihood", "custom")
_CUSTOMER_UUID = re.compile(r"cus_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_CURRENCY = re.compile(r"[A-Z]{3}")


def validate_new(body: Mapping[str, Any], account: Account) -> Fields:
    """
    Return the fields of a new opportunity.

    :param body: the parsed JSON of the request
    :param account: defines the pipelines and stages
    :raises ApiError: if a field is missing or invalid
    """
    for name in _REQUIRED:
        if body.get(name) is None:
            raise _missing(name)
    fields = {name: body[name] for name in (*_REQUIRED, *_OPTIONAL) if body.get(name) is not None}
    return {**_stage_defaults(fields), **_validated(fields, account, pipeline=None)}


def validate_changes(body: Mapping[str, Any], account: Account, current: Fields) -> Fields:
    """
    Return the fields that an update changes.

    :param body: the parsed JSON of the request
    :param account: defines the pipelines and stages
    :param current: the present fields of the opportunity
    :raises ApiError: if a field is invalid
    """
    changes = {name: body[name] for name in (*_REQUIRED[1:], *_OPTIONAL) if name in body}
    for name in _REQUIRED:
        if name in changes and changes[name] is None:
            raise _missing(name)
    given = {name: value for name, value in changes.items() if value is not None}
    defaults = _stage_defaults({**current, **given})
    reset = {name: defaults[name] for name in _OPTIONAL if name in changes}
    return {**reset, **_validated(given, account, pipeline=current.get("pipeline"))}


def _stage_defaults(fields: Fields) -> Fields:
    stage = get_stage(fields.get("pipeline_stage"))
    return {
        "type": OpportunityType.RECURRING.value,
        "forecast_category": stage.forecast_category.value,
        "win_likelihood": stage.win_likelihood,
        "custom": {},
    }


def _validated(fields: Fields, account: Account, *, pipeline: Any) -> Fields:
    result = {name: _CHECKS[name](name, value) for name, value in fields.items()}
    pipeline = result.get("pipeline", pipeline)
    if "pipeline" in result and not account.has_pipeline(pipeline):
        raise ApiError(422, f'Pipeline "{pipeline}" does not exist', "pipeline")
    stage = result.get("pipeline_stage")
    if stage is not None and not account.has_stage(pipeline, stage):
        raise ApiError(422, f'Pipeline stage "{stage}" does not exist', "pipeline_stage")
    return result


def _malformed_custom(name: str) -> ApiError:
    # ChartMogul returned 500 with an empty body to one user; the message is the sandbox's own.
    return ApiError(500, f'Parameter "{name}" must be an array of {{"key": ..., "value": ...}}', name)


def _missing(name: str) -> ApiError:
    return ApiError(400, f'Parameter "{name}" is missing', name)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ApiError(400, f'Parameter "{name}" must be a string', name)
    return value


def _integer(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ApiError(400, f'Parameter "{name}" must be an integer', name)
    return value


def _customer_uuid(name: str, value: Any) -> str:
    if not _CUSTOMER_UUID.fullmatch(_text(name, value)):
        raise ApiError(422, f'Customer "{value}" does not exist', name)
    return _text(name, value)


def _email(name: str, value: Any) -> str:
    if not _EMAIL.fullmatch(_text(name, value)):
        raise ApiError(422, "The value provided does not appear to be a valid email address.", name)
    return _text(name, value)


def _date(name: str, value: Any) -> str:
    date = timestamps.parse_date(_text(name, value))
    if date is None:
        raise ApiError(422, "The value provided does not appear to be a valid date.", name)
    return date


def _currency(name: str, value: Any) -> str:
    if not _CURRENCY.fullmatch(_text(name, value)):
        raise ApiError(422, f'Currency "{value}" is not supported', name)
    return _text(name, value)


def _type(name: str, value: Any) -> str:
    return _one_of(OpportunityType, name, value)


def _forecast_category(name: str, value: Any) -> str:
    return _one_of(ForecastCategory, name, value)


def _one_of(values: type[OpportunityType | ForecastCategory], name: str, value: Any) -> str:
    if _text(name, value) not in list(values):
        raise ApiError(422, f'Parameter "{name}" must be one of: {", ".join(values)}', name)
    return _text(name, value)


def _win_likelihood(name: str, value: Any) -> int:
    if not 0 <= _integer(name, value) <= 100:
        raise ApiError(422, f'Parameter "{name}" must be between 0 and 100', name)
    return _integer(name, value)


def _custom(name: str, value: Any) -> dict[str, Any]:
    # Written as [{"key": "seats", "value": 3}], read back as {"seats": 3}.
    if not isinstance(value, list):
        raise _malformed_custom(name)
    attributes = {}
    for item in value:
        if not isinstance(item, dict) or not isinstance(item.get("key"), str) or "value" not in item:
            raise _malformed_custom(name)
        attributes[item["key"]] = item["value"]
    return attributes


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "customer_uuid": _customer_uuid,
    "owner": _email,
    "pipeline": _text,
    "pipeline_stage": _text,
    "estimated_close_date": _date,
    "amount_in_cents": _integer,
    "currency": _currency,
    "type": _type,
    "forecast_category": _forecast_category,
    "win_likelihood": _win_likelihood,
    "custom": _custom,
}
