"""
A typed view of an opportunity's JSON.

Based on https://dev.chartmogul.com/reference/retrieve-an-opportunity and on the responses recorded in the tests of
ChartMogul's own client libraries.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

import pendulum

from airflow_provider_chartmogul.opportunity._fields import ForecastCategory, OpportunityType
from airflow_provider_chartmogul.opportunity._values import parse_iso8601, truncated_repr

if TYPE_CHECKING:
    from collections.abc import Mapping

_Enum = TypeVar("_Enum", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opportunity:
    """
    A typed, immutable view of an opportunity's JSON.

    Every field but ``uuid`` can be null. An unknown ``type`` or ``forecast_category`` is kept as a string; unknown
    fields are in ``payload``, the JSON object as received.
    The owner's email address is left out of the ``repr``, so that it does not end up in logs.
    """

    uuid: str
    customer_uuid: str | None
    owner: str | None = field(repr=False)
    pipeline: str | None
    pipeline_stage: str | None
    estimated_close_date: pendulum.Date | None
    currency: str | None
    amount_in_cents: int | None
    type: OpportunityType | str | None
    forecast_category: ForecastCategory | str | None
    win_likelihood: int | None
    custom: dict[str, Any] = field(repr=False, hash=False)
    created_at: pendulum.DateTime | None
    updated_at: pendulum.DateTime | None
    payload: dict[str, Any] = field(repr=False, hash=False, compare=False)

    @classmethod
    def from_json(cls, payload: dict[str, Any]) -> Opportunity:
        """
        View the JSON object that the API, an operator or a sensor returned.

        :param payload: the opportunity as ChartMogul sends it
        :raises ValueError: if there is no ``uuid``, a date is not ISO 8601, or ``custom`` is not an object
        """
        if not isinstance(payload, dict) or not payload.get("uuid"):
            raise ValueError("Not an opportunity: expected a JSON object with a uuid.")
        custom = payload.get("custom") or {}
        if not isinstance(custom, dict):
            raise ValueError(f"custom of opportunity {payload['uuid']} is not a JSON object.")
        return cls(
            uuid=payload["uuid"],
            customer_uuid=payload.get("customer_uuid"),
            owner=payload.get("owner"),
            pipeline=payload.get("pipeline"),
            pipeline_stage=payload.get("pipeline_stage"),
            estimated_close_date=_read_date(payload, "estimated_close_date"),
            currency=payload.get("currency"),
            amount_in_cents=payload.get("amount_in_cents"),
            type=_known_or_as_is(OpportunityType, payload.get("type")),
            forecast_category=_known_or_as_is(ForecastCategory, payload.get("forecast_category")),
            win_likelihood=payload.get("win_likelihood"),
            custom=dict(custom),
            created_at=_read_datetime(payload, "created_at"),
            updated_at=_read_datetime(payload, "updated_at"),
            payload=payload,
        )


def _known_or_as_is(enum: type[_Enum], value: Any) -> _Enum | str | None:
    try:
        return enum(value)
    except ValueError:
        return value  # type: ignore[no-any-return]  # a str or None, as documented


def _read_date(payload: Mapping[str, Any], name: str) -> pendulum.Date | None:
    moment = _read_datetime(payload, name)
    return None if moment is None else moment.date()


def _read_datetime(payload: Mapping[str, Any], name: str) -> pendulum.DateTime | None:
    value = payload.get(name)
    if value is None:
        return None
    moment = parse_iso8601(value)
    if moment is None:
        raise ValueError(f"{name} of opportunity {payload['uuid']} is not ISO 8601: {truncated_repr(value)}.")
    return pendulum.instance(moment)
