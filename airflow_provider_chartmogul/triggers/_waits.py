"""Triggers that resume sensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TaskSuccessEvent

from airflow_provider_chartmogul._airflow.progress import ProgressLog
from airflow_provider_chartmogul.exceptions import ChartMogulError
from airflow_provider_chartmogul.opportunity._conditions import NOTSET, WaitCondition
from airflow_provider_chartmogul.opportunity._field_values import normalize_value
from airflow_provider_chartmogul.opportunity._values import check_awaited_uuids, check_baseline_category
from airflow_provider_chartmogul.triggers._results import WaitEnd, retrieve_opportunities, store_result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow.triggers.base import TriggerEvent

    from airflow_provider_chartmogul._polling.waiter import WaitEvent


class OpportunityFieldTrigger(BaseTrigger):
    """
    Resume a deferred :class:`~airflow_provider_chartmogul.sensors.opportunity.OpportunityFieldSensor`.

    The event's payload is, for one opportunity, ``{"opportunity": the JSON, "baseline_value": …}``, without a baseline
    if none is known; for several, ``{"values": {UUID: the value that ended its wait}}``; or ``{"error": message}`` if
    the wait ended with a permanent error.

    :param field: a top-level key of the opportunity's JSON, or ``custom.<name>``
    :param opportunity_uuid: the opportunity's UUID
    :param opportunity_uuids: several UUIDs, instead
    :param wait_for: of several, ``all`` or ``any``
    :param target_values: end the wait when the value is this one, or one of these; None: when it is any other than the
        baseline
    :param failure_values: end the wait, as a failure, when the value is this one, or one of these
    :param baseline_value: the value that a change is measured from
    :param baseline_values: the baselines of several opportunities by UUID, if they differ
    :param met_values: the values of the opportunities that have met the target, by UUID
    :param condition: the dotted path of a function that decides instead of ``target_values``
    :param poll_interval: seconds between two polls of an opportunity
    :param chartmogul_conn_id: the Airflow connection to use
    :param silent_fail: continue after an unexpected error
    :param starts_wait: whether no worker has polled yet, so that the baseline is the user's
    :param end_from_trigger: let the task succeed without returning to a worker
    :param stores_result: whether the result of such a task goes to XCom
    """

    _BASELINE = "baseline_value"

    def __init__(
        self,
        *,
        field: str,
        opportunity_uuid: str | None = None,
        opportunity_uuids: list[str] | str | None = None,
        wait_for: str = "all",
        target_values: Any = None,
        failure_values: Any = None,
        baseline_value: Any = NOTSET,
        baseline_values: dict[str, Any] | None = None,
        met_values: dict[str, Any] | None = None,
        condition: str | None = None,
        poll_interval: float = 60.0,
        chartmogul_conn_id: str = "chartmogul_default",
        silent_fail: bool = False,
        starts_wait: bool = False,
        end_from_trigger: bool = False,
        stores_result: bool = True,
    ) -> None:
        # No validation here: an error in a constructor ends all triggers of the triggerer.
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's is not typed
        self.field = field
        self.opportunity_uuid = opportunity_uuid
        self.opportunity_uuids = opportunity_uuids
        self.wait_for = wait_for
        self.target_values = target_values
        self.failure_values = failure_values
        self.baseline_value = baseline_value
        self.baseline_values = baseline_values
        self.met_values = met_values
        self.condition = condition
        self.poll_interval = poll_interval
        self.chartmogul_conn_id = chartmogul_conn_id
        self.silent_fail = silent_fail
        self.starts_wait = starts_wait
        self.end_from_trigger = end_from_trigger
        self.stores_result = stores_result

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the keyword arguments of this trigger."""
        kwargs = {name: getattr(self, name) for name in self._parameters()}
        if kwargs.get("baseline_value") is NOTSET:
            del kwargs["baseline_value"]  # JSON cannot represent it
        return f"{type(self).__module__}.{type(self).__qualname__}", kwargs

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the event that ends the wait."""
        # The templates of a task that started from the trigger are rendered only here.
        try:
            condition = self._condition()
            baseline = self._baseline(condition)
            uuids = check_awaited_uuids(self.opportunity_uuid, self.opportunity_uuids, self.wait_for)
        except ValueError as error:
            yield WaitEnd(payload={"error": str(error)})
            return
        try:
            met, is_failure = await self._wait(uuids, condition, baseline)
        except ChartMogulError as error:
            yield WaitEnd(payload={"error": str(error)})
            return
        event: TriggerEvent | None = None
        if self.end_from_trigger and not is_failure:
            try:
                event = await self._success(uuids, met)
            except Exception as error:  # noqa: BLE001  # ChartMogul, Airflow's API server and XCom backends may raise anything
                self.log.warning("The result could not be stored from the triggerer, so a worker does it: %s", error)
        yield event or WaitEnd(payload=self._payload(met, baseline))

    @property
    def _is_single(self) -> bool:
        return self.opportunity_uuids is None

    @classmethod
    def _parameters(cls) -> tuple[str, ...]:
        code = cls.__init__.__code__
        return code.co_varnames[1 : 1 + code.co_kwonlyargcount]

    def _condition(self) -> WaitCondition:
        """Return the condition that ends the wait; raise ValueError if there is none."""
        return WaitCondition.parse(self.field, self.target_values, self.failure_values, self.condition)

    def _baseline(self, condition: WaitCondition) -> Any:
        """Return the one baseline, as ChartMogul writes it; raise ValueError if it is needed and missing."""
        if not self.starts_wait or self.baseline_value is NOTSET:
            return self.baseline_value
        return normalize_value(condition.field, self.baseline_value, "baseline_value")

    async def _wait(self, uuids: list[str], condition: WaitCondition, baseline: Any) -> tuple[dict[str, Any], bool]:
        """Return the result by UUID (JSON of one opportunity, or values of several), and whether it is a failure."""
        # Imported here, since DAG files that import the sensor import this module too.
        from airflow_provider_chartmogul._polling.engine import subscribe
        from airflow_provider_chartmogul._polling.waiter import Waiter

        met = dict(self.met_values or {})
        pending = {uuid for uuid in uuids if uuid not in met}
        if not pending or (met and self.wait_for == "any"):
            return met, False
        baselines = self.baseline_values or {}
        progress = ProgressLog(self.log.info)
        waiter = Waiter(pending, condition.read)
        with subscribe(
            waiter,
            chartmogul_conn_id=self.chartmogul_conn_id,
            interval=self.poll_interval,
            was_found=not self.starts_wait,
        ) as subscription:
            while pending:
                event = await waiter.next_event()
                uuid, opportunity = event.opportunity_uuid, event.opportunity
                if opportunity is None:
                    self._handle_error(event)
                    continue
                if uuid not in pending:
                    continue
                value = condition.value_of(opportunity)
                result = opportunity if self._is_single else value
                if condition.is_failure(value):
                    return {uuid: result}, True
                if self._is_met(condition, opportunity, baselines.get(uuid, baseline)):
                    met[uuid] = result
                    pending.discard(uuid)
                    subscription.discard(uuid)
                    if self.wait_for == "any":
                        break
                elif self._is_single:
                    self.log.info("Opportunity %s: %s", uuid, condition.describe(value))
                if not self._is_single:
                    progress.report(len(met), len(uuids), condition)
        return met, False

    def _is_met(self, condition: WaitCondition, opportunity: dict[str, Any], baseline: Any) -> bool:
        try:
            return condition.is_met(opportunity, baseline)
        except Exception:
            # Raised by a user's predicate.
            if not self.silent_fail:
                raise
            self.log.exception("Unexpected error; the wait continues.")
            return False

    def _handle_error(self, event: WaitEvent) -> None:
        error = event.error
        if isinstance(error, ChartMogulError):
            if event.ends_wait:
                raise error
            self.log.warning("%s The wait continues.", error.summary)
        elif error is not None:
            if event.ends_wait and not self.silent_fail:
                raise error
            self.log.error("Unexpected error; the wait continues.", exc_info=error)

    def _payload(self, met: dict[str, Any], baseline: Any) -> dict[str, Any]:
        if not self._is_single:
            return {"values": met}
        (opportunity,) = met.values()
        return {"opportunity": opportunity, **({} if baseline is NOTSET else {self._BASELINE: baseline})}

    async def _success(self, uuids: list[str], met: dict[str, Any]) -> TriggerEvent:
        if not self.stores_result:
            return TaskSuccessEvent()
        if self._is_single:
            (result,) = met.values()
        else:
            result = await retrieve_opportunities(self.chartmogul_conn_id, [uuid for uuid in uuids if uuid in met])
        return await store_result(result, self.task_instance)


class OpportunityForecastCategoryTrigger(OpportunityFieldTrigger):
    """
    Resume a deferred :class:`~airflow_provider_chartmogul.sensors.opportunity.OpportunityForecastCategorySensor`.

    It is an :class:`OpportunityFieldTrigger` for the field ``forecast_category``, with these names for its values; the
    payload for one opportunity is ``{"opportunity": the JSON, "baseline_category": …}``.

    :param target_categories: end the wait when the category is this one, or one of these; None: when it is any other
        than the baseline
    :param failure_categories: end the wait, as a failure, when the category is this one, or one of these
    :param baseline_category: the category that a change is measured from
    """

    _BASELINE = "baseline_category"

    def __init__(
        self,
        *,
        opportunity_uuid: str | None = None,
        opportunity_uuids: list[str] | str | None = None,
        wait_for: str = "all",
        target_categories: str | list[str] | None = None,
        failure_categories: str | list[str] | None = None,
        baseline_category: str | None = None,
        baseline_values: dict[str, Any] | None = None,
        met_values: dict[str, Any] | None = None,
        poll_interval: float = 60.0,
        chartmogul_conn_id: str = "chartmogul_default",
        silent_fail: bool = False,
        starts_wait: bool = False,
        end_from_trigger: bool = False,
        stores_result: bool = True,
    ) -> None:
        super().__init__(
            field="forecast_category",
            opportunity_uuid=opportunity_uuid,
            opportunity_uuids=opportunity_uuids,
            wait_for=wait_for,
            baseline_values=baseline_values,
            met_values=met_values,
            poll_interval=poll_interval,
            chartmogul_conn_id=chartmogul_conn_id,
            silent_fail=silent_fail,
            starts_wait=starts_wait,
            end_from_trigger=end_from_trigger,
            stores_result=stores_result,
        )
        self.target_categories = target_categories
        self.failure_categories = failure_categories
        self.baseline_category = baseline_category

    def _condition(self) -> WaitCondition:
        return WaitCondition.parse_categories(self.target_categories, self.failure_categories)

    def _baseline(self, condition: WaitCondition) -> Any:
        if self.starts_wait:
            check_baseline_category(self.baseline_category)
            if condition.needs_baseline and self.baseline_category is None:
                raise ValueError("baseline_category: rendered to nothing, so there is no baseline for a change.")
        return self.baseline_category
