"""
ChartMogul's opportunity: its enumerations, a typed view of its JSON, and the rules for what a user may ask.

The facts are those of https://dev.chartmogul.com/reference/retrieve-an-opportunity and of the responses that
ChartMogul's own client libraries recorded.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

import pendulum

if TYPE_CHECKING:
    from collections.abc import Mapping

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


class ForecastCategory(StrEnum):
    """How likely the sales team thinks it is that an opportunity closes."""

    PIPELINE = "pipeline"
    BEST_CASE = "best_case"
    COMMITTED = "committed"
    LOST = "lost"
    WON = "won"


class OpportunityType(StrEnum):
    """How the value of an opportunity recurs: monthly, once, or annually."""

    RECURRING = "recurring"
    ONE_TIME = "one-time"
    ARR = "arr"


_Enum = TypeVar("_Enum", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opportunity:
    """
    A typed view of an opportunity's JSON, whose fields cannot be set.

    Every field but ``uuid`` can be null. A ``type`` or ``forecast_category`` that ChartMogul adds one day is
    kept as the string that came; fields it adds are found in ``payload``, the JSON object as it was received.
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
        :raises ValueError: if it is not an opportunity: no ``uuid``, or a date that is not ISO 8601
        """
        if not isinstance(payload, dict) or not payload.get("uuid"):
            raise ValueError("Not an opportunity: expected a JSON object with a uuid.")
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
            custom=dict(payload.get("custom") or {}),
            created_at=_read_datetime(payload, "created_at"),
            updated_at=_read_datetime(payload, "updated_at"),
            payload=payload,
        )


def check_opportunity_uuid(value: object) -> str:
    """
    Return the UUID of an opportunity in the lower-case form that ChartMogul uses.

    :param value: what a user gave as ``opportunity_uuid``
    :raises ValueError: if it is anything else than 32 hexadecimal digits grouped 8-4-4-4-12
    """
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise ValueError(
            f"opportunity_uuid: expected one like 4ee13ca4-e7fe-11ee-fa7f-f303abf41acc, not {shown(value)}"
        )
    return value.lower()


def check_forecast_categories(value: str | Iterable[str], parameter: str) -> frozenset[str]:
    """
    Return the forecast categories that a user wrote.

    :param value: one category or several, as members of :class:`ForecastCategory` or their values
    :param parameter: the name of the parameter, for the error message
    :raises ValueError: if ChartMogul has no such category
    """
    if not isinstance(value, Iterable):
        raise ValueError(f"{parameter}: expected forecast categories, not {shown(value)}.")
    categories = [value] if isinstance(value, str) else list(value)
    known = [category.value for category in ForecastCategory]
    for category in categories:
        if category not in known:
            raise ValueError(
                f"{parameter}: {shown(category)} is not a forecast category; use one of {', '.join(known)}."
            )
    return frozenset(categories)


def check_baseline_category(value: object) -> None:
    """
    Check what a user wrote as the category that a change is measured from.

    :raises ValueError: if it is neither None nor one of ChartMogul's categories
    """
    if value is None:
        return
    if not isinstance(value, str):
        raise ValueError(f"baseline_category: expected one forecast category, not {shown(value)}.")
    check_forecast_categories(value, "baseline_category")


@dataclass(frozen=True, slots=True)
class AwaitedChange:
    """
    What a wait for an opportunity's forecast category is over for.

    :param targets: the categories to wait for; None: any but the baseline
    :param failures: the categories that end the wait as a failure
    """

    targets: frozenset[str] | None
    failures: frozenset[str]

    @classmethod
    def parse(
        cls,
        target_categories: str | Iterable[str] | None,
        failure_categories: str | Iterable[str] | None,
    ) -> AwaitedChange:
        """
        Read what a user wrote.

        :raises ValueError: if ChartMogul has no such category, if no target is left to wait for, or if a category
            is both a target and a failure
        """
        targets = None
        if target_categories is not None:
            targets = check_forecast_categories(target_categories, "target_categories")
            if not targets:
                raise ValueError("target_categories: empty; name a category, or give None to wait for any change.")
        failures = check_forecast_categories(failure_categories or (), "failure_categories")
        if both := (targets or frozenset()) & failures:
            raise ValueError(f"{', '.join(sorted(both))}: in target_categories and in failure_categories.")
        return cls(targets, failures)

    def __str__(self) -> str:
        """Name the awaited categories, for a log line."""
        return "any change" if self.targets is None else " or ".join(sorted(self.targets))

    def is_over(self, category: str | None, baseline: str | None) -> bool:
        """
        Tell whether an opportunity in this category is no longer waited for, be it for good or ill.

        :param category: the opportunity's forecast category now
        :param baseline: its forecast category when the wait began
        """
        if category in self.failures:
            return True
        return category != baseline if self.targets is None else category in self.targets


def to_iso_date(value: object, parameter: str) -> str:
    """
    Return a date as ``YYYY-MM-DD``.

    :param value: a ``date`` or ``datetime`` (``pendulum``'s too), or an ISO 8601 string of either
    :param parameter: the name of the parameter, for the error message
    :raises ValueError: if it is none of these
    """
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{parameter}: {shown(value)} is not a date; write it as YYYY-MM-DD.") from None
    if isinstance(value, datetime.datetime):
        value = value.date()
    if not isinstance(value, datetime.date):
        raise ValueError(f"{parameter}: expected a date or a YYYY-MM-DD string, not {shown(value)}.")
    return value.isoformat()


def shown(value: object) -> str:
    """Return what a user wrote for an error message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _known_or_as_is(enum: type[_Enum], value: Any) -> _Enum | str | None:
    try:
        return enum(value)
    except ValueError:
        return value  # type: ignore[no-any-return]  # a str or None, as the contract says


def _read_date(payload: Mapping[str, Any], name: str) -> pendulum.Date | None:
    moment = _parse(payload, name)
    return moment.date() if isinstance(moment, pendulum.DateTime) else moment


def _read_datetime(payload: Mapping[str, Any], name: str) -> pendulum.DateTime | None:
    moment = _parse(payload, name)
    if moment is None or isinstance(moment, pendulum.DateTime):
        return moment
    return pendulum.datetime(moment.year, moment.month, moment.day)


def _parse(payload: Mapping[str, Any], name: str) -> pendulum.Date | None:
    value = payload.get(name)
    if value is None:
        return None
    try:
        moment = pendulum.parse(value, exact=True)
    except (TypeError, ValueError):
        moment = None
    if not isinstance(moment, pendulum.Date):
        raise ValueError(f"{name} of opportunity {payload['uuid']} is not ISO 8601: {shown(value)}.")
    return moment
