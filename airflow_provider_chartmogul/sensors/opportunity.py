"""Sensors for ChartMogul's opportunities."""

from __future__ import annotations

import datetime
import time
import warnings
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from airflow import __version__ as airflow_version
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)
from airflow.triggers.base import StartTriggerArgs
from packaging.version import Version

from airflow_provider_chartmogul._airflow.failures import fail_fast_on_permanent_errors
from airflow_provider_chartmogul._airflow.templates import is_templated
from airflow_provider_chartmogul.exceptions import ChartMogulError
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.links.chartmogul import ChartMogulCustomerLink
from airflow_provider_chartmogul.opportunity._conditions import WaitCondition
from airflow_provider_chartmogul.opportunity._values import check_baseline_category, check_opportunity_uuid
from airflow_provider_chartmogul.triggers.opportunity import OpportunityForecastCategoryTrigger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import Context

_AIRFLOW = Version(airflow_version).release
_IS_AIRFLOW_3_3 = _AIRFLOW >= (3, 3)
_BASELINE_KEY = "baseline_forecast_category"
_RETENTION_MARGIN = datetime.timedelta(days=30)


class OpportunityForecastCategorySensor(BaseSensorOperator):
    """
    Wait until an opportunity's ``forecast_category`` changes, and return its JSON to XCom.

    Transient errors of ChartMogul and of the network are logged and the wait goes on until ``timeout``; an error
    that no retry can help fails the task at once.

    With ``deferrable`` the wait costs no worker: all deferred waits of a triggerer on the same connection and
    ``poke_interval`` share their requests, and ``mode`` has no meaning.

    :param opportunity_uuid: the opportunity's UUID (templated)
    :param target_categories: succeed once the category is this one, or one of these; None: succeed on any change
        from the baseline (templated)
    :param failure_categories: fail at once, without retries, when the category is this one, or one of these
        (templated)
    :param baseline_category: the category that a change is measured from; None: the one that the first look finds
        (templated)
    :param chartmogul_conn_id: the Airflow connection to use (templated)
    :param deferrable: wait in the triggerer; default: ``[operators] default_deferrable`` of Airflow's configuration
    :param start_from_trigger: with ``deferrable``, go to the triggerer without taking the first look on a worker.
        Airflow 3.1 and 3.2 ignore it; before 3.3 it does not work with templates, and never for mapped tasks.
    :param end_from_trigger: with ``deferrable``, succeed in the triggerer without returning to a worker
    """

    template_fields: Sequence[str] = (
        "opportunity_uuid",
        "target_categories",
        "failure_categories",
        "baseline_category",
        "chartmogul_conn_id",
    )
    operator_extra_links = (ChartMogulCustomerLink(),)
    ui_color = "#d8ecf5"

    def __init__(
        self,
        *,
        opportunity_uuid: str,
        target_categories: str | Iterable[str] | None = None,
        failure_categories: str | Iterable[str] | None = None,
        baseline_category: str | None = None,
        chartmogul_conn_id: str = ChartMogulHook.default_conn_name,
        deferrable: bool | None = None,
        start_from_trigger: bool = False,
        end_from_trigger: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.opportunity_uuid = opportunity_uuid
        self.target_categories = _as_written(target_categories)
        self.failure_categories = _as_written(failure_categories)
        self.baseline_category = _as_written(baseline_category)
        self.chartmogul_conn_id = chartmogul_conn_id
        if deferrable is None:
            deferrable = conf.getboolean("operators", "default_deferrable", fallback=False)
        self.deferrable = deferrable
        if deferrable:
            # A task that was rescheduled before it defers would count its timeout anew.
            self.mode = "poke"
        self.end_from_trigger = end_from_trigger
        self._check_as_written(start_from_trigger=start_from_trigger)
        if start_from_trigger:
            self._prepare_start_from_trigger()
        self._started_at = 0.0
        self._first_look: dict[str, Any] | None = None

    def _check_as_written(self, *, start_from_trigger: bool) -> None:
        WaitCondition.parse(_literals(self.target_categories), _literals(self.failure_categories))
        if not is_templated(self.baseline_category):
            check_baseline_category(self.baseline_category)
        needs_first_look = self.target_categories is None and self.baseline_category is None
        if not self.deferrable and (start_from_trigger or self.end_from_trigger):
            raise ValueError("start_from_trigger and end_from_trigger act only with deferrable=True.")
        if start_from_trigger and needs_first_look:
            raise ValueError(
                "start_from_trigger leaves out the first look, so there is nothing to measure a change from. "
                "Give target_categories or baseline_category."
            )
        if self.deferrable and self.exponential_backoff:
            raise ValueError(
                "exponential_backoff does not act when deferrable: all deferred waits with the same poke_interval "
                "share their requests. Set one of the two to False."
            )
        if not self.deferrable and self.mode == "reschedule" and needs_first_look and not _IS_AIRFLOW_3_3:
            raise ValueError(
                f"In reschedule mode Airflow {airflow_version} forgets between two looks which category the first "
                "one found. Give target_categories or baseline_category, or wait in another mode."
            )

    def _prepare_start_from_trigger(self) -> None:
        trigger_kwargs = self._trigger_kwargs(self.baseline_category, starts_wait=True)
        if obstacle := _obstacle_to_start_from_trigger(trigger_kwargs.values()):
            warnings.warn(
                f"{self.task_id}: Airflow {airflow_version} {obstacle}, so start_from_trigger is left out and the "
                "task takes its first look on a worker.",
                UserWarning,
                stacklevel=3,
            )
            return
        self.start_from_trigger = True
        # Not of the class: a mapped sensor, whose arguments Airflow cannot know yet, would be started with those.
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls=OpportunityForecastCategoryTrigger.CLASSPATH,
            next_method="execute_complete",
            trigger_kwargs=trigger_kwargs,
            next_kwargs=None,
            timeout=datetime.timedelta(seconds=self.timeout),
        )

    def execute(self, context: Context) -> Any:
        """Look until the wait is over; when deferrable, look once and leave the wait to the triggerer."""
        if self.start_from_trigger:
            self.log.warning("Airflow starts no mapped task in the triggerer, so start_from_trigger has no effect.")
        self._read_rendered()
        self._started_at = time.monotonic()
        return super().execute(context)

    def poke(self, context: Context) -> PokeReturnValue:
        """Look at the opportunity once."""
        baseline = self.baseline_category
        can_defer = self.deferrable
        try:
            with fail_fast_on_permanent_errors():
                awaited = self._awaited()
                opportunity = self._hook.retrieve_opportunity(self.opportunity_uuid)
        except ChartMogulError as error:
            self.log.warning("%s The wait goes on.", error.summary)
            # Without a baseline the triggerer could not tell a change that came while this error lasted.
            can_defer = can_defer and (self.target_categories is not None or baseline is not None)
        else:
            category = opportunity.get("forecast_category")
            if awaited.targets is None and baseline is None:
                baseline = self._remember_first_look(category, context)
            if awaited.is_met(category, baseline):
                return PokeReturnValue(is_done=True, xcom_value=self._conclude(opportunity, awaited))
            self.log.info(
                "Opportunity %s: forecast category %s, waiting for %s.",
                opportunity["uuid"],
                category,
                awaited,
            )
        elapsed = time.monotonic() - self._started_at
        if can_defer and elapsed < self.timeout:
            self.defer(
                trigger=OpportunityForecastCategoryTrigger(**self._trigger_kwargs(baseline)),
                method_name="execute_complete",
                timeout=datetime.timedelta(seconds=self.timeout - elapsed),
            )
        return PokeReturnValue(is_done=False)

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:
        """
        Return the opportunity that the triggerer saw.

        :raises AirflowFailException: if the wait ended in a failure category, or with an error that no retry can help
        :raises RuntimeError: if the event is not one of the trigger's own for this opportunity
        """
        self._read_rendered()
        with fail_fast_on_permanent_errors():
            awaited = self._awaited()
            uuid = check_opportunity_uuid(self.opportunity_uuid)
        match event:
            case {"error": str(message)} if len(event) == 1:
                raise AirflowFailException(message)
            case {
                "opportunity": {"uuid": found, "forecast_category": str() | None as category} as opportunity,
                "baseline_category": str() | None as baseline,
            } if len(event) == 2 and found == uuid and self.baseline_category in (None, baseline):
                if awaited.is_met(category, baseline):
                    return self._conclude(opportunity, awaited)
        raise RuntimeError(
            f"The triggerer sent an event that does not end the wait for opportunity {uuid}. The DAG or this "
            "provider may have changed meanwhile; clear the task to wait anew."
        )

    @cached_property
    def _hook(self) -> ChartMogulHook:
        return ChartMogulHook(self.chartmogul_conn_id)

    def _read_rendered(self) -> None:
        """Take what came of templates and other tasks as if a user had written it."""
        self.target_categories = _as_written(self.target_categories)
        self.failure_categories = _as_written(self.failure_categories)
        self.baseline_category = _as_written(self.baseline_category)

    def _awaited(self) -> WaitCondition:
        check_baseline_category(self.baseline_category)
        return WaitCondition.parse(self.target_categories, self.failure_categories)

    def _remember_first_look(self, category: str | None, context: Context) -> str | None:
        """Return the category that this task's first look found, be it in this try or an earlier one."""
        if self._first_look is None:
            store = context.get("task_state_store")
            self._first_look = cast("dict[str, Any] | None", store.get(_BASELINE_KEY)) if store else None
            if self._first_look is None:
                self._first_look = {"forecast_category": category}
                if store:
                    tries = datetime.timedelta(seconds=self.timeout) * ((self.retries or 0) + 1)
                    store.set(_BASELINE_KEY, self._first_look, retention=tries + _RETENTION_MARGIN)
        return cast("str | None", self._first_look["forecast_category"])

    def _conclude(self, opportunity: dict[str, Any], awaited: WaitCondition) -> dict[str, Any]:
        uuid, category = opportunity["uuid"], opportunity.get("forecast_category")
        if category in awaited.failures:
            raise AirflowFailException(
                f"Opportunity {uuid}: forecast category is now {category}, one of failure_categories."
            )
        self.log.info("Opportunity %s: forecast category is now %s.", uuid, category)
        return opportunity

    def _trigger_kwargs(self, baseline: str | None, *, starts_wait: bool = False) -> dict[str, Any]:
        return {
            "opportunity_uuid": self.opportunity_uuid,
            "target_categories": self.target_categories,
            "failure_categories": self.failure_categories,
            "baseline_category": baseline,
            "poll_interval": self.poke_interval,
            "chartmogul_conn_id": self.chartmogul_conn_id,
            "silent_fail": self.silent_fail,
            "starts_wait": starts_wait,
            "end_from_trigger": self.end_from_trigger,
        }


def _as_written(value: Any) -> Any:
    """Turn enum members into plain strings and iterables into lists of a stable order, as XCom and DAGs need."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Iterable) and not is_templated(value):
        items = [_as_written(item) for item in value]
        return sorted(items, key=str) if isinstance(value, set | frozenset) else items
    return value


def _obstacle_to_start_from_trigger(trigger_kwargs: Iterable[Any]) -> str | None:
    """Return what this Airflow does not do that a start in the triggerer needs; None: nothing."""
    templates = [value for value in _flattened(trigger_kwargs) if is_templated(value)]
    if (3, 1) <= _AIRFLOW < (3, 3):
        return "starts no task in the triggerer"
    if templates and not _IS_AIRFLOW_3_3:
        return "does not render templates in the triggerer"
    if any(not isinstance(template, str) or "xcom_pull" in template for template in templates):
        return "gives no results of other tasks to the triggerer"
    return None


def _flattened(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from value
        else:
            yield value


def _literals(categories: Any) -> Any:
    """Return what can be checked before templates are rendered; None if that is nothing."""
    if categories is None or is_templated(categories):
        return None
    if not isinstance(categories, str | list):
        return categories
    non_templated = [value for value in _flattened([categories]) if not is_templated(value)]
    return non_templated if non_templated or not categories else None
