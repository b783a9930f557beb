"""Validation of the sensors' arguments."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import Enum
from operator import is_
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow import __version__ as airflow_version

from airflow_provider_chartmogul._airflow.start_from_trigger import IS_AIRFLOW_3_3
from airflow_provider_chartmogul._airflow.templates import is_templated
from airflow_provider_chartmogul.opportunity._conditions import NOTSET
from airflow_provider_chartmogul.opportunity._values import parse_iso8601, truncated_repr

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sensors._waits import OpportunityWaitSensor


def plain(value: Any) -> Any:
    """Return a value in a form that JSON can hold, with sets in a stable order, as XCom and the DAG's hash require."""
    if value is NOTSET or is_templated(value):
        return value
    if isinstance(value, Enum):
        value = value.value
    if getattr(value, "ndim", None) == 0:
        value = value.item()  # a scalar of NumPy
    if isinstance(value, str | UUID):
        value = str(value)
    elif isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        value = int(value)
    elif isinstance(value, datetime.date) and parse_iso8601(value.isoformat()):  # else it is the NaT of pandas
        value = value.isoformat()
    elif isinstance(value, Mapping):
        value = {str(plain(key)): plain(item) for key, item in value.items()}
    elif isinstance(value, Iterable) and not isinstance(value, bytes):
        items = [plain(item) for item in value]
        value = sorted(items, key=str) if isinstance(value, set | frozenset) else _unless_same(value, items)
    return value


def _unless_same(given: Any, items: list[Any]) -> list[Any]:
    """
    Return converted items, or the list they come from if nothing had to be converted.

    Airflow recognizes the values of a mapped task by identity, and would render a copy: text from another task's output
    would be executed as a template.
    """
    return given if type(given) is list and all(map(is_, given, items)) else items


def known(values: Any) -> Any:
    """Return the values that can be validated before templates are rendered; None if there are none."""
    if values is None or is_templated(values):
        return None
    if not isinstance(values, list):
        return values
    non_templated = [value for value in values if not is_templated(value)]
    return non_templated if non_templated or not values else None


def check_together(
    sensor: OpportunityWaitSensor, *, start_from_trigger: bool, parameters_without_first_poll: str | None
) -> None:
    """
    Validate a sensor's combination of arguments.

    :param sensor: the sensor, with the arguments of its base class
    :param start_from_trigger: as the user gave it
    :param parameters_without_first_poll: the parameters that make a first poll unnecessary; None: it is unnecessary
    :raises ValueError: naming the conflicting arguments
    """
    if (sensor.opportunity_uuid is None) == (sensor.opportunity_uuids is None):
        raise ValueError("Give one of opportunity_uuid and opportunity_uuids.")
    if sensor.wait_for not in ("all", "any"):
        raise ValueError(f"wait_for: expected 'all' or 'any', not {truncated_repr(sensor.wait_for)}.")
    if not sensor.deferrable and (start_from_trigger or sensor.end_from_trigger):
        raise ValueError("start_from_trigger and end_from_trigger act only with deferrable=True.")
    if sensor.deferrable and sensor.exponential_backoff:
        raise ValueError(
            "exponential_backoff does not act when deferrable: all deferred waits share their requests. Set one of "
            "the two to False."
        )
    if parameters_without_first_poll is None:
        return
    if start_from_trigger:
        raise ValueError(
            "start_from_trigger skips the first poll, so there is nothing to measure a change from. "
            f"Give {parameters_without_first_poll}."
        )
    if not sensor.deferrable and sensor.mode == "reschedule" and not IS_AIRFLOW_3_3:
        raise ValueError(
            f"In reschedule mode Airflow {airflow_version} keeps no baseline from one poll to the next. "
            f"Give {parameters_without_first_poll}, or wait in another mode."
        )
