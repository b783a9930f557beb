"""Sensors for ChartMogul's opportunities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul._airflow.templates import is_templated
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.opportunity._conditions import NOTSET, WaitCondition, check_condition
from airflow_provider_chartmogul.opportunity._field_values import normalize_value
from airflow_provider_chartmogul.opportunity._values import check_baseline_category
from airflow_provider_chartmogul.sensors._arguments import known, plain
from airflow_provider_chartmogul.sensors._waits import OpportunityWaitSensor
from airflow_provider_chartmogul.triggers.opportunity import (
    OpportunityFieldTrigger,
    OpportunityForecastCategoryTrigger,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class OpportunityFieldSensor(OpportunityWaitSensor):
    """
    Wait until a field of an opportunity, or of several, has or gets a value, and return the JSON to XCom.

    Transient errors of ChartMogul and of the network are logged, and the wait continues until ``timeout``; a permanent
    error fails the task immediately.

    With ``deferrable`` the wait occupies no worker slot: all deferred waits of a triggerer share their requests, and
    ``mode`` has no meaning.

    :param field: a top-level key of the opportunity's JSON, or ``custom.<name>`` for a custom attribute
    :param opportunity_uuid: the opportunity's UUID (templated)
    :param opportunity_uuids: several UUIDs, in its place; the result is the list of the opportunities' JSON (templated)
    :param wait_for: of several, ``all``, each of which has to meet the condition once, or ``any``
    :param target_values: succeed once the value is this one, or one of these; None: on any change from the baseline
        (templated)
    :param failure_values: fail immediately, without retries, when the value is this one, or one of these (templated)
    :param baseline_value: the value that a change is measured from, None for null; default: the one that the first
        poll finds (templated)
    :param condition: the dotted path of a function that is called with the opportunity's JSON and returns whether the
        wait is over, instead of ``target_values``
    :param chartmogul_conn_id: the Airflow connection to use (templated)
    :param deferrable: wait in the triggerer; default: ``[operators] default_deferrable`` of Airflow's configuration
    :param start_from_trigger: with ``deferrable``, go to the triggerer without a first poll on a worker; before
        Airflow 3.3, and for mapped tasks, it is ignored
    :param end_from_trigger: with ``deferrable``, succeed in the triggerer without returning to a worker
    """

    template_fields: Sequence[str] = (
        "opportunity_uuid",
        "opportunity_uuids",
        "target_values",
        "failure_values",
        "baseline_value",
        "chartmogul_conn_id",
    )
    trigger_class = OpportunityFieldTrigger
    _TARGETS = "target_values"
    _BASELINE = "baseline_value"

    def __init__(
        self,
        *,
        field: str,
        opportunity_uuid: str | None = None,
        opportunity_uuids: Iterable[str] | str | None = None,
        wait_for: str = "all",
        target_values: Any = None,
        failure_values: Any = None,
        baseline_value: Any = NOTSET,
        condition: str | None = None,
        chartmogul_conn_id: str = ChartMogulHook.default_conn_name,
        deferrable: bool | None = None,
        start_from_trigger: bool = False,
        end_from_trigger: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            opportunity_uuid=opportunity_uuid,
            opportunity_uuids=opportunity_uuids,
            wait_for=wait_for,
            chartmogul_conn_id=chartmogul_conn_id,
            deferrable=deferrable,
            end_from_trigger=end_from_trigger,
            **kwargs,
        )
        self.field = field
        self.target_values = plain(target_values)
        self.failure_values = plain(failure_values)
        self.baseline_value = plain(baseline_value)
        self.condition = condition
        WaitCondition.parse(field, known(self.target_values), known(self.failure_values))
        if not is_templated(self.baseline_value):
            self._given_baseline()
        if condition is not None:
            check_condition(condition)
            if target_values is not None or baseline_value is not NOTSET:
                raise ValueError("condition: takes the place of target_values and baseline_value.")
        self._finish_arguments(
            start_from_trigger=start_from_trigger,
            needs_first_poll=target_values is None and condition is None and baseline_value is NOTSET,
        )

    def _condition(self) -> WaitCondition:
        return WaitCondition.parse(self.field, self.target_values, self.failure_values, self.condition)

    def _given_baseline(self) -> Any:
        if self.baseline_value is NOTSET:
            return NOTSET
        return normalize_value(self.field, self.baseline_value, "baseline_value")

    def _value_kwargs(self, baseline: Any) -> dict[str, Any]:
        kwargs = {
            "field": self.field,
            "target_values": self.target_values,
            "failure_values": self.failure_values,
            "condition": self.condition,
        }
        return kwargs if baseline is NOTSET else {**kwargs, "baseline_value": baseline}


class OpportunityForecastCategorySensor(OpportunityWaitSensor):
    """
    Wait until the forecast category of an opportunity, or of several, changes, and return the JSON to XCom.

    It is an :class:`OpportunityFieldSensor` for the field ``forecast_category``, whose values are checked when the DAG
    is parsed, and those in templates when they are rendered.

    :param opportunity_uuid: the opportunity's UUID (templated)
    :param opportunity_uuids: several UUIDs, in its place; the result is the list of the opportunities' JSON (templated)
    :param wait_for: of several, ``all``, each of which has to meet the condition once, or ``any``
    :param target_categories: succeed once the category is this one, or one of these; None: succeed on any change
        from the baseline (templated)
    :param failure_categories: fail immediately, without retries, when the category is this one, or one of these
        (templated)
    :param baseline_category: the category that a change is measured from; None: the one that the first poll finds
        (templated)
    :param chartmogul_conn_id: the Airflow connection to use (templated)
    :param deferrable: wait in the triggerer; default: ``[operators] default_deferrable`` of Airflow's configuration
    :param start_from_trigger: with ``deferrable``, go to the triggerer without a first poll on a worker; before
        Airflow 3.3, and for mapped tasks, it is ignored
    :param end_from_trigger: with ``deferrable``, succeed in the triggerer without returning to a worker
    """

    template_fields: Sequence[str] = (
        "opportunity_uuid",
        "opportunity_uuids",
        "target_categories",
        "failure_categories",
        "baseline_category",
        "chartmogul_conn_id",
    )
    trigger_class = OpportunityForecastCategoryTrigger
    _TARGETS = "target_categories"
    _BASELINE = "baseline_category"

    def __init__(
        self,
        *,
        opportunity_uuid: str | None = None,
        opportunity_uuids: Iterable[str] | str | None = None,
        wait_for: str = "all",
        target_categories: str | Iterable[str] | None = None,
        failure_categories: str | Iterable[str] | None = None,
        baseline_category: str | None = None,
        chartmogul_conn_id: str = ChartMogulHook.default_conn_name,
        deferrable: bool | None = None,
        start_from_trigger: bool = False,
        end_from_trigger: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            opportunity_uuid=opportunity_uuid,
            opportunity_uuids=opportunity_uuids,
            wait_for=wait_for,
            chartmogul_conn_id=chartmogul_conn_id,
            deferrable=deferrable,
            end_from_trigger=end_from_trigger,
            **kwargs,
        )
        self.target_categories = plain(target_categories)
        self.failure_categories = plain(failure_categories)
        self.baseline_category = plain(baseline_category)
        WaitCondition.parse_categories(known(self.target_categories), known(self.failure_categories))
        if not is_templated(self.baseline_category):
            check_baseline_category(self.baseline_category)
        self._finish_arguments(
            start_from_trigger=start_from_trigger,
            needs_first_poll=target_categories is None and baseline_category is None,
        )

    def _condition(self) -> WaitCondition:
        return WaitCondition.parse_categories(self.target_categories, self.failure_categories)

    def _given_baseline(self) -> Any:
        check_baseline_category(self.baseline_category)
        return NOTSET if self.baseline_category is None else self.baseline_category

    def _value_kwargs(self, baseline: Any) -> dict[str, Any]:
        return {
            "target_categories": self.target_categories,
            "failure_categories": self.failure_categories,
            "baseline_category": None if baseline is NOTSET else baseline,
        }
